"""Finished jobs leave the memory, all at once, and nothing that comes late brings them back."""

from __future__ import annotations

from collections.abc import Sized

from coordinator.core import requests
from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import Draft, Farm
from coordinator.core.jobs import Copy, CopyState, Job, JobFile, JobState
from moonraker_component.wire import AttemptReport, Outcome, Phase

from .build import Bench

JOBS = 50_000
STEP = 5_000


def sizes(farm: Farm) -> list[int]:
    """How much each part of the farm holds."""
    parts: tuple[Sized, ...] = (
        farm.jobs, farm.copies, farm.attempts, farm.copies_of, farm.live_of, farm.live_on,
        farm.waiting_of, farm.back_of, farm.tries_of, farm.offered, farm.printers, farm.contacts,
    )  # fmt: skip
    return [*(len(part) for part in parts), farm.line.needs()]


def completed(bench: Bench, name: str) -> Attempt:
    """One job from its submission to its end, as the engine does it."""
    bench.submit()
    bench.report(name)
    bench.round()
    attempt = bench.start_on(name)
    bench.end(name, Outcome.COMPLETE)
    bench.farm.forget_finished(bench.draft.plan())
    return attempt


def late(bench: Bench, name: str, attempt: Attempt, phase: Phase, outcome: Outcome) -> None:
    """A host tells of an attempt that is long over here."""
    told = AttemptReport(attempt.id, attempt.copy, attempt.job, phase, outcome, "late")
    bench.report(name, told)
    bench.farm.forget_finished(bench.round().plan())


def test_a_completed_job_leaves_nothing() -> None:
    bench = Bench("a")
    bench.hello()
    before = sizes(bench.farm)
    before[9] = 0  # the printer is free before, and has not been cleared after
    attempt = completed(bench, "a")
    assert attempt.id not in bench.farm.attempts
    after = sizes(bench.farm)
    after[9] = 0
    assert after == before


def test_a_completion_that_is_told_again_is_not_taken_again() -> None:
    bench = Bench("a", "b")
    bench.hello("a")
    attempt = completed(bench, "a")
    printer = bench.farm.printers["a"]
    for phase, outcome in (
        (Phase.ENDED, Outcome.COMPLETE), (Phase.ENDED, Outcome.FAILED),
        (Phase.PRINTING, Outcome.NONE), (Phase.STARTING, Outcome.NONE),
    ):  # fmt: skip
        late(bench, "a", attempt, phase, outcome)
        assert bench.farm.jobs == {}
        assert bench.farm.attempts == {}
        assert not bench.draft.history
    assert bench.farm.printers["a"].completed == printer.completed == 1


def test_a_job_stays_whole_while_one_of_its_attempts_may_print() -> None:
    bench = Bench("a", "b")
    bench.hello()
    job = bench.submit(copies=2)
    bench.report("a")
    bench.round()
    printing = bench.start_on("a")
    bench.ask(lambda draft, who, now: requests.cancel(draft, job.id, who, now))
    bench.farm.forget_finished(bench.round().plan())
    assert bench.live("a").id == printing.id
    assert len(bench.farm.copies_of[job.id]) == 2
    bench.end("a", Outcome.CANCELLED)
    bench.farm.forget_finished(bench.draft.plan())
    assert bench.farm.jobs == {}
    assert bench.farm.copies == {}


def test_an_unfinished_job_keeps_its_ended_attempts() -> None:
    bench = Bench("a")
    bench.hello()
    job = bench.submit(copies=2)
    bench.report("a")
    bench.round()
    first = bench.start_on("a")
    bench.end("a", Outcome.COMPLETE)
    bench.farm.forget_finished(bench.draft.plan())
    assert bench.farm.attempts[first.id].accepted
    assert [bench.farm.copies[c].state for c in bench.farm.copies_of[job.id]] == [
        CopyState.DONE,
        CopyState.OPEN,
    ]
    late(bench, "a", first, Phase.ENDED, Outcome.COMPLETE)
    assert bench.farm.printers["a"].completed == 1


def test_fifty_thousand_finished_jobs_take_no_room() -> None:
    bench = Bench("a")
    bench.hello()
    completed(bench, "a")
    before = sizes(bench.farm)
    for first in range(0, JOBS, STEP):
        draft = Draft(bench.farm)
        for number in range(first, first + STEP):
            _put_finished(draft, f"{number:08d}", bench.now.wall_s)
        bench.farm.apply(draft)
        bench.farm.forget_finished(draft.plan())
        assert sizes(bench.farm) == before


def _put_finished(draft: Draft, name: str, at: float) -> None:
    file = JobFile("0" * 64, "part.gcode", "part", 10)
    draft.put_job(Job(name, "part", file, 1, state=JobState.COMPLETED, finished_at=at))
    draft.add_copies(name, [Copy(f"copy-{name}", name, 1, CopyState.DONE)])
    draft.put_attempt(
        Attempt(
            f"attempt-{name}",
            f"copy-{name}",
            name,
            "a",
            state=State.ENDED,
            outcome=Outcome.COMPLETE,
            accepted=True,
            ended_at=at,
        )
    )
