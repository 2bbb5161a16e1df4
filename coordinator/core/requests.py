"""What people ask of jobs, checked against the farm: submit, cancel, hold, pause and the rest.

Owns the rules of each act and the errors a person gets. Acts change a draft; the round that
follows draws the conclusions. Must not know HTTP, SQL or MQTT.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from coordinator.core import outcomes
from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import Draft, Now
from coordinator.core.jobs import (
    COPIES_MAX,
    RETRIES_MAX,
    Copy,
    CopyState,
    IllegalTransition,
    Job,
    JobAct,
    JobFile,
    JobState,
    Lane,
    Policy,
    Requirements,
    advance,
)
from moonraker_component.wire import STARTED_PHASES, Outcome

PRIORITY_MAX = 100
GRACE_MIN_LEASES = 2.0
NAME_MAX = 200


class RequestError(ValueError):
    """A request that cannot be taken: names the field, the value and what is allowed."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        super().__init__(f"{field} {shown}: {allowed}")
        self.field = field
        self.allowed = allowed


class NotFound(LookupError):
    """There is nothing of this id."""


class Conflict(ValueError):
    """It exists, but is not in a state in which this can be done."""


class Who(Struct, frozen=True):
    """Who asked, and from where: for the audit table."""

    name: str = "local"
    origin: str = ""


class Submission(Struct, frozen=True):
    """A wish for copies of a stored file; everything but the file has a default."""

    file: JobFile
    copies: int = 1
    requirements: Requirements = Requirements()
    policy: Policy = Policy()
    lane: Lane = Lane.STANDARD
    priority: int = 0
    deadline_at: float | None = None
    owner: str = ""
    tags: tuple[str, ...] = ()
    held: bool = False
    estimated_s: float | None = None
    filament_mm: float | None = None
    reprint_of: str = ""


class JobChange(Struct, frozen=True):
    """What may be changed of a queued job; a field left out stays as it is."""

    priority: int | UnsetType = UNSET
    lane: Lane | UnsetType = UNSET
    deadline_at: float | UnsetType | None = UNSET


class Settlement(StrEnum):
    """What a person saw of an attempt that no host answers for."""

    COMPLETE = "complete"
    FAILED = "failed"
    NOT_STARTED = "not_started"


def submit(draft: Draft, wish: Submission, who: Who, now: Now, fresh_ids: Iterator[str]) -> Job:
    """Put a new job at the end of its lane, also one that no printer can take yet."""
    _check_range("copies", wish.copies, 1, COPIES_MAX)
    _check_range("priority", wish.priority, -PRIORITY_MAX, PRIORITY_MAX)
    _check_range("retries", wish.policy.retries, 0, RETRIES_MAX)
    _check_requirements(draft, wish.requirements)
    _check_policy(draft, wish.policy)
    job = Job(
        id=next(fresh_ids),
        title=wish.file.title[:NAME_MAX],
        file=wish.file,
        copies=wish.copies,
        requirements=wish.requirements,
        policy=wish.policy,
        lane=wish.lane,
        priority=wish.priority,
        rank=now.wall_s,
        deadline_at=wish.deadline_at,
        state=JobState.HELD if wish.held else JobState.ACTIVE,
        reason="held by its submitter" if wish.held else "",
        owner=wish.owner or who.name,
        tags=wish.tags,
        estimated_s=wish.estimated_s,
        filament_mm=wish.filament_mm,
        created_at=now.wall_s,
        reprint_of=wish.reprint_of,
    )
    draft.put_job(job)
    draft.add_copies(
        job.id,
        [Copy(id=next(fresh_ids), job=job.id, number=n + 1) for n in range(wish.copies)],
    )
    tell(draft, who, now, "job_queued", job=job.id, text=f"{wish.copies} x {job.title}")
    return job


def cancel(draft: Draft, job_id: str, who: Who, now: Now) -> Job:
    """End the job: what waits is dropped, what was started is cancelled by its host."""
    job = _act(draft, job_of(draft, job_id), JobAct.CANCEL, f"cancelled by {who.name}", now)
    job = replace(job, finished_at=now.wall_s)
    draft.put_job(job)
    for copy_id in draft.copies_of[job_id]:
        copy = draft.copies[copy_id]
        if copy.state in (CopyState.OPEN, CopyState.HELD):
            draft.put_copy(replace(copy, state=CopyState.DROPPED))
    tell(draft, who, now, "job_cancelled", job=job_id)
    return job


def hold(draft: Draft, job_id: str, who: Who, now: Now) -> Job:
    """No further copy starts; what prints goes on."""
    job = _act(draft, job_of(draft, job_id), JobAct.HOLD, f"held by {who.name}", now)
    tell(draft, who, now, "job_held", job=job_id)
    return job


def release(draft: Draft, job_id: str, who: Who, now: Now) -> Job:
    """Let a held job, or held copies of an active one, go on; failures are counted anew.

    One of the two at a time: whoever resumes a paused job has not said that a copy of which nobody
    knows whether it was printed may be printed again.
    """
    job = job_of(draft, job_id)
    held = [c for c in draft.copies_of[job_id] if draft.copies[c].state is CopyState.HELD]
    copies_too = job.state is JobState.ACTIVE and bool(held)
    if not copies_too:
        job = _act(draft, job, JobAct.RELEASE, "", now)
    for copy_id in draft.copies_of[job_id]:
        copy = draft.copies[copy_id]
        if copies_too and copy.state is CopyState.HELD:
            copy = replace(copy, state=CopyState.OPEN, reason="")
        if copy.failures or copy.misses or copy is not draft.copies[copy_id]:
            draft.put_copy(replace(copy, failures=0, misses=0))
    tell(draft, who, now, "job_released", job=job_id)
    return job


def pause(draft: Draft, job_id: str, who: Who, now: Now) -> Job:
    """Hold the job and pause what it prints."""
    job = job_of(draft, job_id)
    if job.state is JobState.ACTIVE:
        job = _act(draft, job, JobAct.HOLD, f"paused by {who.name}", now)
    elif job.finished:
        raise Conflict(f"job {job_id} is {job.state}: only an active or held job can be paused")
    for attempt in _live_of(draft, job_id):
        if attempt.state in (State.STARTED, State.ARMED):
            _want(draft, attempt, replace(attempt, pause_wanted=True, resume=""))
    tell(draft, who, now, "job_paused", job=job_id)
    return job


def resume(draft: Draft, job_id: str, who: Who, now: Now) -> Job:
    """Release the job and resume every print of it that is paused, whatever paused it.

    A fence is lifted only while nobody else may print the copy (rule 11), whoever asks.
    """
    job = job_of(draft, job_id)
    if job.finished:
        raise Conflict(f"job {job_id} is {job.state}: there is nothing to resume")
    if job.state is JobState.HELD:
        job = release(draft, job_id, who, now)
    for attempt in _live_of(draft, job_id):
        if attempt.state not in (State.STARTED, State.ARMED):
            continue
        if attempt.fenced and not draft.alone(attempt):
            continue
        _want(draft, attempt, replace(attempt, pause_wanted=False, resume=attempt.pause))
    tell(draft, who, now, "job_resumed", job=job_id)
    return job


def change(draft: Draft, job_id: str, wish: JobChange, who: Who, now: Now) -> Job:
    """Change priority, lane or deadline of a job that is not finished."""
    job = job_of(draft, job_id)
    if job.finished:
        raise Conflict(f"job {job_id} is {job.state}: it cannot be changed")
    if wish.priority is not UNSET:
        _check_range("priority", wish.priority, -PRIORITY_MAX, PRIORITY_MAX)
        job = replace(job, priority=wish.priority)
    if wish.lane is not UNSET:
        job = replace(job, lane=wish.lane)
    if wish.deadline_at is not UNSET:
        job = replace(job, deadline_at=wish.deadline_at)
    draft.put_job(job)
    tell(draft, who, now, "job_changed", job=job_id)
    return job


def move(draft: Draft, job_id: str, before: str, who: Who, now: Now) -> Job:
    """Put a job right before another: it takes over that job's lane and priority."""
    job, other = job_of(draft, job_id), job_of(draft, before)
    if job.finished or other.finished:
        raise Conflict("only jobs that are not finished have a place in the queue")
    if job.id == other.id:
        raise RequestError("before", before, "must be another job")
    ranks = [
        j.rank
        for j in draft.jobs.values()
        if not j.finished
        and (j.lane, j.priority) == (other.lane, other.priority)
        and j.id != job.id
        and j.rank < other.rank
    ]
    rank = (max(ranks) + other.rank) / 2 if ranks else other.rank - 1.0
    job = replace(
        job, lane=other.lane, priority=other.priority, deadline_at=other.deadline_at, rank=rank
    )
    draft.put_job(job)
    tell(draft, who, now, "job_moved", job=job_id, text=f"before {before}")
    return job


def reprint(
    draft: Draft, job: Job, copies: int, who: Who, now: Now, fresh_ids: Iterator[str]
) -> Job:
    """A new job like this one, which may have finished long ago."""
    wish = Submission(
        file=job.file,
        copies=copies,
        requirements=job.requirements,
        policy=job.policy,
        lane=job.lane,
        priority=job.priority,
        owner=job.owner,
        tags=job.tags,
        estimated_s=job.estimated_s,
        filament_mm=job.filament_mm,
        reprint_of=job.id,
    )
    return submit(draft, wish, who, now, fresh_ids)


def settle(draft: Draft, attempt_id: str, seen: Settlement, who: Who, now: Now) -> Attempt:
    """A person says how an attempt ended, of which its host says nothing.

    Also of one that ended as unknown, as long as its copy is held for this very question.
    """
    attempt = draft.attempts.get(attempt_id)
    if attempt is None:
        raise NotFound(f"attempt {attempt_id!r}: there is none of this id")
    text = f"settled by {who.name}"
    if not attempt.live and not outcomes.asks_person(draft, attempt):
        raise Conflict(f"attempt {attempt_id} has already ended: {attempt.outcome.value}")
    if attempt.state is State.ASSIGNED:
        raise Conflict(f"attempt {attempt_id} has not been told to start: cancel or hold its job")
    if _is_printing(draft, attempt, now):
        raise Conflict(f"attempt {attempt_id} is printing, says its host: cancel its job to end it")
    if attempt.live:
        outcomes.end(draft, attempt, Outcome(seen.value), "settled_by_person", text, now)
    else:
        outcomes.answer(draft, attempt, Outcome(seen.value), "settled_by_person", text, now)
    tell(draft, who, now, "attempt_settled", attempt=attempt_id, text=seen.value)
    return draft.attempts[attempt_id]


def job_of(draft: Draft, job_id: str) -> Job:
    """The job of this id; raises NotFound."""
    job = draft.jobs.get(job_id)
    if job is None:
        raise NotFound(f"job {job_id!r}: there is none of this id")
    return job


def _act(draft: Draft, job: Job, act: JobAct, reason: str, now: Now) -> Job:
    try:
        state = advance(job.state, act)
    except IllegalTransition as error:
        raise Conflict(f"job {job.id}: {error}") from error
    job = replace(job, state=state, reason=reason)
    draft.put_job(job)
    return job


def _want(draft: Draft, attempt: Attempt, wanted: Attempt) -> None:
    """Steer a print. Hosts apply pause and run once per generation, so that what was asked
    before (a RESUME that failed for want of filament) is asked anew in a generation of its own."""
    if wanted != attempt:
        draft.put_attempt(wanted)
        return
    printer = draft.printers[attempt.printer]
    draft.put_printer(replace(printer, generation=printer.generation + 1))


def _is_printing(draft: Draft, attempt: Attempt, now: Now) -> bool:
    """Its host, with Klipper at hand, says now that it prints or is paused."""
    contact = draft.contacts.get(attempt.printer)
    if contact is None or not attempt.live or attempt.phase not in STARTED_PHASES:
        return False
    return now.boot_s - contact.klipper_s <= draft.settings.lease_s


def _live_of(draft: Draft, job_id: str) -> list[Attempt]:
    return [a for a in draft.live_attempts() if a.job == job_id]


def tell(draft: Draft, who: Who, now: Now, kind: str, **words: str) -> None:
    """One line of history with who did it and from where."""
    draft.tell(now, kind, None, who=who.name, origin=who.origin, **words)


def _check_range(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise RequestError(field, value, f"must be from {low:g} to {high:g}")


def _check_requirements(draft: Draft, need: Requirements) -> None:
    if need.nozzle_mm is not None:
        _check_range("nozzle_mm", need.nozzle_mm, 0.05, 10.0)
    for field, value in (("extruder_c", need.extruder_c), ("bed_c", need.bed_c)):
        if value is not None:
            _check_range(field, value, 0.0, 1000.0)
    for printer_id in need.printers:
        if printer_id not in draft.printers:
            known = ", ".join(sorted(draft.printers)) or "none yet"
            raise RequestError("printers", printer_id, f"no such printer (known: {known})")


def _check_policy(draft: Draft, policy: Policy) -> None:
    """A grace must outlast a lease, and with a fence the fence and what it needs to act."""
    grace_s = policy.offline_grace_s
    if grace_s is None:
        return
    settings = draft.settings
    least_s = GRACE_MIN_LEASES * settings.lease_s
    if policy.fence:
        least_s = max(least_s, settings.fence_s * 1.01 + settings.fence_margin_s)
    if not least_s <= grace_s <= 30 * 86400:
        raise RequestError(
            "offline_grace_s", grace_s, f"must be from {least_s:g} s to 30 days, or never"
        )
