"""Lists and details for people: filters, orders, pages, and that nobody waits for the writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.attempts import State
from coordinator.core.farm import History
from coordinator.core.jobs import Copy, CopyState, JobState, Lane
from coordinator.core.printers import Printer
from coordinator.lists import (
    AttemptFilter,
    BadQuery,
    HistoryFilter,
    JobFilter,
    JobSort,
    from_cursor,
    to_cursor,
)
from coordinator.ports import StoreError
from coordinator.store.sql import SqlStore

from .build import FILE, attempt, farm, job, plan

JOBS = (
    job("a", lane=Lane.STANDARD, priority=0, rank=1.0, created_at=1.0, title="Benchy"),
    job("b", lane=Lane.EXPRESS, priority=0, rank=2.0, created_at=2.0, owner="ada"),
    job("c", lane=Lane.STANDARD, priority=5, rank=3.0, created_at=3.0, tags=("art", 'a"b')),
    job("d", lane=Lane.STANDARD, priority=0, rank=0.5, created_at=4.0, state=JobState.HELD),
    job("e", created_at=5.0, state=JobState.COMPLETED, finished_at=9.0, title="50% off_it"),
    job("f", created_at=5.0, state=JobState.CANCELLED, finished_at=9.0, reprint_of="e"),
    job("g", created_at=0.5, state=JobState.COMPLETED, finished_at=20.0, tags=("Art",)),
)


@pytest.fixture
async def filled(store: SqlStore) -> SqlStore:
    term = await store.take_term()
    await store.commit(term, plan(*JOBS))
    return store


async def ids(store: SqlStore, wanted: JobFilter, sort: JobSort = JobSort.QUEUE) -> str:
    page = await store.reads.list_jobs(wanted, sort)
    assert await store.reads.count_jobs(wanted) >= len(page.jobs)
    return "".join(row.id for row in page.jobs)


@pytest.mark.parametrize(
    ("sort", "wanted", "order"),
    [
        (JobSort.QUEUE, JobFilter(finished=False), "bcda"),
        (JobSort.CREATED, JobFilter(), "fedcbag"),
        (JobSort.FINISHED, JobFilter(), "gfe"),
        (JobSort.TITLE, JobFilter(), "eabcdfg"),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 500])
async def test_pages_hold_every_job_once_in_order(
    filled: SqlStore, sort: JobSort, wanted: JobFilter, order: str, limit: int
) -> None:
    seen, cursor, pages = "", "", 0
    while (not pages or cursor) and pages <= len(order):
        page = await filled.reads.list_jobs(wanted, sort, limit, cursor)
        assert 0 < len(page.jobs) <= limit
        seen += "".join(row.id for row in page.jobs)
        cursor, pages = page.cursor, pages + 1
    assert seen == order
    assert pages == -(-len(order) // limit)


async def test_a_page_neither_repeats_nor_skips_when_jobs_come_and_go(filled: SqlStore) -> None:
    first = await filled.reads.list_jobs(JobFilter(), JobSort.CREATED, 3)
    await filled.commit(1, plan(job("new", created_at=99.0)))
    second = await filled.reads.list_jobs(JobFilter(), JobSort.CREATED, 3, first.cursor)
    assert [row.id for row in first.jobs + second.jobs] == ["f", "e", "d", "c", "b", "a"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (JobFilter(finished=True), "efg"),
        (JobFilter(states=(JobState.HELD, JobState.CANCELLED)), "df"),
        (JobFilter(lane=Lane.EXPRESS), "b"),
        (JobFilter(owner="ada"), "b"),
        (JobFilter(tag="art"), "c"),
        (JobFilter(tag='a"b'), "c"),
        (JobFilter(tag="ar"), ""),
        (JobFilter(text="BENCH"), "a"),
        (JobFilter(text="50%"), "e"),
        (JobFilter(text="f_i"), "e"),
        (JobFilter(text="b_n"), ""),
        (JobFilter(sha256=FILE.sha256, reprint_of="e"), "f"),
        (JobFilter(sha256="0" * 64), ""),
        (JobFilter(created_from=2.0, created_before=4.0), "bc"),
    ],
)
async def test_filters(filled: SqlStore, wanted: JobFilter, found: str) -> None:
    assert "".join(sorted(await ids(filled, wanted))) == found
    assert await filled.reads.count_jobs(wanted) == len(found)


async def test_jobs_by_printer(store: SqlStore) -> None:
    term = await store.take_term()
    await store.commit(term, farm())
    await store.commit(term, plan(attempt("a1", printer="p2"), job("other")))
    assert await ids(store, JobFilter(printer="p2")) == "job"
    assert await ids(store, JobFilter(printer="p1")) == ""


async def test_detail_of_a_job(store: SqlStore) -> None:
    term = await store.take_term()
    await store.commit(term, farm(copies=3))
    tries = [attempt("late", assigned_at=5.0), attempt("early", printer="p2", assigned_at=2.0)]
    await store.commit(term, plan(*tries))
    found = await store.reads.job_detail("job")
    assert found is not None
    assert [copy.number for copy in found.copies] == [1, 2, 3]
    assert found.attempts == [tries[1], tries[0]]
    assert await store.reads.job("job") == found.job
    assert await store.reads.job_detail("nobody") is None
    assert await store.reads.job("nobody") is None


async def test_counts_of_copies(store: SqlStore) -> None:
    term = await store.take_term()
    await store.commit(term, farm(copies=3))
    await store.commit(term, plan(Copy(id="c1", job="job", number=1, state=CopyState.DONE)))
    found = await store.reads.copy_counts(["job", "nobody"])
    assert found == {"job": {CopyState.DONE: 1, CopyState.OPEN: 2}, "nobody": {}}
    assert await store.reads.copy_counts([]) == {}


async def test_attempts_of_a_printer_newest_first(store: SqlStore) -> None:
    term = await store.take_term()
    await store.commit(term, farm())
    ended: dict[str, Any] = {"state": State.ENDED, "ended_at": 9.0}
    rows = [attempt(f"a{n}", assigned_at=float(n // 2), **ended) for n in range(5)]
    live = attempt("a9", copy="c2", assigned_at=7.0)
    await store.commit(term, plan(*rows, live, attempt("b1", printer="p2")))
    first = await store.reads.list_attempts(AttemptFilter(printer="p1"), limit=4)
    rest = await store.reads.list_attempts(AttemptFilter(printer="p1"), 4, first.cursor)
    assert [row.id for row in first.attempts] == ["a9", "a4", "a3", "a2"]
    assert ([row.id for row in rest.attempts], rest.cursor) == (["a1", "a0"], "")
    of_copy = await store.reads.list_attempts(AttemptFilter(copy="c2"))
    assert of_copy.attempts == [live]
    dead = await store.reads.list_attempts(AttemptFilter(job="job", states=(State.ENDED,)))
    assert len(dead.attempts) == 5


async def test_history_newest_first(store: SqlStore) -> None:
    term = await store.take_term()
    lines = [
        History(at=5.0, kind="job_queued", who="ada", origin="::1", job="j1"),
        History(at=4.0, kind="attempt_armed", job="j1", attempt="a1", printer="p1", copy="c1"),
        History(at=3.0, kind="job_queued", job="j2", text="3 x Part"),
    ]
    await store.commit(term, plan(*lines))
    assert await store.history() == lines[::-1]
    assert await store.history(job="j1") == [lines[1], lines[0]]
    assert await store.history(printer="p1", attempt="a1") == [lines[1]]
    assert await store.history(limit=1) == [lines[2]]
    page = await store.reads.list_history(HistoryFilter(kinds=("job_queued",)), limit=1)
    rest = await store.reads.list_history(HistoryFilter(kinds=("job_queued",)), 5, page.cursor)
    assert [entry.line for entry in page.entries + rest.entries] == [lines[2], lines[0]]
    assert page.entries[0].number > rest.entries[0].number
    by_who = await store.reads.list_history(HistoryFilter(who="ada"))
    assert [entry.line for entry in by_who.entries] == [lines[0]]


@pytest.mark.parametrize("limit", [0, -1, 501])
async def test_a_limit_out_of_range_is_refused(store: SqlStore, limit: int) -> None:
    lists: list[Callable[..., Awaitable[object]]] = [
        store.reads.list_jobs,
        store.reads.list_attempts,
        store.reads.list_history,
        store.reads.list_files,
    ]
    for listing in lists:
        with pytest.raises(BadQuery, match=f"limit {limit}: must be from 1 to 500"):
            await listing(limit=limit)


@pytest.mark.parametrize("cursor", ["x", "%%%", "e30", "bnVsbA", to_cursor("title", ("a", "b"))])
async def test_a_cursor_of_something_else_is_refused(store: SqlStore, cursor: str) -> None:
    with pytest.raises(BadQuery, match="cursor"):
        await store.reads.list_jobs(sort=JobSort.QUEUE, cursor=cursor)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_no_text_breaks_a_cursor(cursor: str) -> None:
    try:
        place = from_cursor("files", cursor, (float, str))
    except BadQuery:
        return
    assert place is None or len(place) == 2


async def test_reading_does_not_wait_for_a_writer(filled: SqlStore, path: Path) -> None:
    """Somebody holds the write lock with half a transaction: lists show what was committed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("UPDATE jobs SET title = 'half'")
        page = await filled.reads.list_jobs()
        raw.execute("ROLLBACK")
    assert len(page.jobs) == 7
    assert "half" not in [row.title for row in page.jobs]


async def test_the_reading_connections_cannot_write(store: SqlStore) -> None:
    with pytest.raises(StoreError, match=r"read-?only"):
        async with store.reads.connection("trying") as connection:
            await connection.exec_driver_sql("UPDATE reign SET term = 5")
    await store.commit(await store.take_term(), plan(Printer(id="p", name="P")))
