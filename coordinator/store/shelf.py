"""Statements for stored files and settings.

Owns when a file may be forgotten. Must not know where the bytes of a file are.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec.structs import asdict
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.lists import StoredFile
from coordinator.ports import StoreError
from coordinator.store.tables import files, jobs, settings
from coordinator.store.writing import upsert


async def add(connection: AsyncConnection, file: StoredFile) -> bool:
    """Insert, or leave the row that is there; whether it was inserted."""
    if connection.dialect.name == "postgresql":
        put: Any = postgresql.insert(files).on_conflict_do_nothing()
    else:
        put = sqlite.insert(files).on_conflict_do_nothing()
    done = await connection.execute(put, asdict(file))
    return bool(done.rowcount)


async def describe(
    connection: AsyncConnection, sha256: str, metadata: bytes | None, analysis: bytes | None
) -> bool:
    """Set those that are given; whether there is such a file."""
    known = {"metadata": metadata, "analysis": analysis}
    values = {name: _json(name, text) for name, text in known.items() if text is not None}
    if not values:
        raise StoreError("describing a file: give metadata, analysis or both")
    done = await connection.execute(files.update().where(files.c.sha256 == sha256).values(**values))
    return bool(done.rowcount)


async def remove(connection: AsyncConnection, sha256: str) -> bool:
    """Delete unless an unfinished job refers to it; whether it was deleted."""
    needed = sa.exists().where(jobs.c.file_sha256 == sha256, jobs.c.finished_at.is_(None))
    done = await connection.execute(files.delete().where(files.c.sha256 == sha256, ~needed))
    return bool(done.rowcount)


async def put_setting(connection: AsyncConnection, key: str, value: bytes) -> None:
    """Insert or replace."""
    row = {"key": key, "value": _json(key, value)}
    await connection.execute(upsert(settings, connection.dialect.name), row)


async def make_setting(connection: AsyncConnection, key: str, value: bytes) -> None:
    """Insert, or leave what is there."""
    if connection.dialect.name == "postgresql":
        put: Any = postgresql.insert(settings).on_conflict_do_nothing()
    else:
        put = sqlite.insert(settings).on_conflict_do_nothing()
    await connection.execute(put, {"key": key, "value": _json(key, value)})


def _json(name: str, text: bytes) -> msgspec.Raw:
    """The text, checked to be JSON: what is not would only be found when it is read."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{name}: JSON is needed: {error}") from error
    return msgspec.Raw(text)
