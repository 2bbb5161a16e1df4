"""One history before it happens: a seed, a kind of farm, and a list of faults. Plain data.

Owns the vocabulary of faults and how a scenario is drawn from its seed. Must not know how a
fault is carried out: that is the world's. The faults are drawn from a stream of their own, so that
leaving one out changes nothing else that was drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from coordinator.core.jobs import Policy

FAULTY_S = 420.0
"""How long faults happen before the healing begins."""

GRACE_S = 40.0
POLICIES = {
    "default": Policy(offline_grace_s=GRACE_S, retries=90),
    "never": Policy(offline_grace_s=None, retries=90),
    "fence": Policy(offline_grace_s=GRACE_S, fence=True, retries=90),
}

HOST_FAULTS = (
    "cut",  # no message passes between it and the broker
    "hold",  # messages are kept for a while, and then all come
    "moonraker",  # the component dies, its rows stay
    "forget",  # the same, and its rows are gone
    "crash_step",  # the component dies between two of its next effects
    "crash_start",  # the component dies right before or after it asks Klipper to start
    "power",  # everything on it dies, and its clock begins anew
    "klipper",  # Klipper dies
    "macro",  # Klipper runs a macro: what is asked of it waits
    "stall",  # the component stands still; Klipper does not
    "suspend",  # the computer sleeps; the clock goes on
    "disk_full",  # rows cannot be written
    "mute_answers",  # what Klipper answers to a start is not heard
    "print_error",  # the print fails
)
PEOPLE = (
    "person_pause",  # at the printer, and later resumed there
    "person_cancel",  # at the printer
    "local_print",  # at the printer, a file of their own
    "job_pause",  # at the coordinator, and later resumed there
    "job_cancel",
    "job_move",
    "settle",  # a person says how a silent attempt ended
    "stale_clear",  # a "bed is clear" of some time ago arrives once more
    "emergency_stop",
)
COORDINATOR_FAULTS = (
    "coordinator",  # it dies and is started again
    "crash_publish",  # it dies between commit and publish
    "coordinator_stall",  # it stands still after a commit; what it would have said comes later
    "deaf",  # it has no connection to the broker
    "broker",  # the broker forgets all that was retained
    "store_full",  # nothing can be committed
    "wall_clock",  # the wall clock jumps
)
LENGTHS_S = (1.0, 4.0, 12.0, 30.0, 60.0, 120.0)


@dataclass(frozen=True)
class Fault:
    """What happens `at_s` after the beginning, for `length_s`; `pick` (0 to 1) chooses the rest."""

    at_s: float
    kind: str
    host: str = ""
    length_s: float = 0.0
    pick: float = 0.0


@dataclass(frozen=True)
class Wish:
    """A job that is submitted `at_s` after the beginning."""

    at_s: float
    copies: int
    policy: str


@dataclass(frozen=True)
class Kind:
    """What a farm is made of, and what may happen to it besides what happens to every farm."""

    name: str
    policies: tuple[str, ...] = ("default", "never", "fence")
    more: tuple[str, ...] = ()
    sections: bool = True
    early: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("mixed"),
        Kind("default", ("default",)),
        Kind("never", ("never",)),
        Kind("fence", ("fence",)),
        Kind("bare", ("default", "never"), sections=False),
        Kind("clones", more=("clone",)),
        Kind("rivals", more=("rival", "rival_asleep")),
        # What a backup does not hold is lost with it: all jobs are there from the beginning.
        Kind("backups", ("default", "never"), more=("backup", "restore"), early=True),
        Kind("twins", ("default", "never"), more=("backup", "twin"), early=True),
    )
}
"""`sections`: whether every host has the Klipper section; else every second one."""

WEIGHTS = {"mixed": 4, "default": 1, "never": 1, "fence": 2, "bare": 2, "clones": 2, "rivals": 3,
           "backups": 2, "twins": 1}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """Everything that a history depends on; two runs of it are the same to the last message."""

    seed: int
    kind: Kind
    hosts: int
    wishes: tuple[Wish, ...]
    drop: float
    double: float
    delay_max_s: float
    drift: float
    faults: tuple[Fault, ...]

    def without(self, *faults: Fault) -> Scenario:
        """The same, but some of what happened does not."""
        return replace(self, faults=tuple(f for f in self.faults if f not in faults))


def draw(seed: int, kind: str = "") -> Scenario:
    """The scenario of a seed; of a kind of your own choice, or of the one that the seed draws."""
    rng = random.Random(f"{seed}/farm")
    drawn = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    farm = KINDS[kind or drawn]
    hosts = rng.choice((2, 2, 3, 3, 4))
    wishes = tuple(
        Wish(
            at_s=0.0 if farm.early or n == 0 else rng.uniform(0.0, FAULTY_S * 0.7),
            copies=rng.choice((1, 2, 3)),
            policy=rng.choice(farm.policies),
        )
        for n in range(rng.choice((2, 3)))
    )
    return Scenario(
        seed=seed,
        kind=farm,
        hosts=hosts,
        wishes=wishes,
        drop=rng.choice((0.0, 0.05, 0.15)),
        double=rng.choice((0.0, 0.1)),
        delay_max_s=rng.choice((0.3, 1.0, 3.0, 6.0)),
        drift=rng.choice((0.0, 0.001, 0.005)),
        faults=_draw_faults(seed, farm, hosts),
    )


def _draw_faults(seed: int, farm: Kind, hosts: int) -> tuple[Fault, ...]:
    rng = random.Random(f"{seed}/faults")
    kinds = [*HOST_FAULTS * 2, *PEOPLE, *COORDINATOR_FAULTS, *farm.more * 4]
    if rng.random() < 0.3:  # some farms suffer from few things only, but from those a lot
        kinds = rng.sample(kinds, 6) + list(farm.more)
    every_s = rng.choice((5.0, 10.0, 20.0, 40.0))
    faults: list[Fault] = []
    at_s = rng.uniform(0.0, every_s)
    while at_s < FAULTY_S:
        faults.append(
            Fault(
                at_s=round(at_s, 2),
                kind=rng.choice(kinds),
                host=f"p{rng.randrange(hosts)}",
                length_s=rng.choice(LENGTHS_S),
                pick=min(round(rng.random(), 3), 0.999),
            )
        )
        at_s += rng.expovariate(1.0 / every_s)
    return tuple(faults)
