"""What this host remembers across restarts: its attempts, the latch, the machine's MCUs.

Owns one table in Moonraker's database. What it must not know: what the rows mean.

Durable before acting: Moonraker's connection runs in journal mode DELETE with `synchronous` FULL
(SQLite's own defaults; Moonraker sets neither). FULL syncs the data but not the folder after
the journal is removed, so that a power cut right after a commit can bring the journal back and
undo it. `put` therefore syncs the folder itself, and raises `synchronous` where a build of
SQLite has lowered it. Moonraker's namespaces would not do: they swallow SQLite's errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from typing import Any

import msgspec

from .attempt import Attempt

TABLE = "moonfleet"
SYNCHRONOUS_FULL = 2
BED = "bed"
MCUS = "mcus"


class Table:
    """What Moonraker's `register_table` wants to know (its SqlTableDefinition, by shape)."""

    name = TABLE
    version = 1
    prototype = (
        f"{TABLE} (kind TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL,"
        " PRIMARY KEY (kind, id))"
    )

    def migrate(self, last_version: int, db_provider: Any) -> None:
        """There is nothing older to migrate from."""


class Rows:
    """The table. Every method raises sqlite3.Error or OSError when the disk refuses."""

    def __init__(self, database: Any) -> None:
        self._table = database.register_table(Table())

    async def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt that was saved and not forgotten, in the order of their first saving.

        A row that this version cannot read raises msgspec.ValidationError: acting without it
        could print something twice.
        """
        rows = await self._run(_select, "attempt")
        return tuple(msgspec.json.decode(value, type=Attempt) for _, value in rows)

    async def save(self, attempt: Attempt) -> None:
        """Write an attempt down; when this returns, a power cut does not undo it."""
        await self._run(_put, "attempt", attempt.id, msgspec.json.encode(attempt).decode())

    async def forget(self, attempts: tuple[str, ...]) -> None:
        """Delete attempts."""
        await self._run(_delete, "attempt", attempts)

    async def note(self, key: str) -> str:
        """A single remembered text, or empty."""
        rows: list[tuple[str, str]] = await self._run(_select, "note")
        return dict(rows).get(key, "")

    async def set_note(self, key: str, value: str) -> None:
        """Remember a text durably."""
        await self._run(_put, "note", key, value)

    async def _run(self, act: Any, *args: Any) -> Any:
        future: asyncio.Future[Any] = self._table.queue_callback(
            lambda connection: act(connection, *args)
        )
        return await future


def _select(connection: sqlite3.Connection, kind: str) -> list[tuple[str, str]]:
    rows = connection.execute(
        f"SELECT id, value FROM {TABLE} WHERE kind = ? ORDER BY rowid", (kind,)
    )
    return [(row[0], row[1]) for row in rows.fetchall()]


def _put(connection: sqlite3.Connection, kind: str, key: str, value: str) -> None:
    _raise_synchronous(connection)
    with connection:
        connection.execute(
            f"INSERT INTO {TABLE} VALUES (?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value",
            (kind, key, value),
        )
    _sync_folder(connection)


def _delete(connection: sqlite3.Connection, kind: str, keys: tuple[str, ...]) -> None:
    with connection:
        connection.executemany(
            f"DELETE FROM {TABLE} WHERE kind = ? AND id = ?", [(kind, key) for key in keys]
        )


def _raise_synchronous(connection: sqlite3.Connection) -> None:
    # Within somebody's transaction it cannot be changed, and is not worth ending one for.
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    if level < SYNCHRONOUS_FULL and not connection.in_transaction:
        connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS_FULL}")


def _sync_folder(connection: sqlite3.Connection) -> None:
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if not path:
        return  # in memory: only where somebody wants no durability
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder)
        os.fsync(folder)
