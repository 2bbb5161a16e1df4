"""Reading a backup as if somebody hostile had made it, into a folder where it harms nothing.

Owns the reading of the tar. Of all that a tar can be only plain files are taken: no links, no
devices, no sparse files, no extensions, so that each member is as large as it looks, and lies where
its name says.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from typing import BinaryIO

from coordinator.backup.manifest import (
    MANIFEST,
    MANIFEST_BYTES_MAX,
    MEMBERS_MAX,
    BackupError,
    Manifest,
    Member,
    decoded,
    path_in,
)

BLOCK = tarfile.BLOCKSIZE
CHUNK_BYTES = 1024 * 1024
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)


def unpack(file: BinaryIO, folder: Path) -> Manifest:
    """Write every member below `folder` and check all of them against the manifest.

    Raises BackupError saying what is wrong, OSError. What was written until then stays.
    """
    found: dict[str, Member] = {}
    while (info := _header(file)) is not None:
        if info.name == MANIFEST:
            return _checked(decoded(_read(file, info)), found)
        if info.name in found:
            raise BackupError(f"member {info.name!r} is there twice")
        if len(found) >= MEMBERS_MAX:
            raise BackupError(f"it has more than {MEMBERS_MAX} members")
        found[info.name] = _extract(file, info, path_in(folder, info.name))
    raise BackupError(f"it has no {MANIFEST} at its end: it is cut off, or no backup of Moonfleet")


def _header(file: BinaryIO) -> tarfile.TarInfo | None:
    """The next member; None where the archive ends."""
    block = file.read(BLOCK)
    if len(block) < BLOCK or not block.strip(b"\0"):
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise BackupError(f"it is damaged, or no backup of Moonfleet: {error}") from error
    if info.type not in PLAIN:
        raise BackupError(f"member {info.name[:200]!r}: a link or the like; none is taken")
    if info.size < 0:
        raise BackupError(f"member {info.name[:200]!r}: its size is {info.size}")
    return info


def _read(file: BinaryIO, info: tarfile.TarInfo) -> bytes:
    if info.size > MANIFEST_BYTES_MAX:
        raise BackupError(f"{MANIFEST}: {info.size} bytes, at most {MANIFEST_BYTES_MAX} are taken")
    content = file.read(info.size)
    if len(content) < info.size:
        raise BackupError("it is cut off in its manifest")
    return content


def _extract(file: BinaryIO, info: tarfile.TarInfo, path: Path) -> Member:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sha256, left = hashlib.sha256(), info.size
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while left:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise BackupError(f"it is cut off in {info.name}")
            left -= len(chunk)
            sha256.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    file.read(-info.size % BLOCK)
    return Member(info.name, info.size, sha256.hexdigest())


def _checked(manifest: Manifest, found: dict[str, Member]) -> Manifest:
    wanted = {member.name: member for member in manifest.members}
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise BackupError(f"member {name!r} is named in the manifest, but not there")
        if name not in wanted:
            raise BackupError(f"member {name!r} is there, but not named in the manifest")
        if wanted[name] != found[name]:
            raise BackupError(f"member {name!r} is damaged: its sha256 or size is another")
    return manifest
