"""What the end of an attempt means for its copy and its job.

Owns the bookkeeping behind every end: accepted or surplus, retries, holds, who goes to the front.
Must not know how an end was learnt.
"""

from __future__ import annotations

from msgspec.structs import replace

from coordinator.core.attempts import Attempt, Event, State, advance
from coordinator.core.farm import Draft, Now
from coordinator.core.jobs import MISSES_MAX, Copy, CopyState, Job, JobAct, JobState
from coordinator.core.jobs import advance as advance_job
from moonraker_component.wire import Outcome

OUR_CAUSES = frozenset({"withdrawn", "cancelled", "superseded", "restarted", "host_silent"})
"""Causes of "not started" that are nobody's failure."""


def end(
    draft: Draft, attempt: Attempt, outcome: Outcome, cause: str, message: str, now: Now
) -> None:
    """End an attempt and draw every conclusion. Assigned ones may be taken back by us."""
    event = Event.TAKE_BACK if attempt.state is State.ASSIGNED else Event.SETTLE
    copy = draft.copies[attempt.copy]
    accepted = outcome is Outcome.COMPLETE and copy.state is not CopyState.DONE
    ended = replace(
        attempt,
        state=advance(attempt.state, event),
        outcome=outcome,
        cause=cause,
        message=message,
        accepted=accepted,
        ended_at=now.wall_s,
        pause="",
        fenced=False,
    )
    draft.put_attempt(ended)
    kind = (
        "completed" if accepted else ("surplus" if outcome is Outcome.COMPLETE else outcome.value)
    )
    draft.tell(now, f"attempt_{kind}", ended, text=f"{cause}: {message}" if cause else message)
    _count_on_printer(draft, ended, now)
    if accepted:
        _done(draft, copy, now)
    elif copy.state is CopyState.OPEN:
        _not_done(draft, copy, ended, now)


def asks_person(draft: Draft, attempt: Attempt) -> bool:
    """Whether this end is unknown and its copy waits for a person to say what it was."""
    copy = draft.copies.get(attempt.copy)
    unknown = attempt.state is State.ENDED and attempt.outcome is Outcome.UNKNOWN
    return unknown and copy is not None and copy.state is CopyState.HELD


def answer(
    draft: Draft, attempt: Attempt, outcome: Outcome, cause: str, message: str, now: Now
) -> None:
    """A person has looked at what an unknown attempt left behind: its copy counts, or goes on."""
    accepted = outcome is Outcome.COMPLETE
    draft.put_attempt(
        replace(attempt, outcome=outcome, accepted=accepted, cause=cause, message=message)
    )
    copy = draft.copies[attempt.copy]
    if accepted:
        _done(draft, copy, now)
    else:
        draft.put_copy(replace(copy, state=CopyState.OPEN, reason=""))


def hold_job(draft: Draft, job: Job, reason: str, now: Now) -> None:
    """The job waits for a person; what prints goes on."""
    if job.state is not JobState.ACTIVE:
        return
    draft.put_job(replace(job, state=advance_job(job.state, JobAct.HOLD), reason=reason))
    draft.tell(now, "job_held", job=job.id, text=reason)


def _done(draft: Draft, copy: Copy, now: Now) -> None:
    draft.put_copy(replace(copy, state=CopyState.DONE, reason="", front_at=None))
    job = draft.jobs[copy.job]
    if job.finished or draft.waiting_of.get(job.id):
        return
    states = [draft.copies[c].state for c in draft.copies_of[job.id]]
    if all(state is CopyState.DONE for state in states):
        done = replace(
            job, state=advance_job(job.state, JobAct.COMPLETE), reason="", finished_at=now.wall_s
        )
        draft.put_job(done)
        draft.tell(now, "job_completed", job=job.id)


def _not_done(draft: Draft, copy: Copy, attempt: Attempt, now: Now) -> None:
    """Nothing was accepted: count it, and hold or requeue the copy."""
    job = draft.jobs[copy.job]
    copy = replace(copy, front_at=copy.front_at or now.wall_s)
    failed = attempt.outcome in (Outcome.FAILED, Outcome.UNKNOWN) or (
        attempt.outcome is Outcome.CANCELLED and not attempt.take_back
    )
    missed = (
        attempt.outcome is Outcome.NOT_STARTED
        and not attempt.take_back
        and attempt.cause not in OUR_CAUSES
    )
    if failed:
        copy = replace(copy, failures=copy.failures + 1)
    if missed:
        copy = replace(copy, misses=copy.misses + 1)
    asks_person = attempt.outcome is Outcome.UNKNOWN and job.policy.offline_grace_s is None
    if asks_person:
        copy = replace(
            copy,
            state=CopyState.HELD,
            reason="nobody can say whether it was printed, and the job must not be doubled",
        )
        draft.tell(now, "copy_held", attempt, text=copy.reason)
    draft.put_copy(copy)
    if copy.failures > job.policy.retries:
        text = f"copy {copy.number} failed {copy.failures} times, last: {attempt.cause}"
        hold_job(draft, job, f"{text}: {attempt.message}".rstrip(": "), now)
    elif copy.misses >= MISSES_MAX:
        text = f"copy {copy.number} could not be started {copy.misses} times"
        hold_job(draft, job, f"{text}, last: {attempt.cause}: {attempt.message}", now)


def _count_on_printer(draft: Draft, attempt: Attempt, now: Now) -> None:
    """The printer's record and use, and its rest after a start that came to nothing."""
    printer = draft.printers[attempt.printer]
    printed_s = now.wall_s - attempt.started_at if attempt.started_at is not None else 0.0
    missed = attempt.outcome is Outcome.NOT_STARTED and attempt.cause not in OUR_CAUSES
    in_row = printer.refused_in_row + 1 if missed else 0
    draft.put_printer(
        replace(
            printer,
            printed_s=printer.printed_s + max(printed_s, 0.0),
            completed=printer.completed + (attempt.outcome is Outcome.COMPLETE),
            failed=printer.failed + (attempt.outcome in (Outcome.FAILED, Outcome.UNKNOWN)),
            refused_in_row=in_row,
        )
    )
    contact = draft.contacts.get(attempt.printer)
    if missed and contact is not None:
        rest_s = draft.settings.rest_s * float(min(2 ** (in_row - 1), 20))
        draft.put_contact(attempt.printer, replace(contact, rest_until_s=now.boot_s + rest_s))
