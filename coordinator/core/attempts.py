"""Attempts: one try at one copy on one printer, as the coordinator knows it.

Owns the type and its table of transitions (docs/design.md, section 4, rule 6). Must not know
how reports arrive or how desired states are published.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from coordinator.core.jobs import IllegalTransition
from moonraker_component.wire import Outcome, Phase


class State(StrEnum):
    """`ended` is final."""

    ASSIGNED = "assigned"
    ARMED = "armed"
    STARTED = "started"
    LOST = "lost"
    ENDED = "ended"


class Event(StrEnum):
    """What can happen to an attempt."""

    ARM = "arm"
    SHOWN = "shown"
    SILENT = "silent"
    ADOPT = "adopt"
    TAKE_BACK = "take_back"
    SETTLE = "settle"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.ASSIGNED: {
        Event.ARM: State.ARMED,
        Event.TAKE_BACK: State.ENDED,
        Event.SETTLE: State.ENDED,
    },
    State.ARMED: {
        Event.SHOWN: State.STARTED,
        Event.SILENT: State.LOST,
        Event.SETTLE: State.ENDED,
    },
    State.STARTED: {Event.SILENT: State.LOST, Event.SETTLE: State.ENDED},
    State.LOST: {Event.ADOPT: State.STARTED, Event.SETTLE: State.ENDED},
    State.ENDED: {},
}
"""From armed on only the host's own answer (settle) ends an attempt: silence proves nothing."""


class Attempt(Struct, frozen=True):
    """One try. `phase`, `pause` and `fenced` are what its host last said of it.

    `session` is the session that the start is bound to. `take_back`: withdraw or cancel is wanted,
    for the reason in `why_back`. `resume` names the pause that a person wants ended.
    `accepted`: this completion is the one that counts for its copy. `restored`: it was
    learnt from a host, or was assigned in a database that turned out to be older than the farm.
    """

    id: str
    copy: str
    job: str
    printer: str
    state: State = State.ASSIGNED
    session: str = ""
    phase: Phase | None = None
    pause: str = ""
    fenced: bool = False
    take_back: str = ""
    why_back: str = ""
    pause_wanted: bool = False
    resume: str = ""
    outcome: Outcome = Outcome.NONE
    accepted: bool = False
    cause: str = ""
    message: str = ""
    restored: bool = False
    assigned_at: float = 0.0
    armed_at: float | None = None
    started_at: float | None = None
    lost_at: float | None = None
    ended_at: float | None = None

    @property
    def live(self) -> bool:
        """It holds its printer: everything but ended does, lost ones too."""
        return self.state is not State.ENDED

    @property
    def holds_copy(self) -> bool:
        """It stands for its copy, so that no other attempt of the copy is made."""
        return self.state in (State.ASSIGNED, State.ARMED, State.STARTED)


def advance(state: State, event: Event) -> State:
    """The state after this event; raises IllegalTransition where the table has no place for it."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        allowed = ", ".join(TRANSITIONS[state]) or "nothing"
        raise IllegalTransition(f"attempt {state}: no {event} (only {allowed})") from None
