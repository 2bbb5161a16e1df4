"""What is done to a database before it is used: looked at, made, brought to this version.

Owns what is checked when, and that nothing is written into a file that is not sound. Must not
know the tables.

Always looked at: that the file is there whole, and the write-ahead log of a process that did not
end in order. All pages are read after such an end, and in files that are small: reading a large one
at every start would cost more than it tells (docs/operate.md says how long), and a backup reads
all of it as well.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import URL

from coordinator.ports import StoreError, StoreUnusable
from coordinator.store import schema, wal
from coordinator.store.database import BUSY_MS, FILE_MODE, Use, engine_for, sqlite_file
from coordinator.store.failures import READ_ONLY, told, way_back

SMALL_BYTES = 64 * 1024 * 1024
"""Files up to this size are read through at every start."""

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
SIZE = struct.Struct(">16xH6xII60xI")
"""Of a header: bytes of a page, number of changes, pages, and after which change that was so."""

DRAFT = ".new"


async def prepare(address: URL) -> None:
    """Make the database ready for use; raises StoreError, StoreUnusable if no retry can help."""
    path = sqlite_file(address)
    if path is None:
        await _bring_up(address, address.render_as_string(hide_password=True))
        return
    with told(f"database {path}"):
        fresh = not path.exists()
    if fresh:
        await _make(address, path)
        return
    with told(f"database {path}"):
        thorough = look_at(path)
    if thorough:
        await asyncio.to_thread(read_through, path)
    await _bring_up(address, str(path))


def look_at(path: Path) -> bool:
    """Check what can be told without SQLite; returns whether all pages should be read as well.

    Changes nothing. Raises StoreUnusable with the way back, OSError.
    """
    logged = Path(f"{path}-wal")
    unclean = logged.exists() and logged.stat().st_size > 0
    if not os.access(path, os.W_OK):
        # SQLite would open it for reading, and the first round would fail.
        raise StoreError(f"database {path}: {READ_ONLY}")
    if path.stat().st_size == 0:
        raise StoreUnusable(f"database {path}: the file is empty (0 bytes): {way_back(path)}")
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        size_bytes = os.fstat(file.fileno()).st_size
    if not header.startswith(MAGIC) or len(header) < HEADER_BYTES:
        raise StoreUnusable(f"database {path}: this is no database: {way_back(path)}")
    wanted_bytes = _size_in(header)
    if not unclean and size_bytes < wanted_bytes:
        raise StoreUnusable(
            f"database {path}: the file is cut off, {size_bytes} of {wanted_bytes} bytes are"
            f" there: {way_back(path)}"
        )
    found = wal.damage(logged) if unclean else ""
    if found:
        raise StoreUnusable(
            f"database {path}: its log {logged} is damaged ({found}): {way_back(path)}"
        )
    return unclean or size_bytes <= SMALL_BYTES


def _size_in(header: bytes) -> int:
    """The size that a database's header tells, in bytes; 0 if it tells none that holds now."""
    page_bytes, changes, pages, valid_for = SIZE.unpack_from(header)
    return pages * (65536 if page_bytes == 1 else page_bytes) if changes == valid_for else 0


def read_through(path: Path) -> None:
    """Have SQLite look at every page. Raises StoreUnusable with the way back.

    On a connection that cannot write: as the last one to close, a writing one would copy the log
    into a file that is damaged.
    """
    with told(f"database {path}", path):
        raw = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        with closing(raw):
            raw.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            (found,) = raw.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreUnusable(f"database {path}: it is damaged ({found}): {way_back(path)}")


async def _make(address: URL, path: Path) -> None:
    """A new database gets its name once it is whole: an empty file is always a damaged one."""
    draft = path.with_name(path.name + DRAFT)
    with told(f"database {path}"):
        for leftover in (draft, Path(f"{draft}-wal"), Path(f"{draft}-shm")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    await _bring_up(address.set(database=str(draft)), str(path))
    with told(f"database {path}"):
        await asyncio.to_thread(_name, draft, path)


def _name(draft: Path, path: Path) -> None:
    if path.exists():
        raise StoreError(f"database {path}: another process has made it meanwhile; start again")
    draft.rename(path)


async def _bring_up(address: URL, where: str) -> None:
    engine = engine_for(address, Use.UPKEEP)
    try:
        with told(f"database {where}", sqlite_file(address)):
            async with engine.begin() as connection:
                await schema.bring_up(connection, where)
    finally:
        await engine.dispose()
