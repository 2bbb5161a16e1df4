"""Connections: how each database is opened, and what every connection is told first.

Owns engines and SQLite's PRAGMAs. Must not know the tables.

SQLite runs in WAL mode, so that readers never block the writer. The writer commits with
synchronous=FULL, every time: what is committed is published next and hosts forget what was echoed
to them, so there is no commit that a power cut may take back. An idle farm writes nothing.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from coordinator.ports import StoreError

BUSY_MS = 10_000
"""How long a statement waits for a lock that another process holds (a backup, a person's tool)."""

READERS_MAX = 4
WAIT_S = 30.0
"""How long a read waits for one of the readers, and a write for the writer."""

WAL_MAX_BYTES = 64 * 1024 * 1024
"""What the write-ahead log is cut back to after a checkpoint."""

FILE_MODE = 0o600


class Use(Enum):
    """What a connection is for; `UPKEEP` migrates: no foreign keys while tables are rebuilt."""

    WRITE = "write"
    READ = "read"
    UPKEEP = "upkeep"


BEGIN = {Use.WRITE: "BEGIN IMMEDIATE", Use.READ: "BEGIN", Use.UPKEEP: "BEGIN IMMEDIATE"}
"""IMMEDIATE takes the lock where waiting for it still helps, not in the middle."""

GLANCE = "moonfleet_glance"
"""Execution option of a connection that reads with one statement, which is a transaction itself."""

PRAGMAS = {
    Use.WRITE: ("synchronous=FULL", "foreign_keys=ON", f"journal_size_limit={WAL_MAX_BYTES}"),
    Use.READ: ("query_only=ON",),
    Use.UPKEEP: ("synchronous=FULL", "foreign_keys=OFF", "journal_mode=WAL"),
}


def parsed(url: str) -> URL:
    """The address of a database; raises StoreError naming what is supported."""
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise StoreError(f"database {url!r}: {error}") from error
    if address.drivername not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
        raise StoreError(
            f"database {address.drivername!r}: use sqlite+aiosqlite:///FILE or"
            " postgresql+asyncpg://USER@HOST/NAME"
        )
    if address.drivername == "sqlite+aiosqlite" and address.database in (None, "", ":memory:"):
        raise StoreError("database: name a file; one in memory is lost with the process")
    return address


def sqlite_file(address: URL) -> Path | None:
    """The file of an SQLite database; None for any other."""
    if address.get_backend_name() != "sqlite" or address.database is None:
        return None
    return Path(address.database)


def engine_for(address: URL, use: Use) -> AsyncEngine:
    """An engine for one use: one writing connection, a few reading ones, none kept for upkeep."""
    how: dict[str, Any] = {"poolclass": NullPool} if use is Use.UPKEEP else {}
    if use is not Use.UPKEEP:
        how = {
            "pool_size": 1 if use is Use.WRITE else READERS_MAX,
            "max_overflow": 0,
            "pool_timeout": WAIT_S,
        }
    if address.get_backend_name() != "sqlite":
        if use is Use.READ:
            how["isolation_level"] = "REPEATABLE READ"  # as one transaction of SQLite sees it
            how["execution_options"] = {"postgresql_readonly": True}
        return create_async_engine(address, pool_pre_ping=True, **how)
    engine = create_async_engine(address, **how)

    # The driver would begin transactions by itself, late and not for reads or DDL.
    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={BUSY_MS}", *PRAGMAS[use]):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if not connection.get_execution_options().get(GLANCE):
            connection.exec_driver_sql(BEGIN[use])

    return engine
