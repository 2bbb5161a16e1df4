"""The store in SQL: the writer's side of `coordinator.ports.Store`, and the way to the readers.

Owns the life of the connections, and that there is one writer: every write goes through one
connection. `reads` has connections of its own, so a long list never holds up a round.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from coordinator.core.farm import History, Plan
from coordinator.ports import StoreError
from coordinator.store import loading, schema, shelf, writing
from coordinator.store.database import (
    GLANCE,
    Use,
    check_file,
    engine_for,
    parsed,
    prepare_file,
    sqlite_file,
)
from coordinator.store.failures import told
from coordinator.store.filters import HistoryFilter
from coordinator.store.reads import Reads
from coordinator.store.rows import LoadedRows, StoredFile


class SqlStore:
    """Durable state at `url`: sqlite+aiosqlite:///FILE or postgresql+asyncpg://USER@HOST/NAME.

    Every method raises StoreError with what a person can do; what failed has changed nothing.
    """

    def __init__(self, url: str) -> None:
        self._address = parsed(url)
        self._writer: AsyncEngine | None = None
        self._readers: AsyncEngine | None = None
        self._reads: Reads | None = None

    async def open(self) -> None:
        """Check the file, bring the schema up, and get ready to read and write."""
        if self._writer is not None:
            raise StoreError("the store is open already")
        await self._upkeep()
        self._writer = engine_for(self._address, Use.WRITE)
        self._readers = engine_for(self._address, Use.READ)
        self._reads = Reads(self._readers)

    async def close(self) -> None:
        """Give all connections back; a closed store can be opened again."""
        for engine in (self._readers, self._writer):
            if engine is not None:
                await engine.dispose()
        self._writer = self._readers = self._reads = None

    @property
    def reads(self) -> Reads:
        """Lists and details for people; never waits for the writer."""
        if self._reads is None:
            raise StoreError("the store is not open")
        return self._reads

    async def take_term(self, above: int = 0) -> int:
        """Commit and return a term higher than the stored one and than `above`."""
        async with self._writing("taking a term") as connection:
            return await writing.raise_term(connection, above)

    async def load(self) -> LoadedRows:
        """All printers; jobs that are unfinished or still hold a printer, with all of theirs."""
        async with self._writing("loading") as connection:
            return await loading.load(connection)

    async def commit(self, term: int, plan: Plan) -> None:
        """Write the plan in one transaction that also confirms the term."""
        if not plan.durable:
            await self.confirm(term)
            return
        async with self._writing("committing a round") as connection:
            await writing.hold_term(connection, term)
            await writing.write(connection, plan)

    async def confirm(self, term: int) -> None:
        """Confirm the term without a write; raises TermLost."""
        if self._writer is None:
            raise StoreError("the store is not open")
        with told("confirming the term"):
            async with self._writer.connect() as connection:
                await connection.execution_options(**{GLANCE: True})
                await writing.check_term(connection, term)

    async def history(
        self, *, job: str = "", printer: str = "", attempt: str = "", limit: int = 100
    ) -> list[History]:
        """Newest first. `reads.list_history` has paging and more filters."""
        wanted = HistoryFilter(job=job, printer=printer, attempt=attempt)
        page = await self.reads.list_history(wanted, limit=limit)
        return [entry.line for entry in page.entries]

    async def add_file(self, file: StoredFile) -> bool:
        """Note a stored file; False if this content was known already, which then stays as it is.

        Needs no term: a file's row says the same whoever writes it.
        """
        async with self._writing("adding a file") as connection:
            return await shelf.add(connection, file)

    async def describe_file(
        self, sha256: str, *, metadata: bytes | None = None, analysis: bytes | None = None
    ) -> bool:
        """Set what is now known of a file, as JSON; False if there is no such file."""
        async with self._writing("describing a file") as connection:
            return await shelf.describe(connection, sha256, metadata, analysis)

    async def remove_file(self, sha256: str) -> bool:
        """Forget a file; False, changing nothing, if an unfinished job needs it or it is gone."""
        async with self._writing("removing a file") as connection:
            return await shelf.remove(connection, sha256)

    async def put_setting(self, key: str, value: bytes) -> None:
        """Keep a value, given as JSON, under a key."""
        async with self._writing(f"keeping setting {key!r}") as connection:
            await shelf.put_setting(connection, key, value)

    async def _upkeep(self) -> None:
        path = sqlite_file(self._address)
        where = str(path or self._address.render_as_string(hide_password=True))
        if path is not None:
            prepare_file(path)
        engine = engine_for(self._address, Use.UPKEEP)
        try:
            with told(f"database {where}"):
                async with engine.begin() as connection:
                    if path is not None:
                        await check_file(connection, path)
                    await schema.bring_up(connection)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def _writing(self, doing: str) -> AsyncIterator[AsyncConnection]:
        """The writer's connection in a transaction: committed at the end, else rolled back."""
        if self._writer is None:
            raise StoreError("the store is not open")
        with told(doing):
            async with self._writer.begin() as connection:
                yield connection
