"""Pairing codes in SQL: `coordinator.trust.pairings.PairingStore`.

Owns their statements, and that a code is spent by one update that names its unspent state. Must
not know what a code is good for. Needs no term: these rows say the same whoever writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from msgspec.structs import asdict
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.core.farm import History
from coordinator.core.requests import Conflict
from coordinator.store.people import Write
from coordinator.store.reads import Reads
from coordinator.store.tables import history, pairings, reign
from coordinator.trust.pairings import Pairing

KEPT_S = 86_400.0
"""A spent or expired code is kept for so long, to say what became of it."""


class PairingRows:
    """Reads by the readers' connections, writes by the writer's one."""

    def __init__(self, write: Write, reads: Callable[[], Reads]) -> None:
        self._write = write
        self._reads = reads

    async def add(self, pairing: Pairing, codes_max: int, line: History) -> None:
        now_s = pairing.created_at

        async def act(connection: AsyncConnection) -> None:
            # What is counted stays so until the commit; SQLite has taken its only lock already.
            await connection.execute(sa.select(reign.c.term).with_for_update())
            old = pairings.delete().where(pairings.c.expires_at < now_s - KEPT_S)
            await connection.execute(old)
            many = sa.select(sa.func.count()).select_from(pairings).where(_good(now_s))
            if (await connection.execute(many)).scalar_one() >= codes_max:
                raise Conflict(
                    f"there are {codes_max} unused codes; cancel one, or wait until they expire"
                )
            await connection.execute(pairings.insert(), asdict(pairing))
            await connection.execute(history.insert(), asdict(line))

        await self._write("making a pairing code", act)

    async def by_digest(self, digest: str) -> Pairing | None:
        found = await self._all(sa.select(pairings).where(pairings.c.digest == digest))
        return found[0] if found else None

    async def good(self, now_s: float) -> list[Pairing]:
        wanted = sa.select(pairings).where(_good(now_s))
        return await self._all(wanted.order_by(pairings.c.created_at, pairings.c.id))

    async def use(self, pairing_id: str, now_s: float) -> bool:
        unspent = sa.and_(pairings.c.id == pairing_id, _good(now_s))
        return await self._do(pairings.update().where(unspent).values(used_at=now_s))

    async def give_back(self, pairing_id: str) -> None:
        await self._do(pairings.update().where(pairings.c.id == pairing_id).values(used_at=None))

    async def remove(self, pairing_id: str, line: History) -> bool:
        return await self._do(pairings.delete().where(pairings.c.id == pairing_id), line)

    async def _all(self, query: sa.Select[Any]) -> list[Pairing]:
        async with self._reads().connection("reading pairing codes") as connection:
            rows = (await connection.execute(query)).mappings()
            return [Pairing(**dict(row)) for row in rows]

    async def _do(self, statement: sa.Executable, line: History | None = None) -> bool:
        async def act(connection: AsyncConnection) -> bool:
            done: Any = await connection.execute(statement)
            if done.rowcount and line is not None:
                await connection.execute(history.insert(), asdict(line))
            return bool(done.rowcount)

        return await self._write("changing a pairing code", act)


def _good(now_s: float) -> sa.ColumnElement[bool]:
    return sa.and_(pairings.c.used_at.is_(None), pairings.c.expires_at > now_s)
