"""A round that looks only at what may have changed decides what one that looks at all decides.

Owns the comparison and random histories for it: hosts that prepare, print, fail, fall silent and
come back, people who submit, hold, cancel and move, a coordinator that is deaf for a while.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from coordinator.core import printer_requests, requests
from coordinator.core.farm import Draft, Plan, Reign
from coordinator.core.jobs import JobFile, Lane, Policy, Requirements
from coordinator.core.reconcile import reconcile
from coordinator.core.reports import fold
from moonraker_component.wire import Filament, Outcome, Phase, Reason

from .build import SETTINGS, WHO, Bench

PRINTERS = ("a", "b", "c", "d")
MATERIALS = ("PLA", "PLA", "PETG", "")
GRACES_S = (30.0, 60.0, None)
WAITS_S = (0.0, 1.0, 6.0, 16.0, 35.0)
ENDS = (Outcome.COMPLETE, Outcome.FAILED, Outcome.NOT_STARTED, Outcome.UNKNOWN)


class Twins(Bench):
    """Each round runs twice on the same farm, once on all of it; both must come to one plan."""

    def __init__(self) -> None:
        super().__init__(*PRINTERS)
        self.narrow_rounds = 0
        self._acts: list[Callable[[Draft], object]] = []
        self.loaded = {name: "PLA" for name in PRINTERS}
        self.silent: set[str] = set()

    def round(self, wait_s: float = 0.0) -> Draft:
        self.now_s += wait_s
        inbox, self._inbox = self._inbox, []
        acts, self._acts = self._acts, []
        drawn: list[str] = []
        plans: list[Plan] = []
        for whole in (True, False):
            self.draft = Draft(self.farm)
            ids = self._noting(drawn) if whole else itertools.chain(drawn, self._ids)
            if whole:
                self.draft.last_round = None
            for name, report in inbox:
                fold(self.draft, name, report, self.now)
            for act in acts:
                self._try(act)
            self.wake_s = reconcile(self.draft, self.now, ids)
            assert self.draft.whole or not whole
            plans.append(self.draft.plan())
        self.narrow_rounds += not self.draft.whole
        assert plans[0] == plans[1]
        self.farm.apply(self.draft)
        return self.draft

    def ask_later(self, act: Callable[[Draft], object]) -> None:
        """In the next round, in both of its runs."""
        self._acts.append(act)

    def _noting(self, drawn: list[str]) -> Iterator[str]:
        for name in self._ids:
            drawn.append(name)
            yield name

    def _try(self, act: Callable[[Draft], object]) -> None:
        """As the engine does: what is refused changes nothing."""
        child = Draft(self.draft)
        try:
            act(child)
        except (requests.Conflict, requests.NotFound):
            return
        self.draft.absorb(child)


def step(twins: Twins, kind: int, which: int, how: int) -> None:
    """One thing happens somewhere."""
    name = PRINTERS[which % len(PRINTERS)]
    STEPS[kind % len(STEPS)](twins, name, how)


def _beat(twins: Twins, name: str, how: int) -> None:
    """All hosts that can be heard say what they said before."""
    for heard in PRINTERS:
        if heard not in twins.silent:
            _say_again(twins, heard)
    twins.round(WAITS_S[how % 3])


def _say_again(twins: Twins, name: str) -> None:
    attempt = twins.on(name)
    if attempt is not None and attempt.phase is not None:
        twins.tell(name, attempt.phase)
    else:
        twins.report(name, filament=_filament(twins, name))


def _filament(twins: Twins, name: str) -> Filament:
    return Filament(twins.loaded[name], "black", True)


def _advance(twins: Twins, name: str, how: int) -> None:
    attempt = twins.on(name)
    if attempt is not None:
        nexts = {None: Phase.PREPARING, Phase.PREPARING: Phase.PREPARED}
        phase = nexts.get(attempt.phase, Phase.PAUSED if how % 4 == 3 else Phase.PRINTING)
        twins.tell(name, phase)
    twins.round()


def _end(twins: Twins, name: str, how: int) -> None:
    if twins.on(name) is not None:
        twins.tell(name, Phase.ENDED, outcome=ENDS[how % len(ENDS)], cause="test")
        twins.report(name, filament=_filament(twins, name))
    twins.round()


def _silence(twins: Twins, name: str, how: int) -> None:
    twins.silent ^= {name}
    twins.round(WAITS_S[how % len(WAITS_S)])


def _reload(twins: Twins, name: str, how: int) -> None:
    twins.loaded[name] = MATERIALS[how % len(MATERIALS)]
    _say_again(twins, name)
    twins.round()


def _refuse(twins: Twins, name: str, how: int) -> None:
    if twins.on(name) is None:
        twins.report(name, refusals=(Reason("bed_not_clear"),) if how % 2 else ())
    twins.round()


def _submit(twins: Twins, name: str, how: int) -> None:
    wish = requests.Submission(
        file=JobFile("0" * 64, "part.gcode", "part", 10),
        copies=1 + how % 3,
        requirements=Requirements(material=MATERIALS[how % len(MATERIALS)]),
        policy=Policy(offline_grace_s=GRACES_S[how % len(GRACES_S)], retries=1),
        lane=Lane.EXPRESS if how % 5 == 0 else Lane.STANDARD,
        priority=how % 2,
        deadline_at=twins.now.wall_s + 100 * how if how % 4 == 1 else None,
    )
    ids = [next(twins._ids) for _ in range(5)]
    twins.ask_later(lambda draft: requests.submit(draft, wish, WHO, twins.now, iter(ids)))
    twins.round()


def _order(twins: Twins, name: str, how: int) -> None:
    """A person does something with one of the jobs."""
    jobs = list(twins.farm.jobs)
    if not jobs:
        return
    acts = (requests.hold, requests.release, requests.cancel, requests.pause, requests.resume)
    act, job_id = acts[how % len(acts)], jobs[how * 7 % len(jobs)]
    twins.ask_later(lambda draft: act(draft, job_id, WHO, twins.now))
    twins.round()


def _move(twins: Twins, name: str, how: int) -> None:
    jobs = list(twins.farm.jobs)
    if len(jobs) > 1:
        twins.ask_later(lambda draft: requests.move(draft, jobs[-1], jobs[0], WHO, twins.now))
    twins.round()


def _service(twins: Twins, name: str, how: int) -> None:
    twins.ask_later(
        lambda draft: printer_requests.set_maintenance(draft, name, bool(how % 2), WHO, twins.now)
    )
    twins.round()


def _deaf(twins: Twins, name: str, how: int) -> None:
    connected_s = None if how % 2 else twins.now_s
    twins.farm.reign = Reign(term=twins.farm.reign.term, connected_s=connected_s)
    twins.round()


STEPS = (
    _beat, _beat, _advance, _advance, _advance, _end, _silence, _reload, _refuse,
    _submit, _submit, _order, _move, _service, _deaf,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_what_was_not_touched_needs_no_look(seed: int) -> None:
    chance = random.Random(seed)
    twins = Twins()
    twins.farm.settings = replace(SETTINGS, prepare_s=70.0, rest_s=5.0, express_patience_s=90.0)
    twins.hello()
    for _ in range(120):
        step(twins, chance.randrange(len(STEPS)), chance.randrange(4), chance.randrange(21))


def test_such_rounds_are_the_rule() -> None:
    """Or the property above would hold for want of anything to compare."""
    twins = Twins()
    twins.hello()
    for kind in range(9, 12):
        step(twins, kind, 0, 1)
    for which in range(8):
        step(twins, 2, which, 0)
    assert twins.narrow_rounds >= 8
