"""What goes wrong, when and for how long, and what is ordered: drawn from a seed.

Owns the kinds of faults, their lanes and durations, and the mix of jobs. Pure: the same seed gives
the same list. Must not know how a fault is done, nor what it does to a print.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

LEASE_S = 5.0
FENCE_S = 8.0
FENCE_MARGIN_S = 8.0
GRACE_S = 30.0
"""Longer than a host's longest wait between two tries to connect (20 s): a broker that was away is
then no silence of anybody, and neither is the load of eight printers on two cores."""

QUIET_S = 4.0
"""Before the first fault: jobs begin to flow."""


class Kind(StrEnum):
    """What can be done to the farm."""

    KILL_COORDINATOR = "kill_coordinator"
    KILL_BROKER = "kill_broker"
    KILL_BOTH = "kill_coordinator_and_broker"
    FREEZE_COORDINATOR = "freeze_coordinator"
    KILL_MOONRAKER = "kill_moonraker"
    KILL_KLIPPER = "kill_klipper"
    KILL_HOST = "kill_host"
    SUSPEND_HOST = "suspend_host"
    FREEZE_MOONRAKER = "freeze_moonraker"
    STUCK_EJECTOR = "stuck_ejector"
    CUT = "cut"
    CUT_UP = "cut_up"
    CUT_DOWN = "cut_down"
    REFUSE = "refuse"
    SLOW = "slow"
    DISK_FULL = "disk_full"
    CUT_HTTP = "cut_http"
    SLOW_HTTP = "slow_http"


class Lane(StrEnum):
    """Faults of one lane (and printer) never overlap; those of different lanes do."""

    CENTRE = "centre"
    PROCESSES = "processes"
    NETWORK = "network"
    DISK = "disk"


@dataclass(frozen=True)
class Habit:
    """How often (a weight), in which lane and for how long (seconds) a kind of fault happens."""

    lane: Lane
    weight: float
    least_s: float
    most_s: float


HABITS: dict[Kind, Habit] = {
    Kind.KILL_COORDINATOR: Habit(Lane.CENTRE, 1.5, 0.5, 15.0),
    Kind.KILL_BROKER: Habit(Lane.CENTRE, 1.5, 0.0, 0.0),
    Kind.KILL_BOTH: Habit(Lane.CENTRE, 0.8, 0.5, 25.0),
    Kind.FREEZE_COORDINATOR: Habit(Lane.CENTRE, 0.8, 0.5, 25.0),
    Kind.KILL_MOONRAKER: Habit(Lane.PROCESSES, 3.0, 0.0, 30.0),
    Kind.KILL_KLIPPER: Habit(Lane.PROCESSES, 1.5, 0.0, 30.0),
    Kind.KILL_HOST: Habit(Lane.PROCESSES, 2.0, 0.0, 50.0),
    Kind.SUSPEND_HOST: Habit(Lane.PROCESSES, 1.5, 1.0, 50.0),
    Kind.FREEZE_MOONRAKER: Habit(Lane.PROCESSES, 1.5, 1.0, 50.0),
    Kind.STUCK_EJECTOR: Habit(Lane.PROCESSES, 2.0, 10.0, 40.0),
    Kind.CUT: Habit(Lane.NETWORK, 5.0, 0.5, 90.0),
    Kind.CUT_UP: Habit(Lane.NETWORK, 2.0, 0.5, 90.0),
    Kind.CUT_DOWN: Habit(Lane.NETWORK, 2.0, 0.5, 90.0),
    Kind.REFUSE: Habit(Lane.NETWORK, 2.0, 0.5, 90.0),
    Kind.SLOW: Habit(Lane.NETWORK, 2.0, 5.0, 40.0),
    Kind.DISK_FULL: Habit(Lane.DISK, 2.0, 5.0, 40.0),
    Kind.CUT_HTTP: Habit(Lane.NETWORK, 0.8, 1.0, 20.0),
    Kind.SLOW_HTTP: Habit(Lane.NETWORK, 0.8, 5.0, 25.0),
}

REST_S = {Lane.CENTRE: 12.0, Lane.PROCESSES: 12.0, Lane.NETWORK: 2.0, Lane.DISK: 5.0}
"""Between two faults of one lane: time to come back, so that the next one finds something alive."""

STORM_SHARE = 0.06
"""How many draws are a storm: cables pulled one by one, and put back in another order."""
STORM_CUTS = 3


@dataclass(frozen=True)
class Fault:
    """One fault. `printer` is "" for those of the centre; times are seconds since the start.

    `delay_s` (each way) and `bytes_per_s` are for slow links.
    """

    number: int
    kind: Kind
    printer: str
    at_s: float
    lasts_s: float
    delay_s: float = 0.0
    bytes_per_s: float = 0.0

    @property
    def lane(self) -> Lane:
        """The lane of its kind."""
        return HABITS[self.kind].lane


def draw_faults(
    seed: int, total_s: float, printers: Sequence[str], every_s: float
) -> tuple[Fault, ...]:
    """The faults of a run in the order of their begin, about one each `every_s` seconds.

    All kinds come once before any comes twice, so that a short run has each of them too. Faults
    that would last past `total_s` are ended by the healing that follows.
    """
    if not printers:
        raise ValueError("printers: at least one is needed")
    if total_s <= 0 or every_s <= 0:
        raise ValueError(f"total_s {total_s}, every_s {every_s}: both must be above 0")
    dice = random.Random(f"faults {seed}")
    owed = list(Kind)
    free_at: dict[tuple[Lane, str], float] = {}
    drawn: list[Fault] = []
    at_s = QUIET_S
    while at_s < total_s:
        kinds = _kinds(dice, owed)
        where = dice.sample(list(printers), min(len(kinds), len(printers)))
        begin_s = at_s
        for kind, printer in zip(kinds, where, strict=False):
            fault = _fault(dice, kind, printer, begin_s, free_at)
            if fault is not None:
                drawn.append(fault)
                if kind in owed:
                    owed.remove(kind)
            begin_s += dice.uniform(0.1, 1.0)
        at_s += dice.uniform(0.2, 1.8) * every_s
    drawn.sort(key=lambda fault: fault.at_s)
    return tuple(replace(fault, number=n) for n, fault in enumerate(drawn, start=1))


def _kinds(dice: random.Random, owed: Sequence[Kind]) -> list[Kind]:
    """What begins at one moment: one kind, or a storm of cuts."""
    if owed:
        return [dice.choice(owed)]
    if dice.random() < STORM_SHARE:
        return [Kind.CUT] * STORM_CUTS
    return dice.choices(list(Kind), [HABITS[kind].weight for kind in Kind])


def _fault(
    dice: random.Random,
    kind: Kind,
    printer: str,
    at_s: float,
    free_at: dict[tuple[Lane, str], float],
) -> Fault | None:
    """A fault that begins now; None if its lane is still taken (the dice are thrown all the same,
    so that what follows does not depend on it)."""
    habit = HABITS[kind]
    lasts_s = _lasts_s(dice, habit)
    delay_s, bytes_per_s = dice.uniform(0.1, 0.8), dice.uniform(4_000, 40_000)
    target = "" if habit.lane is Lane.CENTRE else printer
    if free_at.get((habit.lane, target), 0.0) > at_s:
        return None
    free_at[habit.lane, target] = at_s + lasts_s + REST_S[habit.lane]
    if kind not in (Kind.SLOW, Kind.SLOW_HTTP):
        delay_s = bytes_per_s = 0.0
    return Fault(
        0, kind, target, round(at_s, 2), round(lasts_s, 2), round(delay_s, 2), round(bytes_per_s)
    )


def _lasts_s(dice: random.Random, habit: Habit) -> float:
    """A third each: short against a lease, in between, and longer than the grace; as far as the
    kind allows."""
    bounds_s = [habit.least_s]
    for bound_s in (LEASE_S, GRACE_S, habit.most_s):
        bounds_s.append(min(max(bound_s, bounds_s[-1]), habit.most_s))
    part = dice.randrange(3)
    return dice.uniform(bounds_s[part], bounds_s[part + 1])


# ---- orders ------------------------------------------------------------------------------------


class Rule(StrEnum):
    """What a job says about silence."""

    NEVER = "never"
    FENCE = "fence"
    DEFAULT = "default"


@dataclass(frozen=True)
class Order:
    """One job that somebody submits."""

    file: str
    copies: int
    rule: Rule

    @property
    def wishes(self) -> dict[str, object]:
        """The fields of POST /jobs for it. People who run such a farm allow many retries."""
        wish: dict[str, object] = {"copies": self.copies, "retries": 10}
        if self.rule is Rule.NEVER:
            wish["offline_grace_s"] = "never"
        elif self.rule is Rule.FENCE:
            wish["fence"] = True
        return wish


def draw_orders(seed: int, files: Sequence[str]) -> Iterator[Order]:
    """Endless orders; every three in a row have one of each rule."""
    dice = random.Random(f"orders {seed}")
    while True:
        rules = list(Rule)
        dice.shuffle(rules)
        for rule in rules:
            yield Order(dice.choice(list(files)), dice.randint(2, 4), rule)
