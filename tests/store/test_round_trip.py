"""What is written is what is read, for every field of every type of row."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import History
from coordinator.core.jobs import Copy, Job
from coordinator.core.printers import Printer
from coordinator.lists import StoredFile
from coordinator.store import tables
from coordinator.store.rows import job_row
from coordinator.store.sql import SqlStore
from moonraker_component.wire import Outcome, Report

from .build import SHA, anything, attempt, farm, job, plan, struct, url_of

COUNT = st.integers(1, 10_000)


def as_finished(row: Job) -> Job:
    """The same job with `finished_at` as its state needs it."""
    return replace(row, finished_at=row.created_at if row.finished else None)


def as_ended(row: Attempt) -> Attempt:
    """The same attempt, made one that the schema takes."""
    if row.state is not State.ENDED:
        return replace(row, ended_at=None, accepted=False, outcome=Outcome.NONE)
    accepted = row.accepted and row.outcome is Outcome.COMPLETE
    return replace(row, ended_at=row.assigned_at, accepted=accepted)


JOBS = struct(Job, id=st.just("job"), copies=COUNT).map(as_finished)
COPIES = struct(Copy, id=st.just("c1"), job=st.just("job"), number=COUNT)
PRINTERS = struct(Printer, id=st.just("p1"))
ATTEMPTS = struct(
    Attempt,
    id=st.just("a1"),
    copy=st.just("c1"),
    job=st.just("job"),
    printer=st.just("p1"),
    take_back=st.sampled_from(["", "withdraw", "cancel"]),
).map(as_ended)
HISTORY = anything(History)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples, which write the same keys over and over."""
    return tmp_path_factory.mktemp("round_trip") / "moonfleet.db"


@settings(max_examples=80, deadline=None)
@given(rows=st.tuples(JOBS, COPIES, PRINTERS, ATTEMPTS, HISTORY))
def test_every_field_comes_back(shared: Path, rows: tuple[Any, ...]) -> None:
    wanted_job, copy, printer, tried, line = rows

    async def there_and_back() -> None:
        store = SqlStore(url_of(shared))
        await store.open()
        try:
            await store.commit(await store.take_term(), plan(*rows))
            found = await store.reads.job_detail("job")
            assert found is not None
            assert found.job == wanted_job
            assert found.copies == [copy]
            assert found.attempts == [tried]
            assert (await store.load()).printers == [printer]
            assert (await store.history(limit=1)) == [line]
        finally:
            await store.close()

    asyncio.run(there_and_back())


@pytest.mark.parametrize(
    ("table", "kind", "more"),
    [
        (tables.printers, Printer, set()),
        (tables.copies, Copy, set()),
        (tables.attempts, Attempt, set()),
        (tables.files, StoredFile, set()),
        (tables.history, History, {"number"}),
    ],
)
def test_columns_are_the_fields(table: Any, kind: Any, more: set[str]) -> None:
    """A field added to a type without a migration is noticed here."""
    assert set(table.columns.keys()) == set(kind.__struct_fields__) | more


def test_columns_of_jobs_are_its_fields() -> None:
    assert set(tables.jobs.columns.keys()) == set(job_row(job()))


async def test_a_second_commit_replaces_every_column(store: SqlStore) -> None:
    term = await store.take_term()
    await store.commit(term, farm())
    printer = Printer(
        id="p1", name="New", generation=7, hold="look", report=Report(session="s", sequence=3)
    )
    await store.commit(term, plan(printer))
    assert (await store.load()).printers[0] == printer
    await store.commit(term, plan(replace(printer, report=None, hold="")))
    assert (await store.load()).printers[0] == replace(printer, report=None, hold="")


async def test_text_that_no_database_keeps_cannot_fail_a_commit(store: SqlStore) -> None:
    """It would come in a host's message, again and again."""
    term = await store.take_term()
    bad = attempt("a1", message="tore\0off \ud800!", cause="fine \N{SNOWMAN}")
    await store.commit(term, farm())
    await store.commit(term, plan(bad))
    found = (await store.load()).attempts[0]
    assert (found.message, found.cause) == ("tore\ufffdoff ?!", "fine \N{SNOWMAN}")


async def test_a_file_keeps_its_json_as_it_was_given(store: SqlStore) -> None:
    given_file = StoredFile(
        sha256=SHA,
        size_bytes=2**40,
        name="part.gcode",
        title="Pärt.gcode",
        metadata=msgspec.Raw(b'{"layers":[1,2.5],"who":"\xc3\xa4"}'),
        created_at=1.5,
    )
    assert await store.add_file(given_file)
    assert await store.reads.get_file(SHA) == given_file


async def test_the_types_are_sqls_own(store: SqlStore, path: Path) -> None:
    """Numbers are numbers and flags are 0 or 1, so that other tools can read the file."""
    await store.commit(await store.take_term(), farm())
    with sqlite3.connect(path) as raw:
        kinds = raw.execute(
            "SELECT typeof(generation), typeof(printed_s), typeof(clone), typeof(report)"
            " FROM printers"
        ).fetchone()
    raw.close()
    assert kinds == ("integer", "real", "integer", "null")
