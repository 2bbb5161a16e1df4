"""The schema refuses what must not be, and says which rule it was."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from coordinator.core.attempts import State
from coordinator.core.jobs import Copy, CopyState, JobState, Lane
from coordinator.core.printers import Printer
from coordinator.ports import StoreError
from coordinator.store.sql import SqlStore
from moonraker_component.wire import Outcome, Phase

from .build import attempt, farm, job, plan

ENDED: dict[str, Any] = {"state": State.ENDED, "outcome": Outcome.COMPLETE, "ended_at": 2.0}


@pytest.fixture
async def term(store: SqlStore) -> int:
    """A store that holds a small farm, and the term to write with."""
    term = await store.take_term()
    await store.commit(term, farm())
    return term


async def test_one_live_attempt_per_printer(store: SqlStore, term: int) -> None:
    await store.commit(term, plan(attempt("a1")))
    with pytest.raises(StoreError, match="one_live_attempt_per_printer"):
        await store.commit(term, plan(attempt("a2", copy="c2")))
    assert [a.id for a in (await store.load()).attempts] == ["a1"]


@pytest.mark.parametrize("state", [state for state in State if state is not State.ENDED])
async def test_every_live_state_holds_the_printer(store: SqlStore, term: int, state: State) -> None:
    await store.commit(term, plan(attempt("a1", state=state)))
    with pytest.raises(StoreError, match="one_live_attempt_per_printer"):
        await store.commit(term, plan(attempt("a2", copy="c2")))


@pytest.mark.parametrize("order", [("a1", "a2"), ("a2", "a1")])
async def test_one_round_may_end_an_attempt_and_place_the_next(
    store: SqlStore, term: int, order: tuple[str, str]
) -> None:
    """Whatever the order of rows in the plan."""
    await store.commit(term, plan(attempt("a1")))
    rows = {"a1": attempt("a1", **ENDED), "a2": attempt("a2", copy="c2")}
    await store.commit(term, plan(*(rows[name] for name in order)))
    assert {a.id: a.live for a in (await store.load()).attempts} == {"a1": False, "a2": True}


async def test_a_live_attempt_can_be_written_again(store: SqlStore, term: int) -> None:
    await store.commit(term, plan(attempt("a1")))
    await store.commit(term, plan(attempt("a1", state=State.ARMED, armed_at=1.0)))
    assert (await store.load()).attempts[0].state is State.ARMED


async def test_one_accepted_attempt_per_copy(store: SqlStore, term: int) -> None:
    await store.commit(term, plan(attempt("a1", accepted=True, **ENDED)))
    with pytest.raises(StoreError, match="one_accepted_attempt_per_copy"):
        await store.commit(term, plan(attempt("a2", accepted=True, **ENDED)))
    await store.commit(
        term, plan(attempt("a3", **ENDED), attempt("a4", "c2", accepted=True, **ENDED))
    )


@pytest.mark.parametrize(
    ("row", "constraint"),
    [
        (Copy(id="c9", job="job", number=1), "uq_copies_job_number"),
        (Copy(id="c9", job="nobody", number=9), "fk_copies_job"),
        (Copy(id="c9", job="job", number=0), "ck_copies_number"),
        (Copy(id="c9", job="job", number=9, failures=-1), "ck_copies_failures"),
        (job("j9", copies=0), "ck_jobs_copies"),
        (job("j9", copies=10_001), "ck_jobs_copies"),
        (job("", copies=1), "ck_jobs_id"),
        (job("j9", state=JobState.COMPLETED), "ck_jobs_finished_at"),
        (job("j9", state=JobState.HELD, finished_at=1.0), "ck_jobs_finished_at"),
        (attempt("a9", copy="nothing"), "fk_attempts_copy_job"),
        (attempt("a9", printer="nobody"), "fk_attempts_printer"),
        (replace(attempt("a9"), job="other"), "fk_attempts_copy_job"),
        (attempt("a9", state=State.ENDED), "ck_attempts_ended_at"),
        (attempt("a9", ended_at=1.0), "ck_attempts_ended_at"),
        (attempt("a9", outcome=Outcome.FAILED), "ck_attempts_outcome_ended"),
        (attempt("a9", accepted=True), "ck_attempts_accepted_complete"),
        (attempt("a9", take_back="stop"), "ck_attempts_take_back"),
        (Printer(id="p9", name="P", generation=-1), "ck_printers_generation"),
    ],
)
async def test_a_row_that_must_not_be_is_named(
    store: SqlStore, term: int, row: Any, constraint: str
) -> None:
    before = await store.load()
    with pytest.raises(StoreError, match=f"refused by the schema: .*{constraint}"):
        await store.commit(term, plan(row))
    assert await store.load() == before


async def test_a_refused_row_takes_the_whole_round_back(store: SqlStore, term: int) -> None:
    before = await store.load()
    good = Printer(id="p8", name="Good")
    with pytest.raises(StoreError, match="ck_jobs_copies"):
        await store.commit(term, plan(good, job("j9", copies=0)))
    assert await store.load() == before
    await store.commit(term, plan(good))
    assert "p8" in [printer.id for printer in (await store.load()).printers]


SETS: list[tuple[str, str, type[Enum]]] = [
    ("jobs", "lane", Lane),
    ("copies", "state", CopyState),
    ("attempts", "phase", Phase),
]


@pytest.mark.parametrize(("table", "column", "kind"), SETS)
async def test_a_column_takes_its_set_and_nothing_else(
    store: SqlStore, term: int, path: Path, table: str, column: str, kind: type[Enum]
) -> None:
    """Also from other tools: the types of this program are not what holds the line."""
    await store.commit(term, plan(attempt("a1")))
    with closing(sqlite3.connect(path)) as raw:
        for member in kind:
            raw.execute(f"UPDATE {table} SET {column} = ?", (member.value,))
        with pytest.raises(sqlite3.IntegrityError, match=f"ck_{table}_{column}"):
            raw.execute(f"UPDATE {table} SET {column} = 'nonsense'")


@pytest.mark.parametrize("state", list(JobState))
async def test_every_state_of_a_job_is_taken(store: SqlStore, term: int, state: JobState) -> None:
    row = job("j9", state=state)
    await store.commit(term, plan(replace(row, finished_at=1.0 if row.finished else None)))


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_every_outcome_is_taken(store: SqlStore, term: int, outcome: Outcome) -> None:
    await store.commit(term, plan(attempt("a1", state=State.ENDED, outcome=outcome, ended_at=1.0)))


async def test_the_reign_is_one_row(store: SqlStore, path: Path) -> None:
    with (
        closing(sqlite3.connect(path)) as raw,
        pytest.raises(sqlite3.IntegrityError, match="ck_reign_one_row"),
    ):
        raw.execute("INSERT INTO reign (id, term) VALUES (2, 9)")
