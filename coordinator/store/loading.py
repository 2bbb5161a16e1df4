"""What a farm starts from.

Owns which rows that is: nothing of finished jobs, unless one of their attempts still holds a
printer. Then all of the job comes, its ended attempts too: the core takes an attempt that it does
not find for one made after a backup, and would adopt it a second time.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.core.attempts import State
from coordinator.store.rows import LoadedRows, attempt_of, copy_of, job_of, printer_of
from coordinator.store.tables import attempts, copies, jobs, printers


async def load(connection: AsyncConnection) -> LoadedRows:
    """Read everything in the caller's one transaction."""
    holding = sa.select(attempts.c.job).where(attempts.c.state != State.ENDED)
    wanted = sa.or_(jobs.c.finished_at.is_(None), jobs.c.id.in_(holding))
    ids = sa.select(jobs.c.id).where(wanted)
    job_rows = await connection.execute(jobs.select().where(wanted).order_by(jobs.c.created_at))
    copy_rows = await connection.execute(
        copies.select().where(copies.c["job"].in_(ids)).order_by(copies.c["job"], copies.c.number)
    )
    attempt_rows = await connection.execute(
        attempts.select().where(attempts.c.job.in_(ids)).order_by(attempts.c.assigned_at)
    )
    printer_rows = await connection.execute(printers.select().order_by(printers.c.id))
    return LoadedRows(
        jobs=[job_of(row) for row in job_rows.mappings()],
        copies=[copy_of(row) for row in copy_rows.mappings()],
        attempts=[attempt_of(row) for row in attempt_rows.mappings()],
        printers=[printer_of(row) for row in printer_rows.mappings()],
    )
