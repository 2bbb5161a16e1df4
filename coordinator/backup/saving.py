"""Saving a farm: which files of the data folder are the farm, and the one file they go into.

Owns the choice and the writing. The database comes first and as of one moment; what is read after
it may be newer, which harms nothing: an account that no printer has, a certificate made anew.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterator
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from coordinator.backup import database
from coordinator.backup.manifest import (
    CONFIG,
    DATABASE,
    FORMAT,
    MANIFEST,
    BackupError,
    Manifest,
    Member,
    encoded,
    is_name,
    sha256_in,
    stored_name,
)
from coordinator.files.disk import sync_folder

# What a coordinator makes anew at every start, and what has a way of its own into the backup.
NOT_COPIED = {
    "lock",
    "files",
    "intake",
    "broker/data",
    "broker/mosquitto.conf",
    CONFIG,
    *(DATABASE + end for end in ("", "-wal", "-shm", "-journal", ".new", ".new-wal", ".new-shm")),
}
DRAFTS = (".new", ".tmp", ".part")
SMALL_BYTES_MAX = 16 * 1024 * 1024
"""Of one file beside database and G-code: keys, certificates, accounts. Larger ones are told."""


class Stored(Enum):
    """Which stored G-code is saved: of unfinished jobs, all, or none."""

    UNFINISHED = "unfinished"
    ALL = "all"
    NONE = "none"


class Source(Struct, frozen=True):
    """A farm: its folder, its configuration file, its database (None: it is in PostgreSQL)."""

    folder: Path
    config: Path
    database: Path | None


class _Hashing:
    """A file as tarfile reads it, hashed on its way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def save(source: Source, target: Path, stored: Stored, *, product: str, now_s: float) -> Manifest:
    """Write the backup and return what it says of itself.

    The file is for its owner alone and gets its name when it is whole and on the disk; what was
    there under this name is replaced in one step. Raises BackupError, OSError.
    """
    target = target.absolute()
    if target.parent.resolve().is_relative_to(source.folder.resolve()):
        raise BackupError(f"{target}: it lies in the data folder, and would be lost with that")
    with tempfile.TemporaryDirectory(prefix=".moonfleet-backup-", dir=target.parent) as work:
        draft = Path(work) / "backup.tar"
        with open(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            manifest = _write(source, file, Path(work), stored, product=product, now_s=now_s)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
        sync_folder(target.parent)
    return manifest


def _write(
    source: Source, file: BinaryIO, work: Path, stored: Stored, *, product: str, now_s: float
) -> Manifest:
    members: list[Member] = []
    left_out: list[str] = []
    schema = ""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        copied = work / DATABASE
        if source.database is None:
            left_out.append("the database: it is in PostgreSQL, which pg_dump saves")
        else:
            database.copy(source.database, copied)
            schema = database.check(copied, f"the copy of database {source.database}")
            members.append(_add(tar, DATABASE, copied, now_s))
        if source.config.is_file():
            members.append(_add(tar, CONFIG, source.config, now_s))
        for name in _small_files(source.folder, left_out):
            members.append(_add(tar, name, source.folder / name, now_s))
        for sha256 in _chosen(source, copied, stored):
            path = source.folder / stored_name(sha256)
            if path.is_file():
                members.append(_add(tar, stored_name(sha256), path, now_s))
            else:
                left_out.append(f"file {sha256}: it is not stored; an unfinished job names it")
        if stored is Stored.NONE:
            left_out.append("stored G-code, as asked")
        damaged = [m.name for m in members if sha256_in(m.name) not in ("", m.sha256)]
        left_out += [f"{name}: saved, but its content is damaged" for name in damaged]
        manifest = Manifest(FORMAT, product, schema, now_s, tuple(members), tuple(left_out))
        _add_bytes(tar, MANIFEST, encoded(manifest), now_s)
    return manifest


def _small_files(folder: Path, left_out: list[str]) -> list[str]:
    """Whatever else lies in the folder: what makes the farm itself grows with the product."""
    found = []
    for path, name in _walk(folder, ""):
        if path.is_symlink() or not path.is_file():
            left_out.append(f"{name}: not a plain file")
        elif not is_name(name):
            left_out.append(f"{name!r}: a name of this kind is not saved")
        elif path.stat().st_size > SMALL_BYTES_MAX:
            left_out.append(f"{name}: over {SMALL_BYTES_MAX} bytes, so it is no part of a farm")
        else:
            found.append(name)
    return sorted(found)


def _walk(folder: Path, below: str) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.iterdir()):
        name = f"{below}{path.name}"
        if name in NOT_COPIED or name.endswith(DRAFTS):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, f"{name}/")
        else:
            yield path, name


def _chosen(source: Source, copied: Path, stored: Stored) -> list[str]:
    if stored is Stored.NONE:
        return []
    if stored is Stored.UNFINISHED and source.database is not None:
        return database.wanted_files(copied)
    found = (source.folder / "files").glob("[0-9a-f][0-9a-f]/*.gcode")
    return sorted(path.stem for path in found if sha256_in(stored_name(path.stem)))


def _add(tar: tarfile.TarFile, name: str, path: Path, now_s: float) -> Member:
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if not sha256_in(name) and name != DATABASE:
            # Small, and may be rewritten while it is read: its size must be that of its content.
            return _add_bytes(tar, name, file.read(SMALL_BYTES_MAX), now_s)
        reader = _Hashing(file)
        tar.addfile(_info(name, size_bytes, now_s), reader)
    return Member(name, size_bytes, reader.sha256.hexdigest())


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes, now_s: float) -> Member:
    tar.addfile(_info(name, len(content), now_s), BytesIO(content))
    return Member(name, len(content), hashlib.sha256(content).hexdigest())


def _info(name: str, size_bytes: int, now_s: float) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size_bytes, 0o600, int(now_s)
    return info
