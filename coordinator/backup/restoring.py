"""Making a farm of a backup: all of it is checked before anything of an old farm is moved.

Owns the order of the steps. The new folder is built beside the old one and takes its name by one
rename; the old one is kept under another name and never deleted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from coordinator import data_folder
from coordinator.backup import database, reading
from coordinator.backup.manifest import DATABASE, BackupError, Manifest
from coordinator.files.disk import sync_folder


class Restored(Struct, frozen=True):
    """What was done. `kept`: where the farm that was there before is now, if there was one."""

    manifest: Manifest
    kept: Path | None


def restore(file: Path, target: Path, *, replace: bool) -> Restored:
    """Make `target` the data folder of the farm that `file` holds.

    The coordinator must not run on it. Raises BackupError, data_folder.FolderInUse, OSError; then
    `target` is as it was. A power cut between the two renames leaves both farms beside it.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if target.exists():
            stack.enter_context(data_folder.locked(target))
        occupied = any(path.name != data_folder.LOCK for path in _entries(target))
        if occupied and not replace:
            raise BackupError(
                f"{target}: it is not empty. Name another folder, or give --replace: then what is"
                " there is kept beside it"
            )
        built = Path(tempfile.mkdtemp(prefix=f".{target.name}.restoring-", dir=target.parent))
        try:
            manifest = _build(file, built)
            _give_to_owner_of(target if target.exists() else target.parent, built)
            kept = _put(built, target)
        finally:
            if built.exists():
                shutil.rmtree(built)
    if kept is not None and not occupied:
        shutil.rmtree(kept)  # held nothing but the lock
        kept = None
    return Restored(manifest, kept)


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.exists() else iter(())


def _build(file: Path, folder: Path) -> Manifest:
    with file.open("rb") as opened:
        size_bytes = os.fstat(opened.fileno()).st_size
        free_bytes = shutil.disk_usage(folder).free
        if size_bytes > free_bytes:
            raise BackupError(
                f"{folder.parent}: {size_bytes} bytes are needed, {free_bytes} are free"
            )
        try:
            manifest = reading.unpack(opened, folder)
            _check_schema(manifest, folder / DATABASE)
        except BackupError as error:
            raise BackupError(f"{file}: {error}; nothing was restored") from error
    for path in [folder, *(found for found in folder.rglob("*") if found.is_dir())]:
        path.chmod(0o700)
        sync_folder(path)
    return manifest


def _check_schema(manifest: Manifest, path: Path) -> None:
    # SQLAlchemy comes along: only this command pays for it.
    from coordinator.store import schema

    if not manifest.schema:
        if path.exists():
            raise BackupError("its manifest tells no version of its database")
        return
    if manifest.schema not in schema.KNOWN:
        raise BackupError(f"its database: {schema.too_new(manifest.schema)}")
    found = database.check(path, "its database")
    if found != manifest.schema:
        raise BackupError(f"its database has version {found!r}, its manifest {manifest.schema!r}")


def _give_to_owner_of(example: Path, folder: Path) -> None:
    """Restored by root, a farm still belongs to whom the coordinator runs as."""
    wanted = example.stat()
    if os.geteuid() != 0 or wanted.st_uid == 0:
        return
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, wanted.st_uid, wanted.st_gid)


def _put(built: Path, target: Path) -> Path | None:
    """Two renames; returns where the old folder went."""
    kept = None
    try:
        if target.exists():
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            kept = target.with_name(f"{target.name}.before-{stamp}-{os.getpid()}")
            target.rename(kept)
        built.rename(target)
    except OSError as error:
        if kept is not None and kept.exists() and not target.exists():
            kept.rename(target)
        raise BackupError(
            f"{target}: it cannot be renamed ({error.strerror}). If it is a mount, name a folder"
            " inside of it"
        ) from error
    sync_folder(target.parent)
    return kept
