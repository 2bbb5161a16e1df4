"""A small farm for tests of the core: two printers, one job, reports by hand.

Owns shortcuts only; every decision is the product's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from coordinator.core import printer_requests, reports, requests
from coordinator.core.attempts import Attempt
from coordinator.core.farm import Draft, Farm, Now, Reign, Settings
from coordinator.core.jobs import Job, JobFile, Policy, Requirements
from coordinator.core.reconcile import reconcile
from moonraker_component.wire import (
    STARTED_PHASES,
    AttemptReport,
    Bed,
    Filament,
    Klipper,
    Link,
    Order,
    Outcome,
    Phase,
    Profile,
    Reason,
    Report,
    host_path,
)

SETTINGS = Settings(lease_s=15.0, fence_s=20.0, fence_margin_s=5.0, offline_grace_s=300.0)
DEFAULT_POLICY = Policy()
PROFILE = Profile(
    kinematics="cartesian",
    size_min_mm=(0.0, 0.0, 0.0),
    size_max_mm=(220.0, 220.0, 250.0),
    nozzle_mm=0.4,
    extruder_max_c=260.0,
    bed_max_c=110.0,
)
WHO = requests.Who("tester")


class Bench:
    """A farm, a clock and a sequence per session. `round()` folds what was reported, reconciles."""

    def __init__(self, *printers: str, policy: Policy = DEFAULT_POLICY) -> None:
        self.now_s = 1_000.0
        self.wall_offset_s = 1e9
        self.farm = Farm(SETTINGS, Reign(term=3, connected_s=0.0))
        self.policy = policy
        self._ids = self._make_ids()
        self._sequences: dict[str, int] = {}
        self._inbox: list[tuple[str, Report]] = []
        self.draft = Draft(self.farm)
        for name in printers or ("a", "b"):
            printer_requests.add_printer(self.draft, name, name, (), WHO, self.now)
        self.farm.apply(self.draft)

    @staticmethod
    def _make_ids() -> Iterator[str]:
        return (f"id{n:08d}" for n in itertools.count(1))

    @property
    def now(self) -> Now:
        return Now(boot_s=self.now_s, wall_s=self.now_s + self.wall_offset_s)

    def round(self, wait_s: float = 0.0) -> Draft:
        self.now_s += wait_s
        self.draft = Draft(self.farm)
        inbox, self._inbox = self._inbox, []
        for name, report in inbox:
            reports.fold(self.draft, name, report, self.now)
        self.wake_s = reconcile(self.draft, self.now, self._ids)
        self.farm.apply(self.draft)
        return self.draft

    def ask(self, act: Any, *args: Any) -> Any:
        draft = Draft(self.farm)
        result = act(draft, *args, WHO, self.now)
        reconcile(draft, self.now, self._ids)
        self.farm.apply(draft)
        return result

    def submit(self, copies: int = 1, **wishes: Any) -> Job:
        draft = Draft(self.farm)
        wishes.setdefault("policy", self.policy)
        requirements = wishes.pop("requirements", Requirements())
        wish = requests.Submission(
            file=JobFile("0" * 64, "part.gcode", "part", 10),
            copies=copies,
            requirements=requirements,
            **wishes,
        )
        job = requests.submit(draft, wish, WHO, self.now, self._ids)
        self.farm.apply(draft)
        return job

    def report(
        self,
        name: str,
        *told: AttemptReport,
        session: str = "",
        refusals: tuple[Reason, ...] = (),
        observed: tuple[int, int] | None = None,
        **words: Any,
    ) -> None:
        session = session or f"session-{name}"
        self._sequences[session] = self._sequences.get(session, 0) + 1
        printer = self.farm.printers[name]
        term, generation = observed or (self.farm.reign.term, printer.generation)
        words.setdefault("profile", PROFILE)
        words.setdefault("filament", Filament("PLA", "black", True))
        words.setdefault("klipper", Klipper(Link.READY, "", "standby"))
        words.setdefault("section", True)
        words.setdefault("machine", f"machine-{name}")
        report = Report(
            session=session,
            sequence=words.pop("sequence", self._sequences[session]),
            observed_term=term,
            observed_generation=generation,
            attempts=told,
            refusals=refusals,
            bed=Bed(True, "t1"),
            **words,
        )
        self._inbox.append((name, report))

    def hello(self, *names: str) -> None:
        """Let printers prove their sessions."""
        for _ in range(2):
            for name in names or tuple(self.farm.printers):
                self.report(name)
            self.round()

    def on(self, name: str) -> Attempt | None:
        return Draft(self.farm).attempt_on(name)

    def live(self, name: str) -> Attempt:
        attempt = self.on(name)
        assert attempt is not None, f"nothing lives on {name}"
        return attempt

    def order(self, name: str) -> Order:
        order = self.farm.printers[name].issued
        assert order is not None, f"nothing is wanted of {name}"
        return order

    def tell(self, name: str, phase: Phase, attempt: Attempt | None = None, **words: Any) -> None:
        """The host says where its attempt stands."""
        attempt = attempt or self.live(name)
        refusals = words.pop("refusals", ())
        session = words.pop("session", "")
        if phase not in (Phase.PREPARING, Phase.PREPARED, Phase.ENDED):
            refusals = refusals or (Reason("printing", "a print is active"),)
        klipper = words.pop("klipper", None)
        if klipper is None:
            shown = phase.value if phase in STARTED_PHASES else "standby"
            path = host_path(attempt.id, "part.gcode") if phase in STARTED_PHASES else ""
            klipper = Klipper(Link.READY, "", shown, path)
        told = AttemptReport(attempt.id, attempt.copy, attempt.job, phase, **words)
        self.report(name, told, refusals=refusals, session=session, klipper=klipper)

    def end(self, name: str, outcome: Outcome, cause: str = "") -> None:
        self.tell(name, Phase.ENDED, outcome=outcome, cause=cause)
        self.round()

    def start_on(self, name: str) -> Attempt:
        """Walk what lives on a printer from assigned to started."""
        self.tell(name, Phase.PREPARED)
        self.round()
        self.tell(name, Phase.PRINTING)
        self.round()
        return self.live(name)
