"""Jobs and their copies: what a person asked for, and each wanted piece of it.

Owns the types, the job's table of transitions and what counts as done. Must not know printers,
attempts' lives, storage or HTTP.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

COPIES_MAX = 10_000
RETRIES_MAX = 100
MISSES_MAX = 10
"""Starts of one copy that may come to nothing (download failed, start refused) before it holds."""


class Lane(StrEnum):
    """Two lanes; express goes first, and age lifts a waiting standard job so it never starves."""

    EXPRESS = "express"
    STANDARD = "standard"


class JobState(StrEnum):
    """`ACTIVE` covers queued and printing: which one it is follows from its attempts."""

    ACTIVE = "active"
    HELD = "held"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class JobAct(StrEnum):
    """What moves a job."""

    HOLD = "hold"
    RELEASE = "release"
    COMPLETE = "complete"
    CANCEL = "cancel"


TRANSITIONS: dict[JobState, dict[JobAct, JobState]] = {
    JobState.ACTIVE: {
        JobAct.HOLD: JobState.HELD,
        JobAct.COMPLETE: JobState.COMPLETED,
        JobAct.CANCEL: JobState.CANCELLED,
    },
    JobState.HELD: {
        JobAct.RELEASE: JobState.ACTIVE,
        JobAct.COMPLETE: JobState.COMPLETED,
        JobAct.CANCEL: JobState.CANCELLED,
    },
    JobState.COMPLETED: {},
    JobState.CANCELLED: {},
}


class CopyState(StrEnum):
    """`HELD`: an attempt is unknown and the policy asks a person. `DROPPED`: cancelled."""

    OPEN = "open"
    HELD = "held"
    DONE = "done"
    DROPPED = "dropped"


class JobFile(Struct, frozen=True):
    """The stored file of a job: `name` as hosts will call it, `title` as the person called it."""

    sha256: str
    name: str
    title: str
    size_bytes: int


class Requirements(Struct, frozen=True):
    """What a printer must have. Empty or None: no requirement.

    `min_mm` and `max_mm` are the extents x, y, z of all extruding moves.
    """

    material: str = ""
    color: str = ""
    nozzle_mm: float | None = None
    min_mm: tuple[float, ...] = ()
    max_mm: tuple[float, ...] = ()
    extruder_c: float | None = None
    bed_c: float | None = None
    model: str = ""
    kinematics: str = ""
    tags: tuple[str, ...] = ()
    printers: tuple[str, ...] = ()


class Policy(Struct, frozen=True):
    """What happens when hosts fall silent or prints fail.

    `offline_grace_s`: silence after which an armed or started attempt is lost and its copy moves;
    None is `never`: it waits for the host or a person. `fence`: the printer pauses by itself
    before the copy moves.
    """

    offline_grace_s: float | None = 300.0
    fence: bool = False
    retries: int = 2


class Job(Struct, frozen=True):
    """One order. Times ending in `_at` are epoch seconds: they decide order and display only."""

    id: str
    title: str
    file: JobFile
    copies: int
    requirements: Requirements = Requirements()
    policy: Policy = Policy()
    lane: Lane = Lane.STANDARD
    priority: int = 0
    rank: float = 0.0
    deadline_at: float | None = None
    state: JobState = JobState.ACTIVE
    reason: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    estimated_s: float | None = None
    filament_mm: float | None = None
    created_at: float = 0.0
    finished_at: float | None = None
    reprint_of: str = ""

    @property
    def finished(self) -> bool:
        return self.state in (JobState.COMPLETED, JobState.CANCELLED)


class Copy(Struct, frozen=True):
    """One wanted piece. `front_at`: it came back from a printer, and goes to its lane's front."""

    id: str
    job: str
    number: int
    state: CopyState = CopyState.OPEN
    reason: str = ""
    failures: int = 0
    misses: int = 0
    front_at: float | None = None


class IllegalTransition(ValueError):
    """An act arrived in a state that has no place for it; nothing was changed."""


def advance(state: JobState, act: JobAct) -> JobState:
    """The state after this act; raises IllegalTransition where the table has no place for it."""
    try:
        return TRANSITIONS[state][act]
    except KeyError:
        allowed = ", ".join(TRANSITIONS[state]) or "nothing"
        raise IllegalTransition(f"a {state} job takes no {act} (it takes {allowed})") from None
