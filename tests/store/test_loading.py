"""What a farm starts from."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.core.attempts import State
from coordinator.core.farm import Draft, Farm, Reign, Settings
from coordinator.core.jobs import Copy, CopyState, JobState
from coordinator.core.printers import Printer
from coordinator.store.sql import SqlStore
from moonraker_component.wire import Outcome

from .build import attempt, farm, job, plan

DONE: dict[str, Any] = {
    "state": State.ENDED,
    "outcome": Outcome.COMPLETE,
    "ended_at": 2.0,
    "accepted": True,
}


async def test_an_empty_database_is_an_empty_farm(store: SqlStore) -> None:
    found = await store.load()
    assert (found.jobs, found.copies, found.attempts, found.printers) == ([], [], [], [])


async def test_finished_jobs_stay_behind(store: SqlStore) -> None:
    term = await store.take_term()
    await store.commit(term, farm())
    await store.commit(
        term,
        plan(
            job(copies=2, state=JobState.COMPLETED, finished_at=3.0),
            attempt("a1", **DONE),
            attempt("a2", copy="c2", **DONE),
            job("next"),
            Copy(id="n1", job="next", number=1),
        ),
    )
    found = await store.load()
    assert [row.id for row in found.jobs] == ["next"]
    assert [row.id for row in found.copies] == ["n1"]
    assert found.attempts == []
    assert len(found.printers) == 2


async def test_a_finished_job_that_holds_a_printer_comes_whole(store: SqlStore) -> None:
    """Its ended attempts too: the core would adopt one anew that it does not find."""
    term = await store.take_term()
    await store.commit(term, farm())
    await store.commit(
        term,
        plan(
            job(copies=2, state=JobState.CANCELLED, finished_at=3.0),
            Copy(id="c1", job="job", number=1, state=CopyState.DONE),
            Copy(id="c2", job="job", number=2, state=CopyState.DROPPED),
            attempt("a1", **DONE),
            attempt("a2", copy="c2", printer="p2", state=State.LOST, lost_at=2.0),
        ),
    )
    found = await store.load()
    assert [row.id for row in found.jobs] == ["job"]
    assert [row.id for row in found.copies] == ["c1", "c2"]
    assert {row.id for row in found.attempts} == {"a1", "a2"}


@pytest.mark.parametrize("state", [state for state in State if state is not State.ENDED])
async def test_the_core_finds_the_job_of_every_live_attempt(store: SqlStore, state: State) -> None:
    term = await store.take_term()
    await store.commit(term, farm())
    await store.commit(
        term,
        plan(
            job(copies=2, state=JobState.COMPLETED, finished_at=3.0),
            attempt("a1", printer="p2", state=state),
        ),
    )
    rows = await store.load()
    memory = Farm(Settings(), Reign())
    memory.load(rows.jobs, rows.copies, rows.attempts, rows.printers)
    draft = Draft(memory)
    for live in draft.live_attempts():
        assert draft.jobs[live.job].id == "job"
        assert draft.copies[live.copy].job == "job"
        assert draft.copies_of[live.job] == ("c1", "c2")
    assert draft.attempt_on("p2") is not None


async def test_copies_come_by_number(store: SqlStore) -> None:
    term = await store.take_term()
    copies = [Copy(id=f"c{n}", job="job", number=n) for n in (3, 1, 2)]
    await store.commit(term, plan(job(copies=3), *copies, Printer(id="p1", name="P")))
    assert [row.number for row in (await store.load()).copies] == [1, 2, 3]
