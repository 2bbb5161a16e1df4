"""The store in SQL: the writer's side of `coordinator.ports.Store`, and the way to the readers.

Owns the life of the connections, and that there is one writer: every write goes through one
connection. `reads` has connections of its own, so a long list never holds up a round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from coordinator.core.farm import History, Plan
from coordinator.lists import HistoryFilter, StoredFile
from coordinator.ports import StoreError
from coordinator.store import loading, shelf, upkeep, writing
from coordinator.store.database import GLANCE, Use, engine_for, parsed
from coordinator.store.failures import told
from coordinator.store.pairings import PairingRows
from coordinator.store.people import PeopleRows
from coordinator.store.reads import Reads
from coordinator.store.rows import LoadedRows

T = TypeVar("T")


class SqlStore:
    """Durable state at `url`: sqlite+aiosqlite:///FILE or postgresql+asyncpg://USER@HOST/NAME.

    Every method raises StoreError with what a person can do; what failed has changed nothing.
    """

    def __init__(self, url: str) -> None:
        self._address = parsed(url)
        self._writer: AsyncEngine | None = None
        self._readers: AsyncEngine | None = None
        self._reads: Reads | None = None
        self.people = PeopleRows(self._write, lambda: self.reads)
        self.pairings = PairingRows(self._write, lambda: self.reads)

    async def open(self) -> None:
        """Check the file, bring the schema up, and get ready to read and write."""
        if self._writer is not None:
            raise StoreError("the store is open already")
        await upkeep.prepare(self._address)
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
        return await self._write("taking a term", lambda c: writing.raise_term(c, above))

    async def load(self) -> LoadedRows:
        """All printers; jobs that are unfinished or still hold a printer, with all of theirs."""
        return await self._write("loading", loading.load)

    async def commit(self, term: int, plan: Plan) -> None:
        """Write the plan in one transaction that also confirms the term."""
        if not plan.durable:
            await self.confirm(term)
            return

        async def round_of(connection: AsyncConnection) -> None:
            await writing.hold_term(connection, term)
            await writing.write(connection, plan)

        await self._write("committing a round", round_of)

    async def confirm(self, term: int) -> None:
        """Confirm the term without a write; raises TermLost."""
        await self._write("confirming the term", lambda c: writing.check_term(c, term), GLANCE)

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
        return await self._write("adding a file", lambda c: shelf.add(c, file))

    async def describe_file(
        self, sha256: str, *, metadata: bytes | None = None, analysis: bytes | None = None
    ) -> bool:
        """Set what is now known of a file, as JSON; False if there is no such file."""
        return await self._write(
            "describing a file", lambda c: shelf.describe(c, sha256, metadata, analysis)
        )

    async def remove_file(self, sha256: str) -> bool:
        """Forget a file; False, changing nothing, if an unfinished job needs it or it is gone."""
        return await self._write("removing a file", lambda c: shelf.remove(c, sha256))

    async def put_setting(self, key: str, value: bytes) -> None:
        """Keep a value, given as JSON, under a key."""
        await self._write(f"keeping setting {key!r}", lambda c: shelf.put_setting(c, key, value))

    async def make_setting(self, key: str, value: bytes) -> None:
        """Keep a value, given as JSON, under a key that has none yet."""
        await self._write(f"making setting {key!r}", lambda c: shelf.make_setting(c, key, value))

    async def _write(
        self, doing: str, act: Callable[[AsyncConnection], Awaitable[T]], option: str = ""
    ) -> T:
        """Run one transaction on the writer's connection: committed at its end, else rolled back.

        Whoever waits may be cancelled; the transaction still runs to its end first, because a
        connection that is left in the middle keeps the lock of the database.
        """
        writer = self._writer
        if writer is None:
            raise StoreError("the store is not open")

        async def run() -> T:
            with told(doing):
                async with writer.connect() as connection:
                    if option:
                        await connection.execution_options(**{option: True})
                    async with connection.begin():
                        return await act(connection)

        task = asyncio.create_task(run())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError as cancelled:
            await asyncio.wait([task])
            raise cancelled from task.exception()
