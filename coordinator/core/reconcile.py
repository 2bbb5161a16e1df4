"""One round: bring what is wanted of every printer in line with jobs, reports and time.

Owns the order of the steps and each rule about silence, returns, taking back and arming
(docs/design.md, section 4). Must not know how reports come in or how the
result is stored and published.

    silences -> returns -> withdrawals -> arming -> placing -> numbers
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from coordinator.core import outcomes, printers
from coordinator.core.attempts import Attempt, Event, State, advance
from coordinator.core.desired import link_is_due, order_of
from coordinator.core.farm import TOO_FAR, Draft, Now
from coordinator.core.jobs import CopyState, Job, JobState
from coordinator.core.placing import place
from coordinator.core.printers import Contact
from moonraker_component.wire import FOLDER, STARTED_PHASES, Link, Outcome, Phase, Want

PRINT_STATES = ("printing", "paused")


def reconcile(draft: Draft, now: Now, fresh_ids: Iterator[str]) -> float:
    """Run one round on the draft; returns the CLOCK_BOOTTIME at which time changes something next.

    Without its own beacon the coordinator is deaf: it concludes nothing and places nothing, but
    what people asked for is still derived, to be published when the connection is back.
    """
    hearing = draft.reign.connected_s is not None and not draft.outranked
    draft.begin_round(now)
    # Links end by the wall clock, which may jump: now and then everything is looked at.
    wake_s = now.boot_s + draft.settings.lease_s
    if draft.outranked:
        _doubt(draft, now)
    if hearing:
        wake_s = min(wake_s, _silences(draft, now))
    _returns(draft, now)
    _withdrawals(draft, now)
    if hearing:
        _arm(draft, now)
        wake_s = min(wake_s, place(draft, now, fresh_ids))
    _number(draft, now)
    return draft.end_round(wake_s) if hearing else TOO_FAR


# ---- a restored database (rule 13) -----------------------------------------------------------


def _doubt(draft: Draft, now: Now) -> None:
    """This database is older than the farm: what it calls assigned may have been armed since.

    As armed ones they wait for their host, for their grace, or for a person, as all that may print.
    """
    for attempt in draft.live_attempts():
        if attempt.state is State.ASSIGNED:
            armed = _as_armed(attempt)
            draft.put_attempt(armed)
            _let_go(draft, armed, Want.WITHDRAW, "from a restored database", now)


def _as_armed(attempt: Attempt) -> Attempt:
    """What is called assigned here may have been armed in a newer database than this one."""
    return replace(attempt, state=advance(attempt.state, Event.ARM), restored=True)


# ---- silence (rules 8 and 9) ---------------------------------------------------------------


def _silences(draft: Draft, now: Now) -> float:
    """Take back at once what was only assigned; what may have started is lost after its grace.

    Returns when the next one of these, or one that is not prepared in time, is due.
    """
    wake_s = TOO_FAR
    for attempt in draft.attempts_in_question():
        prepare_ends_s = _prepare_ends_s(draft, attempt)
        if now.boot_s < prepare_ends_s:
            wake_s = min(wake_s, prepare_ends_s)
        limit_s = _limit_s(draft, attempt)
        if limit_s is None:
            continue
        ends_s = _heard_s(draft, attempt) + limit_s
        if now.boot_s < ends_s:
            wake_s = min(wake_s, ends_s)
        elif attempt.state is State.ASSIGNED and attempt.printer in draft.contacts:
            text = f"silent for more than {limit_s:.0f} s before it was told to start"
            outcomes.end(draft, attempt, Outcome.NOT_STARTED, "host_silent", text, now)
        else:
            _lose(draft, attempt, limit_s, now)
    return wake_s


def _limit_s(draft: Draft, attempt: Attempt) -> float | None:
    """Silence that this attempt stands, in seconds; None: for ever.

    A host that has not been heard in this reign may print what is called assigned here, for this
    database may be older than the farm: until it has spoken, its silence proves nothing.
    """
    if attempt.state is State.ASSIGNED and attempt.printer in draft.contacts:
        return draft.settings.lease_s
    if attempt.state is State.LOST:
        return None
    return draft.jobs[attempt.job].policy.offline_grace_s


def _heard_s(draft: Draft, attempt: Attempt) -> float:
    """Since when silence is counted: the last report, but never before our own connection.

    For what prints, a report that has no connection to Klipper tells nothing of the print.
    """
    contact = draft.contacts.get(attempt.printer, Contact())
    heard_s = contact.heard_s if attempt.state is State.ASSIGNED else contact.klipper_s
    return max(heard_s, draft.reign.connected_s or 0.0)


def _lose(draft: Draft, attempt: Attempt, grace_s: float, now: Now) -> None:
    if attempt.state is State.ASSIGNED:
        attempt = _as_armed(attempt)
    lost = replace(attempt, state=advance(attempt.state, Event.SILENT), lost_at=now.wall_s)
    draft.put_attempt(lost)
    copy = draft.copies[attempt.copy]
    if copy.state is CopyState.OPEN:
        draft.put_copy(replace(copy, front_at=copy.front_at or now.wall_s))
    draft.tell(now, "attempt_lost", lost, text=f"silent for {grace_s:.0f} s; its copy moves")


# ---- return (rule 10) ----------------------------------------------------------------------


def _returns(draft: Draft, now: Now) -> None:
    """Copies with more than one live attempt, or with a lost one that prints: keep one."""
    for copy_id in _contested(draft):
        copy = draft.copies[copy_id]
        tries = [draft.attempts[a] for a in draft.live_of.get(copy_id, ())]
        if copy.state is CopyState.DONE:
            for attempt in tries:
                _let_go(draft, attempt, Want.CANCEL, "another attempt completed this copy", now)
            continue
        kept_back = [a for a in tries if a.take_back != Want.CANCEL]
        back = [a for a in kept_back if a.state is State.LOST and _prints(draft, a, now)]
        running = [a for a in kept_back if a.state is State.STARTED]
        rivals = [a for a in tries if a.state in (State.ASSIGNED, State.ARMED)]
        # Without a lost one, two of a copy come from a restored database: one was adopted.
        if back or len(running) > 1 or (running and rivals):
            _settle_return(draft, tries, back, now)


def _contested(draft: Draft) -> list[str]:
    """Copies for which `_returns` has something to decide, each once, in a fixed order."""
    found: dict[str, None] = {}
    for attempt in draft.attempts_in_question():
        done = draft.copies[attempt.copy].state is CopyState.DONE
        if done or attempt.state is State.LOST or len(draft.live_of[attempt.copy]) > 1:
            found[attempt.copy] = None
    return list(found)


def _settle_return(draft: Draft, tries: list[Attempt], back: list[Attempt], now: Now) -> None:
    """A copy prints already: take back what has not started, then keep one of what prints."""
    for attempt in tries:
        if attempt.state is State.ASSIGNED or (
            attempt.state is State.ARMED and attempt.phase not in STARTED_PHASES
        ):
            _let_go(draft, attempt, Want.WITHDRAW, "another attempt of this copy prints", now)
    tries = [draft.attempts[a.id] for a in tries]
    if any(a.state in (State.ARMED, State.ASSIGNED) for a in tries):
        return  # an armed replacement may start at any moment: its host answers first
    running = [a for a in tries if a.state is State.STARTED and a.take_back != Want.CANCEL]
    if running and not all(_prints(draft, a, now) for a in running):
        return  # whoever is silent may be the one that prints best: decide when all are heard
    kept = min([*running, *back], key=lambda a: _preference(draft, a))
    for attempt in [*running, *back]:
        if attempt.id != kept.id:
            _let_go(draft, attempt, Want.CANCEL, "another attempt of this copy was kept", now)
    if kept.state is State.LOST:
        adopted = replace(
            kept,
            state=advance(kept.state, Event.ADOPT),
            started_at=kept.started_at or now.wall_s,
            take_back="",
            why_back="",
            lost_at=None,
        )
        draft.put_attempt(adopted)
        draft.tell(now, "attempt_adopted", adopted, text="it came back and prints")


def _preference(draft: Draft, attempt: Attempt) -> tuple[bool, float, str]:
    """Printing before paused, then least time left; a fenced pause is a pause."""
    contact = draft.contacts.get(attempt.printer, Contact())
    left_s = contact.left_s if contact.left_s is not None else TOO_FAR
    return (attempt.phase is Phase.PAUSED, left_s, attempt.id)


def _prints(draft: Draft, attempt: Attempt, now: Now) -> bool:
    """Heard within a lease, and Klipper shows this very print.

    The phase alone is not enough: a host that boots after a power cut tells what its rows say
    until Klipper is up, and a living print would be cancelled for a dead one.
    """
    contact = draft.contacts.get(attempt.printer, Contact())
    report = draft.printers[attempt.printer].report
    if report is None or now.boot_s - contact.heard_s > draft.settings.lease_s:
        return False
    shown = report.klipper
    return (
        attempt.phase in STARTED_PHASES
        and shown.link is Link.READY
        and shown.print_state in PRINT_STATES
        and shown.filename.startswith(f"{FOLDER}/{attempt.id}/")
    )


# ---- taking back (rule 8) ------------------------------------------------------------------


def _withdrawals(draft: Draft, now: Now) -> None:
    """Whatever is no longer wanted where it is: its job ended, its printer refuses or is held."""
    for attempt in draft.attempts_in_question():
        job = draft.jobs[attempt.job]
        if job.state is JobState.CANCELLED:
            _let_go(draft, attempt, Want.CANCEL, "the job was cancelled", now)
        elif attempt.state in (State.ASSIGNED, State.ARMED):
            why = _unwanted(draft, attempt, job, now)
            if why:
                _let_go(draft, attempt, Want.WITHDRAW, why, now)
        elif attempt.state is State.STARTED:
            _lift_fence(draft, attempt, now)


def _unwanted(draft: Draft, attempt: Attempt, job: Job, now: Now) -> str:
    """Why an attempt that has not started should not; empty if it should."""
    printer = draft.printers[attempt.printer]
    if job.state is JobState.HELD:
        return f"the job is held: {job.reason}"
    if draft.copies[attempt.copy].state is not CopyState.OPEN:
        return "the copy is no longer wanted"
    if attempt.phase in STARTED_PHASES or attempt.phase is Phase.STARTING:
        return ""
    if printer.hold or printer.maintenance:
        return printer.hold or "in maintenance"
    if now.boot_s >= _prepare_ends_s(draft, attempt):
        return f"not prepared within {draft.settings.prepare_s:.0f} s"
    report = printer.report
    if attempt.phase is not Phase.PREPARED or report is None or not report.refusals:
        return ""
    return "; ".join(reason.text or reason.code for reason in report.refusals)


def _prepare_ends_s(draft: Draft, attempt: Attempt) -> float:
    """When an assigned attempt has taken too long; never for one that is further.

    Counted in this reign alone: before its host was heard, it may print what this database,
    restored from a backup, still calls assigned.
    """
    contact = draft.contacts.get(attempt.printer)
    if attempt.state is not State.ASSIGNED or contact is None:
        return TOO_FAR
    return max(contact.assigned_s, contact.since_s) + draft.settings.prepare_s


def _lift_fence(draft: Draft, attempt: Attempt, now: Now) -> None:
    """A fence paused it while it was silent; nobody else has the copy: let it go on (rule 11)."""
    if not attempt.fenced or not attempt.pause or attempt.resume == attempt.pause:
        return
    if draft.alone(attempt):
        draft.put_attempt(replace(attempt, resume=attempt.pause, pause_wanted=False))
        draft.tell(now, "fence_lifted", attempt, text=attempt.pause)


def _let_go(draft: Draft, attempt: Attempt, want: Want, why: str, now: Now) -> None:
    """Assigned: at once. From armed on the host is asked, and only its answer settles it.

    One whose host has not been heard in this reign is asked for as well: see `_limit_s`.
    """
    if attempt.state is State.ASSIGNED:
        if attempt.printer in draft.contacts:
            outcomes.end(draft, attempt, Outcome.NOT_STARTED, "withdrawn", why, now)
            return
        attempt = _as_armed(attempt)
    if attempt.take_back == Want.CANCEL or attempt.take_back == want:
        return
    asked = replace(attempt, take_back=want.value, why_back=why)
    draft.put_attempt(asked)
    draft.tell(now, f"attempt_{want.value}_asked", asked, text=why)


# ---- arming (rule 7) -----------------------------------------------------------------------


def _arm(draft: Draft, now: Now) -> None:
    """Prepared, heard, nothing against it: tell it to start, bound to the session that said so."""
    for attempt in draft.attempts_in_question():
        if attempt.state is not State.ASSIGNED or attempt.phase is not Phase.PREPARED:
            continue
        printer = draft.printers[attempt.printer]
        if printers.refusals(
            printer, draft.contacts.get(printer.id), now.boot_s, draft.settings.lease_s
        ):
            continue
        armed = replace(
            attempt,
            state=advance(attempt.state, Event.ARM),
            session=printer.session,
            armed_at=now.wall_s,
        )
        draft.put_attempt(armed)
        draft.tell(now, "attempt_armed", armed)


# ---- numbers (rule 1) ----------------------------------------------------------------------


def _number(draft: Draft, now: Now) -> None:
    """A desired that differs from the issued one gets the next generation of its printer."""
    touched = {draft.attempts[a].printer for a in draft.attempts.changed}
    touched |= {a.printer for a in draft.attempts_in_question() if link_is_due(draft, a, now)}
    for printer_id in sorted(touched):
        printer = draft.printers[printer_id]
        wanted = order_of(draft, draft.attempt_on(printer_id), now)
        if wanted != printer.issued:
            draft.put_printer(replace(printer, generation=printer.generation + 1, issued=wanted))
