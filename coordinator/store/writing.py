"""The statements of the writer: one plan, one transaction.

Owns the order in which rows are written and the term's row. Must not know connections' lives.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from msgspec.structs import asdict
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.core.attempts import Attempt
from coordinator.core.farm import Plan
from coordinator.ports import StoreError, TermLost
from coordinator.store.rows import job_row
from coordinator.store.tables import attempts, copies, history, jobs, printers, reign

TERM_MAX = 2**62
"""A host that observed more is not to be believed: the number has to fit, and to grow on."""


async def raise_term(connection: AsyncConnection, above: int) -> int:
    """Write a term above the stored one and above `above`, and return it."""
    locked = sa.select(reign.c.term).with_for_update()
    stored: int = (await connection.execute(locked)).scalar_one()
    term = max(stored, above) + 1
    if term > TERM_MAX:
        raise StoreError(f"term {term}: at most {TERM_MAX} is taken; some host invented it")
    await connection.execute(reign.update().values(term=term))
    return term


async def hold_term(connection: AsyncConnection, term: int) -> None:
    """Confirm the term with a write, which also keeps any other coordinator out until commit."""
    held = await connection.execute(
        reign.update().where(reign.c.term == term).values(term=sa.bindparam("same", term))
    )
    if held.rowcount != 1:
        await check_term(connection, term)
        raise StoreError("the term's row is gone: the database was changed by hand")


async def check_term(connection: AsyncConnection, term: int) -> None:
    """Confirm the term by reading it; raises TermLost saying who reigns now."""
    stored = (await connection.execute(sa.select(reign.c.term))).scalar_one()
    if stored != term:
        raise TermLost(f"term {term} is over: the database holds term {stored} of another reign")


async def write(connection: AsyncConnection, plan: Plan) -> None:
    """All rows of a plan: what is referred to before what refers to it."""
    await _put(connection, printers, [asdict(row) for row in plan.printers.values()])
    await _put(connection, jobs, [job_row(row) for row in plan.jobs.values()])
    await _put(connection, copies, [asdict(row) for row in plan.copies.values()])
    await _put(connection, attempts, [asdict(row) for row in _ended_first(plan)])
    if plan.history:
        await connection.execute(history.insert(), [asdict(line) for line in plan.history])


def _ended_first(plan: Plan) -> list[Attempt]:
    """A printer is free for its next attempt only once the row of the last one says so."""
    return sorted(plan.attempts.values(), key=lambda attempt: attempt.live)


async def _put(connection: AsyncConnection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        await connection.execute(upsert(table, connection.dialect.name), rows)


@cache
def upsert(table: sa.Table, dialect: str) -> sa.Insert:
    """Insert a row, or replace all columns of the row with the same key."""
    keys = [column.name for column in table.primary_key]
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    others = {c.name: insert.excluded[c.name] for c in table.columns if c.name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=others)
