"""schedule: one round of the core with a long queue, whole and after one change, and at ten times.

Owns the farm that is decided on and what counts as one change. Cold is the first round after a
start, which asks everything and gives every free printer that fits a job one. A change is folded,
decided, planned and applied as the engine does it; no database and no broker take part. Times are
the process's own on a processor, for nothing here waits.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from coordinator.core import reports, requests
from coordinator.core.attempts import Attempt
from coordinator.core.farm import Draft, Farm, Now, Reign, Settings
from coordinator.core.jobs import Copy, Job, JobFile, Lane, Requirements
from coordinator.core.printers import Contact, Printer
from coordinator.core.reconcile import reconcile
from moonraker_component.wire import (
    AttemptReport,
    Bed,
    Filament,
    Klipper,
    Link,
    Outcome,
    Phase,
    Profile,
    Reason,
    Report,
)
from tests.bench.figures import fixed, measured, result, spread

COLD_BAR_MS = 250.0
INCREMENTAL_BAR_MS = 5.0
TENFOLD = 10
FILES = 200
"""Different files in the queue; each has its own size, so each is a need of its own."""

MATERIALS = ("PLA", "PLA", "PLA", "PETG", "PETG", "ASA")
IDLE_SHARE = 10
"""Of this many printers one is loaded with what no job wants, and stays idle."""

START_AT = 1.7e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this bench can be told."""
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--printers", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=50)


async def run(args: argparse.Namespace) -> str:
    """Measure; return the result's line."""
    cold_ms, incremental_ms = _measure(args.jobs, args.printers, args.rounds)
    tenfold = (args.jobs * TENFOLD, args.printers * TENFOLD)
    cold_10x_ms, incremental_10x_ms = _measure(*tenfold, args.rounds)
    return result(
        "schedule",
        {
            "cold_ms": cold_ms,
            "incremental_ms": incremental_ms,
            "cold_10x_ms": cold_10x_ms,
            "incremental_10x_ms": incremental_10x_ms,
        },
        fixed("cold_ms below", COLD_BAR_MS),
        fixed("incremental_ms below", INCREMENTAL_BAR_MS),
        measured("cold_10x_ms by cold_ms", cold_10x_ms / cold_ms),
        measured("incremental_10x_ms by incremental_ms", incremental_10x_ms / incremental_ms),
    )


def _measure(jobs: int, printers: int, rounds: int) -> tuple[float, float]:
    """Cold by the median of three farms; incremental by the median of the slowest change."""
    colds_ms: list[float] = []
    for _ in range(3):
        bench = ScheduleBench(jobs, printers)
        gc.collect()
        colds_ms.append(bench.cold())
    print(f"{jobs} jobs, {printers} printers: cold, ms: {spread(colds_ms)}")
    slowest_ms = 0.0
    for name, change in bench.changes().items():
        took_ms = [change() for _ in range(rounds)]
        middle_ms = statistics.median(took_ms)
        print(f"    {name}, ms: middle {middle_ms:.3f}, worst {max(took_ms):.3f}")
        slowest_ms = max(slowest_ms, middle_ms)
    return statistics.median(colds_ms), slowest_ms


class ScheduleBench:
    """A farm in memory, a clock that moves a little with each round, and hosts by hand."""

    def __init__(self, jobs: int, printers: int) -> None:
        self._now_s = 1_000.0
        self._ids = (f"id{n:010d}" for n in itertools.count())
        self._rows = _rows(jobs, printers, self._ids)
        self._sequence = itertools.count(2)
        self._turn = itertools.count()
        self._done: dict[str, Callable[[], None]] = {}
        self.farm = Farm(Settings(), Reign(term=1, connected_s=0.0))

    def cold(self) -> float:
        """Decide everything once; milliseconds."""
        self.farm.load(*self._rows)
        for printer_id in self.farm.printers:
            self.farm.contacts[printer_id] = Contact(
                session="s", since_s=0.0, heard_s=self._now_s, klipper_s=self._now_s, sequence=1
            )
        return self._timed(lambda _: None)

    def changes(self) -> dict[str, Callable[[], float]]:
        """What happens to a farm all the time, by what people call it; each answers with its ms."""
        return {
            "a report that says nothing new": self._nothing_new,
            "a print completes": self._completes,
            "its printer is cleared and gets the next job": self._cleared,
            "a job is submitted": self._submitted,
            "a job is cancelled": self._cancelled,
        }

    def _nothing_new(self) -> float:
        name = self._busy()
        return self._timed(lambda draft: self._fold(draft, name, self._standing(name)))

    def _completes(self) -> float:
        name = self._busy()
        self._start(name)
        return self._complete(name)

    def _cleared(self) -> float:
        name = self._busy()
        self._start(name)
        self._complete(name)
        took_ms = self._timed(lambda draft: self._fold(draft, name, ()))
        assert name in self.farm.live_on, f"{name} got no job"
        return took_ms

    def _submitted(self) -> float:
        wish = requests.Submission(file=_file(next(self._turn)), requirements=_needs(7))
        return self._timed(
            lambda draft: requests.submit(draft, wish, requests.Who(), self._now(), self._ids)
        )

    def _cancelled(self) -> float:
        job_id = next(reversed(self.farm.waiting_of))
        return self._timed(
            lambda draft: requests.cancel(draft, job_id, requests.Who(), self._now())
        )

    # ---- hosts -------------------------------------------------------------------------------

    def _busy(self) -> str:
        """One printer with an attempt after the other."""
        names = list(self.farm.live_on)
        return names[next(self._turn) * 7919 % len(names)]

    def _start(self, name: str) -> None:
        for phase in (Phase.PREPARED, Phase.PRINTING):
            told = self._told(name, phase)
            self._timed(lambda draft, told=told: self._fold(draft, name, (told,)))  # type: ignore[misc]

    def _complete(self, name: str) -> float:
        told = replace(self._told(name, Phase.ENDED), outcome=Outcome.COMPLETE)
        unclear = (Reason("bed_not_clear"),)
        return self._timed(lambda draft: self._fold(draft, name, (told,), unclear))

    def _told(self, name: str, phase: Phase) -> AttemptReport:
        attempt = self.farm.attempts[self.farm.live_on[name]]
        return AttemptReport(attempt.id, attempt.copy, attempt.job, phase)

    def _standing(self, name: str) -> tuple[AttemptReport, ...]:
        phase = self.farm.attempts[self.farm.live_on[name]].phase
        return () if phase is None else (self._told(name, phase),)

    def _fold(
        self,
        draft: Draft,
        name: str,
        told: tuple[AttemptReport, ...],
        refusals: tuple[Reason, ...] = (),
    ) -> None:
        printer = self.farm.printers[name]
        assert printer.report is not None
        report = replace(
            printer.report,
            sequence=next(self._sequence),
            observed_term=1,
            observed_generation=printer.generation,
            attempts=told,
            refusals=refusals,
        )
        reports.fold(draft, name, report, self._now())

    # ---- rounds ------------------------------------------------------------------------------

    def _now(self) -> Now:
        return Now(boot_s=self._now_s, wall_s=START_AT + self._now_s)

    def _timed(self, change: Callable[[Draft], object]) -> float:
        self._now_s += 0.001
        begin_s = time.process_time()
        self._round(change)
        return (time.process_time() - begin_s) * 1e3

    def _round(self, change: Callable[[Draft], object]) -> None:
        draft = Draft(self.farm)
        child = Draft(draft)
        change(child)
        draft.absorb(child)
        reconcile(draft, self._now(), self._ids)
        draft.plan()
        self.farm.apply(draft)


def _rows(
    jobs: int, printers: int, ids: Iterator[str]
) -> tuple[list[Job], list[Copy], list[Attempt], list[Printer]]:
    """A queue of single copies in two lanes, and printers of three sizes; most fit, none prints."""
    made: list[Job] = []
    copies: list[Copy] = []
    for number in range(jobs):
        job = Job(
            id=next(ids),
            title=f"part {number}",
            file=_file(number),
            copies=1,
            requirements=_needs(number),
            lane=Lane.EXPRESS if number % 20 == 0 else Lane.STANDARD,
            priority=number % 3,
            rank=START_AT + number,
            created_at=START_AT - number % 14_000,
        )
        made.append(job)
        copies.append(Copy(id=next(ids), job=job.id, number=1))
    return made, copies, [], [_printer(number) for number in range(printers)]


def _file(number: int) -> JobFile:
    return JobFile("0" * 64, "part.gcode", f"part {number % FILES}", 1_000_000)


def _needs(number: int) -> Requirements:
    kind = number % FILES
    side_mm = 20.0 + kind
    return Requirements(
        material=MATERIALS[kind % len(MATERIALS)],
        nozzle_mm=0.4,
        min_mm=(10.0, 10.0, 0.2),
        max_mm=(side_mm, side_mm, 0.2 + kind / 2),
        extruder_c=215.0,
        bed_c=60.0,
    )


def _printer(number: int) -> Printer:
    side_mm = (220.0, 250.0, 350.0)[number % 3]
    material = "TPU" if number % IDLE_SHARE == 0 else MATERIALS[number % len(MATERIALS)]
    report = Report(
        session="s",
        sequence=0,
        klipper=Klipper(Link.READY, "", "standby"),
        bed=Bed(True, "t"),
        profile=Profile(
            kinematics="corexy",
            size_min_mm=(0.0, 0.0, 0.0),
            size_max_mm=(side_mm, side_mm, side_mm),
            nozzle_mm=0.4,
            extruder_max_c=280.0,
            bed_max_c=110.0,
        ),
        filament=Filament(material, "black", True),
        machine=f"machine-{number}",
        section=True,
    )
    name = f"printer-{number:05d}"
    return Printer(
        id=name, name=name, session="s", machine=report.machine, report=report,
        printed_s=float(number * 977 % 100_000),
    )  # fmt: skip
