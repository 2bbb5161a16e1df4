"""One attempt on one host: its phases, the table of steps, its row, and the effects it can have.

Owns what an attempt is and which step may follow which. Pure values: no I/O, no clock, no
random numbers. What it must not know: who decides a step (acting.py, following.py,
decisions.py) and how an effect is carried out (agent.py).

Effects are carried out in the order given, `Save` before everything behind it.
"""

from __future__ import annotations

from enum import Enum
from typing import Union

import msgspec

from . import wire
from .wire import Order, Outcome, Phase


class Step(Enum):
    """What can happen to an attempt on its host."""

    FETCHED = "fetched"
    FETCH_FAILED = "fetch_failed"
    TAKEN_BACK = "taken_back"
    NEW_SESSION = "new_session"
    ASKED = "asked"
    REFUSED = "refused"
    NOT_SEEN = "not_seen"
    SHOWN = "shown"
    PAUSED = "paused"
    RESUMED = "resumed"
    FINISHED = "finished"
    VANISHED = "vanished"


TRANSITIONS: dict[Phase, dict[Step, Phase]] = {
    Phase.PREPARING: {
        Step.FETCHED: Phase.PREPARED,
        Step.FETCH_FAILED: Phase.ENDED,
        Step.TAKEN_BACK: Phase.ENDED,
        Step.NEW_SESSION: Phase.ENDED,
    },
    Phase.PREPARED: {
        Step.ASKED: Phase.STARTING,
        Step.TAKEN_BACK: Phase.ENDED,
        Step.NEW_SESSION: Phase.ENDED,
    },
    Phase.STARTING: {
        Step.REFUSED: Phase.ENDED,
        Step.NOT_SEEN: Phase.ENDED,
        Step.SHOWN: Phase.PRINTING,
        Step.PAUSED: Phase.PAUSED,
        Step.FINISHED: Phase.ENDED,
        Step.VANISHED: Phase.ENDED,
    },
    Phase.PRINTING: {
        Step.PAUSED: Phase.PAUSED,
        Step.FINISHED: Phase.ENDED,
        Step.VANISHED: Phase.ENDED,
    },
    Phase.PAUSED: {
        Step.RESUMED: Phase.PRINTING,
        Step.FINISHED: Phase.ENDED,
        Step.VANISHED: Phase.ENDED,
    },
    Phase.ENDED: {},
}

UNSTARTED = frozenset({Phase.PREPARING, Phase.PREPARED})

RUNNING = frozenset({Phase.STARTING, Phase.PRINTING, Phase.PAUSED})


class IllegalStep(wire.WireError):
    """An event arrived in a phase that has no place for it; nothing was changed."""


class Attempt(msgspec.Struct, frozen=True):
    """One attempt as its host keeps it: this is the row that is written down.

    `deadline_s` and `cancelled_s` are CLOCK_BOOTTIME and mean nothing after a reboot; a new
    session never uses them. `boot` is Klipper's life in which the start was asked for.
    """

    order: Order
    phase: Phase = Phase.PREPARING
    outcome: Outcome = Outcome.NONE
    cause: str = ""
    message: str = ""
    pause: str = ""
    pauses: int = 0
    shown: bool = False
    deadline_s: float = 0.0
    boot: int = 0
    cancelled_s: float = 0.0
    wanted_cancel: bool = False
    looking_up: bool = False
    told_sequence: int = 0
    echoed_term: int = 0

    @property
    def id(self) -> str:
        return self.order.attempt

    @property
    def path(self) -> str:
        return wire.host_path(self.order.attempt, self.order.file.name)


class Fetch(msgspec.Struct, frozen=True):
    """Download and verify the file of this order, then call on_fetched."""

    order: Order


class Relink(msgspec.Struct, frozen=True):
    """The download of this attempt goes on with a new link; the one it began with runs out."""

    attempt: str
    url: str


class Save(msgspec.Struct, frozen=True):
    """Write this row durably, before any effect behind it."""

    attempt: Attempt


class Forget(msgspec.Struct, frozen=True):
    """Delete the rows of attempts that everybody knows the end of."""

    attempts: tuple[str, ...]


class Start(msgspec.Struct, frozen=True):
    """Ask Klipper once; refuse by yourself when CLOCK_BOOTTIME has passed `deadline_s`."""

    attempt: str
    copy: str
    job: str
    path: str
    deadline_s: float
    bed_token: str
    fence_s: float
    fence_until_s: float


class Pause(msgspec.Struct, frozen=True):
    """Pause the print of this attempt."""

    attempt: str


class Resume(msgspec.Struct, frozen=True):
    """Resume it; `lift` names a fence pause to be lifted first, or is empty."""

    attempt: str
    lift: str = ""


class Cancel(msgspec.Struct, frozen=True):
    """Cancel the print of this attempt: only while print_stats names its path."""

    attempt: str
    path: str


class Feed(msgspec.Struct, frozen=True):
    """Feed the fence watchdog of this attempt."""

    attempt: str
    until_s: float


class LookUp(msgspec.Struct, frozen=True):
    """Ask Moonraker's history what became of this path, then call on_history."""

    attempt: str
    path: str


class CleanUp(msgspec.Struct, frozen=True):
    """Remove the files of this attempt."""

    attempt: str


class Say(msgspec.Struct, frozen=True):
    """Something to be reported has changed: send a report now."""


Effect = Union[
    Fetch, Relink, Save, Forget, Start, Pause, Resume, Cancel, Feed, LookUp, CleanUp, Say
]

Effects = tuple[Effect, ...]
