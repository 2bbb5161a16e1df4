"""restart: from the start of the process to its first answer, with a long past and a long queue.

Owns the database that it starts on, written by the product's own store, and what is counted: from
just before the process is made to the first HTTP 200. The port is bound before the farm is loaded
and answers after it, so an answer says that everything is in memory.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import History, Plan
from coordinator.core.jobs import Copy, CopyState, Job, JobFile, JobState, Requirements
from coordinator.core.printers import Printer
from coordinator.store.sql import SqlStore
from moonraker_component.wire import Outcome
from tests.bench.coordinator import CoordinatorProcess
from tests.bench.figures import fixed, result, spread

BAR_S = 3.0
PRINTERS = 50
KINDS = ("job_queued", "attempt_assigned", "attempt_started", "attempt_completed", "job_completed")
"""What the history holds of each finished job, at least."""

AT = 1.7e9
CHUNK = 5_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this bench can be told."""
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)


async def run(args: argparse.Namespace) -> str:
    """Measure; return the result's line."""
    with tempfile.TemporaryDirectory(prefix="moonfleet-bench-") as name:
        folder = Path(name)
        async with CoordinatorProcess(folder):
            pass  # a farm as it is after its first start
        await _fill(folder, args.finished, args.queued)
        size_mb = (folder / "moonfleet.db").stat().st_size / 1e6
        print(f"{args.finished} finished and {args.queued} queued jobs: {size_mb:.0f} MB")
        ready_s: list[float] = []
        for _ in range(args.runs):
            begin_s = time.monotonic()
            async with CoordinatorProcess(folder):
                ready_s.append(time.monotonic() - begin_s)
    print(f"ready, s: {spread(ready_s)}")
    return result("restart", {"ready_s": statistics.median(ready_s)}, fixed("ready_s below", BAR_S))


async def _fill(folder: Path, finished: int, queued: int) -> None:
    """Put the jobs into the database as rounds do, in a few large ones."""
    store = SqlStore(f"sqlite+aiosqlite:///{folder}/moonfleet.db")
    await store.open()
    try:
        term = await store.take_term()
        await store.commit(term, _plan(printers=[_printer(n) for n in range(PRINTERS)]))
        numbers = iter(range(finished + queued))
        while some := list(itertools.islice(numbers, CHUNK)):
            await store.commit(term, _jobs(some, finished))
    finally:
        await store.close()


def _jobs(numbers: list[int], finished: int) -> Plan:
    jobs, copies, attempts = [], [], []
    history: list[History] = []
    for number in numbers:
        is_done = number < finished
        job = _job(number, is_done)
        copy = Copy(f"copy-{number:08d}", job.id, 1, CopyState.DONE if is_done else CopyState.OPEN)
        jobs.append(job)
        copies.append(copy)
        if not is_done:
            history.append(History(AT, "job_queued", job=job.id))
            continue
        attempt = Attempt(
            id=f"attempt-{number:08d}",
            copy=copy.id,
            job=job.id,
            printer=f"printer-{number % PRINTERS}",
            state=State.ENDED,
            outcome=Outcome.COMPLETE,
            accepted=True,
            assigned_at=AT,
            started_at=AT,
            ended_at=AT + 3600.0,
        )
        attempts.append(attempt)
        history += _history(attempt)
    return _plan(jobs=jobs, copies=copies, attempts=attempts, history=history)


def _job(number: int, is_done: bool) -> Job:
    side_mm = 20.0 + number % 200
    return Job(
        id=f"job-{number:08d}",
        title=f"part {number % 200}",
        file=JobFile("0" * 64, f"part-{number % 200}.gcode", f"part {number % 200}", 1_000_000),
        copies=1,
        requirements=Requirements(
            material="PLA",
            nozzle_mm=0.4,
            min_mm=(10.0, 10.0, 0.2),
            max_mm=(side_mm, side_mm, side_mm),
        ),
        state=JobState.COMPLETED if is_done else JobState.ACTIVE,
        rank=AT + number,
        created_at=AT + number,
        finished_at=AT + number + 3600.0 if is_done else None,
    )


def _history(attempt: Attempt) -> Iterator[History]:
    for kind in KINDS:
        yield History(
            AT, kind, job=attempt.job, copy=attempt.copy, attempt=attempt.id,
            printer=attempt.printer,
        )  # fmt: skip


def _printer(number: int) -> Printer:
    return Printer(id=f"printer-{number}", name=f"Printer {number}", created_at=AT)


def _plan(
    *,
    jobs: list[Job] | None = None,
    copies: list[Copy] | None = None,
    attempts: list[Attempt] | None = None,
    printers: list[Printer] | None = None,
    history: list[History] | None = None,
) -> Plan:
    return Plan(
        jobs={row.id: row for row in jobs or []},
        copies={row.id: row for row in copies or []},
        attempts={row.id: row for row in attempts or []},
        printers={row.id: row for row in printers or []},
        contacts={},
        history=tuple(history or ()),
    )
