"""The format of a backup: a plain tar whose members lie as in the data folder, and a manifest.

Owns the manifest, which names are taken, and what goes wrong. Must not read or write a farm.

The tar is not compressed: tools that keep many backups find what two have in common only so, and
nothing in it can unfold to more than its own size. The manifest comes last, so that a file that
was cut off has none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

FORMAT = 1
"""Grows when a program that reads the older form would go wrong on the newer one."""

MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 64 * 1024 * 1024
DATABASE = "moonfleet.db"
CONFIG = "moonfleet.toml"

MEMBERS_MAX = 200_000
NAME_MAX = 99
"""Bytes of a member's name: what a plain tar header holds."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*){0,3}")
"""No part begins with a dot, so none leads out of the folder, and none is hidden."""

STORED = re.compile(r"files/([0-9a-f]{2})/(\1[0-9a-f]{62})\.gcode")
"""Stored G-code, by its sha256."""


class BackupError(Exception):
    """A backup could not be made, or is none that can be restored: what, and what to do."""


class Member(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the backup."""

    name: str
    size_bytes: int
    sha256: str


class Manifest(Struct, frozen=True):
    """What a backup says of itself. `schema`: revision of its database; empty: it has none.

    `made_at` is in epoch seconds. `left_out`: what a farm had and this file has not, in words.
    """

    format: int
    product: str
    schema: str
    made_at: float
    members: tuple[Member, ...]
    left_out: tuple[str, ...] = ()


def encoded(manifest: Manifest) -> bytes:
    """As it lies in the tar: JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)


def decoded(raw: bytes) -> Manifest:
    """Raises BackupError for what is no manifest, or one of a format that came later."""
    try:
        known = msgspec.json.decode(raw, type=dict[str, Any])
        if isinstance(known.get("format"), int) and known["format"] > FORMAT:
            raise BackupError(
                f"its format is {known['format']}, this Moonfleet reads up to {FORMAT}: it was made"
                " by a newer one; restore it with that one"
            )
        return msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupError(f"{MANIFEST}: {error}") from error


def is_name(name: str) -> bool:
    """Whether a member may be called so: a path below the data folder and nothing else."""
    return len(name) <= NAME_MAX and _NAME.fullmatch(name) is not None


def stored_name(sha256: str) -> str:
    """The member that holds this G-code."""
    return f"files/{sha256[:2]}/{sha256}.gcode"


def sha256_in(name: str) -> str:
    """The sha256 that a member's own name tells; empty if it tells none."""
    match = STORED.fullmatch(name)
    return match[2] if match else ""


def path_in(folder: Path, name: str) -> Path:
    """Where a member lies in a data folder; raises BackupError for a name that may not be."""
    if not is_name(name):
        raise BackupError(f"member {name[:200]!r}: a name of this kind is not taken")
    return folder.joinpath(*name.split("/"))
