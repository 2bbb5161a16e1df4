"""Jobs, copies and attempts as people see them.

Owns what is shown of each and the counting of copies. Pure. Must not know HTTP or printers.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import Farm, History
from coordinator.core.jobs import Copy, CopyState, Job, JobFile, JobState, Lane, Requirements
from moonraker_component.wire import Outcome, Phase

NEVER = "never"


class CopyStanding(StrEnum):
    """Where a copy stands: the core's state, and for open ones what holds them."""

    WAITING = "waiting"
    ASSIGNED = "assigned"
    PRINTING = "printing"
    HELD = "held"
    DONE = "done"
    DROPPED = "dropped"


class CopyCounts(Struct):
    """How many copies of a job stand where."""

    waiting: int = 0
    assigned: int = 0
    printing: int = 0
    held: int = 0
    done: int = 0
    dropped: int = 0


class JobView(Struct, frozen=True, kw_only=True):
    """One job. `offline_grace_s` is seconds, or "never". Times ending in `_at` are epoch seconds.

    `tags` are the job's own; the tags that a printer must have stand in `requirements`.
    """

    id: str
    title: str
    state: JobState
    reason: str
    copies: int
    counts: CopyCounts
    file: JobFile
    requirements: Requirements
    offline_grace_s: float | str
    fence: bool
    retries: int
    lane: Lane
    priority: int
    deadline_at: float | None
    owner: str
    tags: tuple[str, ...]
    estimated_s: float | None
    filament_mm: float | None
    created_at: float
    finished_at: float | None
    reprint_of: str


class CopyView(Struct, frozen=True, kw_only=True):
    """One wanted piece. `attempt` and `printer`: what stands for it now, or completed it."""

    id: str
    number: int
    state: CopyStanding
    reason: str = ""
    failures: int = 0
    attempt: str = ""
    printer: str = ""


class AttemptView(Struct, frozen=True, kw_only=True):
    """One try at one copy on one printer."""

    id: str
    job: str
    title: str
    copy: str
    copy_number: int
    printer: str
    state: State
    phase: Phase | None = None
    pause: str = ""
    pause_wanted: bool = False
    fenced: bool = False
    take_back: str = ""
    why_back: str = ""
    outcome: Outcome = Outcome.NONE
    accepted: bool = False
    cause: str = ""
    message: str = ""
    assigned_at: float = 0.0
    armed_at: float | None = None
    started_at: float | None = None
    lost_at: float | None = None
    ended_at: float | None = None


class HistoryView(Struct, frozen=True, kw_only=True):
    """One transition, or one act of a person. `number` only grows."""

    number: int
    at: float
    kind: str
    who: str
    origin: str
    job: str
    copy: str
    attempt: str
    printer: str
    text: str


def job_view(job: Job, counts: CopyCounts) -> JobView:
    grace_s = job.policy.offline_grace_s
    return JobView(
        id=job.id,
        title=job.title,
        state=job.state,
        reason=job.reason,
        copies=job.copies,
        counts=counts,
        file=job.file,
        requirements=job.requirements,
        offline_grace_s=NEVER if grace_s is None else grace_s,
        fence=job.policy.fence,
        retries=job.policy.retries,
        lane=job.lane,
        priority=job.priority,
        deadline_at=job.deadline_at,
        owner=job.owner,
        tags=job.tags,
        estimated_s=job.estimated_s,
        filament_mm=job.filament_mm,
        created_at=job.created_at,
        finished_at=job.finished_at,
        reprint_of=job.reprint_of,
    )


def live_counts(farm: Farm, job_id: str) -> CopyCounts:
    """The counts of a job that is in memory."""
    counts = CopyCounts()
    for copy_id in farm.copies_of.get(job_id, ()):
        holds = [farm.attempts[a] for a in farm.live_of.get(copy_id, ())]
        _count(counts, standing(farm.copies[copy_id], holds), 1)
    return counts


def stored_counts(states: dict[CopyState, int]) -> CopyCounts:
    """The counts of a job that is in the store alone, and so has no live attempt."""
    counts = CopyCounts()
    for state, number in states.items():
        _count(counts, STANDINGS[state], number)
    return counts


def standing(copy: Copy, attempts: Iterable[Attempt]) -> CopyStanding:
    """Where a copy stands, given its live attempts."""
    if copy.state is not CopyState.OPEN:
        return STANDINGS[copy.state]
    held_by = [attempt for attempt in attempts if attempt.holds_copy]
    if any(attempt.state is State.STARTED for attempt in held_by):
        return CopyStanding.PRINTING
    return CopyStanding.ASSIGNED if held_by else CopyStanding.WAITING


STANDINGS = {
    CopyState.OPEN: CopyStanding.WAITING,
    CopyState.HELD: CopyStanding.HELD,
    CopyState.DONE: CopyStanding.DONE,
    CopyState.DROPPED: CopyStanding.DROPPED,
}


def copy_view(copy: Copy, attempts: list[Attempt]) -> CopyView:
    """One copy, with all of its attempts, oldest first."""
    shown = next((a for a in attempts if a.accepted), None)
    shown = shown or next((a for a in reversed(attempts) if a.holds_copy), None)
    return CopyView(
        id=copy.id,
        number=copy.number,
        state=standing(copy, [a for a in attempts if a.live]),
        reason=copy.reason,
        failures=copy.failures,
        attempt=shown.id if shown else "",
        printer=shown.printer if shown else "",
    )


def attempt_view(attempt: Attempt, title: str, copy_number: int) -> AttemptView:
    return AttemptView(
        id=attempt.id,
        job=attempt.job,
        title=title,
        copy=attempt.copy,
        copy_number=copy_number,
        printer=attempt.printer,
        state=attempt.state,
        phase=attempt.phase,
        pause=attempt.pause,
        pause_wanted=attempt.pause_wanted,
        fenced=attempt.fenced,
        take_back=attempt.take_back,
        why_back=attempt.why_back,
        outcome=attempt.outcome,
        accepted=attempt.accepted,
        cause=attempt.cause,
        message=attempt.message,
        assigned_at=attempt.assigned_at,
        armed_at=attempt.armed_at,
        started_at=attempt.started_at,
        lost_at=attempt.lost_at,
        ended_at=attempt.ended_at,
    )


def history_view(number: int, line: History) -> HistoryView:
    return HistoryView(
        number=number,
        at=line.at,
        kind=line.kind,
        who=line.who,
        origin=line.origin,
        job=line.job,
        copy=line.copy,
        attempt=line.attempt,
        printer=line.printer,
        text=line.text,
    )


def _count(counts: CopyCounts, where: CopyStanding, number: int) -> None:
    setattr(counts, where.value, getattr(counts, where.value) + number)
