"""The reading side for people and pages: named, parameterised queries with paging.

Owns connections of its own, which cannot write, and the statements. The engine decides nothing
from here: it has the farm in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from coordinator.core.attempts import Attempt
from coordinator.core.jobs import CopyState, Job, Lane
from coordinator.lists import (
    AttemptFilter,
    AttemptPage,
    FilePage,
    HistoryEntry,
    HistoryFilter,
    HistoryPage,
    JobDetail,
    JobFilter,
    JobPage,
    JobSort,
    Place,
    References,
    StoredFile,
    checked_limit,
    from_cursor,
    to_cursor,
)
from coordinator.store.failures import told
from coordinator.store.rows import attempt_of, copy_of, file_of, history_of, job_of
from coordinator.store.tables import attempts, copies, files, history, jobs, settings

Column = sa.ColumnElement[Any]
Rows = Sequence[sa.RowMapping]


class Order(NamedTuple):
    """An order of rows: expressions, whether each falls, and the type of each in a cursor.

    The last expression tells any two rows apart.
    """

    name: str
    by: tuple[Column, ...]
    falls: tuple[bool, ...]
    kinds: tuple[type, ...]


LANE_PLACE = sa.case((jobs.c.lane == Lane.EXPRESS, 0), else_=1)

JOB_ORDERS = {
    JobSort.QUEUE: Order(
        "queue",
        (LANE_PLACE, jobs.c.priority, jobs.c.rank, jobs.c.id),
        (False, True, False, False),
        (int, int, float, str),
    ),
    JobSort.CREATED: Order("created", (jobs.c.created_at, jobs.c.id), (True, True), (float, str)),
    JobSort.FINISHED: Order(
        "finished", (jobs.c.finished_at, jobs.c.id), (True, True), (float, str)
    ),
    JobSort.TITLE: Order("title", (jobs.c.title, jobs.c.id), (False, False), (str, str)),
}
ATTEMPT_ORDER = Order(
    "attempts", (attempts.c.assigned_at, attempts.c.id), (True, True), (float, str)
)
HISTORY_ORDER = Order("history", (history.c.number,), (True,), (int,))
FILE_ORDER = Order("files", (files.c.created_at, files.c.sha256), (True, True), (float, str))


class Reads:
    """Queries. All raise StoreError; those with a limit or a cursor raise BadQuery too."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def connection(self, doing: str) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one state of the database from its first read to its last."""
        with told(doing):
            async with self._engine.connect() as connection:
                yield connection

    async def list_jobs(
        self,
        wanted: JobFilter | None = None,
        sort: JobSort = JobSort.QUEUE,
        limit: int = 100,
        cursor: str = "",
    ) -> JobPage:
        """One page of jobs."""
        conditions = _job_conditions(wanted or JobFilter())
        if sort is JobSort.FINISHED:
            conditions.append(jobs.c.finished_at.is_not(None))
        found, more = await self._page(jobs, conditions, JOB_ORDERS[sort], limit, cursor)
        return JobPage([job_of(row) for row in found], more)

    async def count_jobs(self, wanted: JobFilter | None = None) -> int:
        """How many jobs a filter lets through."""
        conditions = _job_conditions(wanted or JobFilter())
        async with self.connection("counting jobs") as connection:
            counted = sa.select(sa.func.count()).select_from(jobs).where(*conditions)
            return int((await connection.execute(counted)).scalar_one())

    async def job(self, job_id: str) -> Job | None:
        """One job, finished or not."""
        async with self.connection("reading a job") as connection:
            row = (await connection.execute(jobs.select().where(jobs.c.id == job_id))).mappings()
            found = row.one_or_none()
        return None if found is None else job_of(found)

    async def job_detail(self, job_id: str) -> JobDetail | None:
        """One job with its copies and attempts, all of one moment."""
        async with self.connection("reading a job") as connection:
            of_job = jobs.select().where(jobs.c.id == job_id)
            found = (await connection.execute(of_job)).mappings().one_or_none()
            if found is None:
                return None
            copy_rows = await connection.execute(
                copies.select().where(copies.c.job == job_id).order_by(copies.c.number)
            )
            attempt_rows = await connection.execute(
                attempts.select()
                .where(attempts.c.job == job_id)
                .order_by(attempts.c.assigned_at, attempts.c.id)
            )
            return JobDetail(
                job=job_of(found),
                copies=[copy_of(row) for row in copy_rows.mappings()],
                attempts=[attempt_of(row) for row in attempt_rows.mappings()],
            )

    async def copy_counts(self, job_ids: Sequence[str]) -> dict[str, dict[CopyState, int]]:
        """For each of these jobs (at most a page of them), how many copies are in which state."""
        if not job_ids:
            return {}
        checked_limit(len(job_ids))
        counted = (
            sa.select(copies.c.job, copies.c.state, sa.func.count())
            .where(copies.c.job.in_(job_ids))
            .group_by(copies.c.job, copies.c.state)
        )
        found: dict[str, dict[CopyState, int]] = {job_id: {} for job_id in job_ids}
        async with self.connection("counting copies") as connection:
            for job_id, state, count in await connection.execute(counted):
                found[job_id][state] = count
        return found

    async def attempt(self, attempt_id: str) -> Attempt | None:
        """One attempt, live or ended."""
        of_id = attempts.select().where(attempts.c.id == attempt_id)
        async with self.connection("reading an attempt") as connection:
            found = (await connection.execute(of_id)).mappings().one_or_none()
        return None if found is None else attempt_of(found)

    async def list_attempts(
        self, wanted: AttemptFilter | None = None, limit: int = 100, cursor: str = ""
    ) -> AttemptPage:
        """One page of attempts, the newest first: a printer's, a job's or a copy's."""
        wanted = wanted or AttemptFilter()
        conditions = _equal(attempts, wanted, "printer", "job", "copy")
        if wanted.states:
            conditions.append(attempts.c.state.in_(wanted.states))
        found, more = await self._page(attempts, conditions, ATTEMPT_ORDER, limit, cursor)
        return AttemptPage([attempt_of(row) for row in found], more)

    async def list_history(
        self, wanted: HistoryFilter | None = None, limit: int = 100, cursor: str = ""
    ) -> HistoryPage:
        """One page of history, the newest first."""
        wanted = wanted or HistoryFilter()
        conditions = _equal(history, wanted, "job", "copy", "attempt", "printer", "who")
        if wanted.kinds:
            conditions.append(history.c.kind.in_(wanted.kinds))
        found, more = await self._page(history, conditions, HISTORY_ORDER, limit, cursor)
        return HistoryPage([HistoryEntry(row["number"], history_of(row)) for row in found], more)

    async def get_file(self, sha256: str) -> StoredFile | None:
        """One stored file."""
        async with self.connection("reading a file's row") as connection:
            one = await connection.execute(files.select().where(files.c.sha256 == sha256))
            found = one.mappings().one_or_none()
        return None if found is None else file_of(found)

    async def list_files(self, text: str = "", limit: int = 100, cursor: str = "") -> FilePage:
        """One page of files, the newest first; `text` is looked for in titles."""
        conditions = [files.c.title.icontains(text, autoescape=True)] if text else []
        found, more = await self._page(files, conditions, FILE_ORDER, limit, cursor)
        return FilePage([file_of(row) for row in found], more)

    async def references(self, sha256: str) -> References:
        """How many jobs refer to this file."""
        ended = sa.func.count(jobs.c.finished_at)
        counted = sa.select(sa.func.count(), ended).where(jobs.c.file_sha256 == sha256)
        async with self.connection("counting a file's jobs") as connection:
            every, finished = (await connection.execute(counted)).one()
        return References(unfinished=every - finished, finished=finished)

    async def setting(self, key: str) -> msgspec.Raw | None:
        """The value under a key, as JSON; None if there is none."""
        value = sa.select(settings.c.value).where(settings.c.key == key)
        async with self.connection(f"reading setting {key!r}") as connection:
            found: msgspec.Raw | None = (await connection.execute(value)).scalar_one_or_none()
        return found

    async def _page(
        self, table: sa.Table, conditions: list[Column], order: Order, limit: int, cursor: str
    ) -> tuple[Rows, str]:
        """Up to `limit` rows after the cursor, and the cursor of the next page."""
        after = from_cursor(order.name, cursor, order.kinds)
        if after is not None:
            conditions = [*conditions, _after(order, after)]
        places = [by.label(f"place_{n}") for n, by in enumerate(order.by)]
        sorting = [
            by.desc() if falls else by.asc()
            for by, falls in zip(order.by, order.falls, strict=True)
        ]
        # One row more than asked for tells whether there is a next page.
        query = (
            sa.select(table, *places)
            .where(*conditions)
            .order_by(*sorting)
            .limit(checked_limit(limit) + 1)
        )
        async with self.connection(f"listing {table.name}") as connection:
            found = (await connection.execute(query)).mappings().all()
        if len(found) <= limit:
            return [_without_place(row) for row in found], ""
        last = found[limit - 1]
        place = tuple(last[label.name] for label in places)
        return [_without_place(row) for row in found[:limit]], to_cursor(order.name, place)


def _without_place(row: sa.RowMapping) -> Any:
    return {name: value for name, value in row.items() if not name.startswith("place_")}


def _after(order: Order, place: Place) -> Column:
    """Rows behind a place: later in the first expression, or equal in it and later in the next."""
    ways: list[Column] = []
    same: list[Column] = []
    for by, falls, value in zip(order.by, order.falls, place, strict=True):
        ways.append(sa.and_(*same, by < value if falls else by > value))
        same.append(by == value)
    return sa.or_(*ways)


def _equal(table: sa.Table, wanted: msgspec.Struct, *names: str) -> list[Column]:
    """Conditions for those fields that are set."""
    return [table.c[name] == value for name in names if (value := getattr(wanted, name))]


def _job_conditions(wanted: JobFilter) -> list[Column]:
    found = _equal(jobs, wanted, "lane", "owner", "reprint_of")
    if wanted.finished is not None:
        none = jobs.c.finished_at.is_(None)
        found.append(~none if wanted.finished else none)
    if wanted.states:
        found.append(jobs.c.state.in_(wanted.states))
    if wanted.tag:
        found.append(_has_tag(wanted.tag))
    if wanted.text:
        in_title = jobs.c.title.icontains(wanted.text, autoescape=True)
        found.append(in_title | jobs.c.id.startswith(wanted.text, autoescape=True))
    if wanted.material:
        # The name and the quotes around the value leave nothing else in the text to be found.
        pair = f'"material":{msgspec.json.encode(wanted.material).decode()}'
        text = sa.cast(jobs.c.requirements, sa.Text)
        found.append(text.icontains(pair, autoescape=True))
    if wanted.sha256:
        found.append(jobs.c.file_sha256 == wanted.sha256)
    if wanted.printer:
        on_it = sa.select(attempts.c.job).where(attempts.c.printer == wanted.printer)
        found.append(jobs.c.id.in_(on_it))
    if wanted.created_from is not None:
        found.append(jobs.c.created_at >= wanted.created_from)
    if wanted.created_before is not None:
        found.append(jobs.c.created_at < wanted.created_before)
    return found


def _has_tag(tag: str) -> Column:
    """Whether the JSON list holds this very string.

    Not LIKE, in which SQLite takes A for a: what changes when the quoted tag is cut out held it.
    """
    text = sa.cast(jobs.c.tags, sa.Text)
    quoted = sa.literal(msgspec.json.encode(tag).decode(), sa.Text)
    return sa.func.replace(text, quoted, "") != text
