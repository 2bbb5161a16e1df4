"""Folding a host's report into the farm: sessions, numbers, and what it says of each attempt.

Owns rules 3 to 5 and the hearing half of 10 to 13 of docs/design.md, section 4. Must not decide
what is wanted next: that is reconcile's.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from coordinator.core import outcomes
from coordinator.core.attempts import Attempt, Event, State, advance
from coordinator.core.farm import Draft, Now
from coordinator.core.jobs import CopyState
from coordinator.core.printers import SUPERSEDED_MAX, Contact, Printer, settled
from moonraker_component.wire import (
    ATTEMPT_ID,
    STARTED_PHASES,
    AttemptReport,
    Link,
    Outcome,
    Phase,
    Report,
    Want,
)

UNSTARTED = (None, Phase.PREPARING, Phase.PREPARED)

NUMBER_BELIEVED_MAX = 2**40
"""No farm gets there, one term per start, one generation per order: a host that observed more
invented it, and following it would leave no number to grow to."""

NEVER_ISSUED = "it has observed numbers that were never issued, and not for the first time"
ANOTHER_MACHINE = "another machine claims to be this printer (a cloned card or a replaced host?)"


def fold(draft: Draft, printer_id: str, report: Report, now: Now) -> None:
    """Take one report. What may not count (unknown printer, dead session, late) changes nothing."""
    printer = draft.printers.get(printer_id)
    if printer is None:
        draft.note(f"report of unknown printer {printer_id} ignored")
        return
    observed = (report.observed_term, report.observed_generation)
    if max(observed) > NUMBER_BELIEVED_MAX:
        draft.note(f"{printer_id} observed {observed}: not believed, its reports are ignored")
        return
    if report.observed_term > draft.reign.term or report.observed_generation > printer.generation:
        # Somebody issued this: another coordinator, or this one before its database was restored.
        # Its term need not be above ours, for every start takes a higher one: a generation never
        # falls, so one that is above what we know of tells as much.
        _note_outranked(draft, printer, report, now)
        return
    if not _is_current(draft, printer, report, now):
        return
    contact = draft.contacts.get(printer_id, Contact())
    if contact.session == report.session and report.sequence <= contact.sequence:
        return
    if contact.session != report.session:
        contact = Contact(session=report.session, since_s=now.boot_s, klipper_s=now.boot_s)
    linked = report.klipper.link is not Link.DISCONNECTED
    contact = replace(
        contact,
        heard_s=now.boot_s,
        klipper_s=now.boot_s if linked else contact.klipper_s,
        sequence=report.sequence,
    )
    draft.put_contact(printer_id, contact)
    _keep(draft, printer_id, report)
    # An older database learns of each: first what frees the printer, last what holds it now. What
    # had to be passed over is echoed all the same, and an ended one would never be told again.
    for told in sorted(report.attempts, key=lambda told: _turn(draft, told)):
        _fold_attempt(draft, printer_id, told, now)
    _forget_preparing(draft, printer_id, report)
    _conclude_lacks(draft, printer_id, report, contact, now)


def _note_outranked(draft: Draft, printer: Printer, report: Report, now: Now) -> None:
    """Believed once per printer and life of the coordinator: a farm that rises places nothing for a
    lease, and one host that invents ever higher numbers would have it rise for ever."""
    observed = (report.observed_term, report.observed_generation)
    draft.note(f"{printer.id} observed {observed}, above what was issued")
    if report.observed_generation > printer.generation:
        printer = replace(printer, generation=report.observed_generation)
    if printer.id not in draft.reign.risen_for:
        draft.outranked = max(draft.outranked, report.observed_term, 1)
        draft.outranked_by.add(printer.id)
    elif not printer.hold:
        printer = replace(printer, hold=NEVER_ISSUED)
        draft.tell(now, "printer_held", printer=printer.id, text=NEVER_ISSUED)
    draft.put_printer(printer)


def _turn(draft: Draft, told: AttemptReport) -> tuple[bool, bool]:
    return told.attempt not in draft.attempts, told.phase is not Phase.ENDED


def _is_current(draft: Draft, printer: Printer, report: Report, now: Now) -> bool:
    """Rule 4: whether this session's reports count, after what the report itself changes."""
    if report.session == printer.session:
        _note_machine(draft, printer, report, now)
        return True
    if printer.clone:
        return False
    if report.session != printer.pending_session:
        raised = printer.generation + 1
        draft.put_printer(
            replace(
                printer,
                generation=raised,
                pending_session=report.session,
                pending_generation=raised,
            )
        )
        draft.tell(now, "session_heard", printer=printer.id, text=report.session)
        return False
    observed = (report.observed_term, report.observed_generation)
    if observed < (draft.reign.term, printer.pending_generation):
        return False
    return _prove(draft, printer, report, now)


def _prove(draft: Draft, printer: Printer, report: Report, now: Now) -> bool:
    """A session has observed the generation raised for it, so it is alive now."""
    hold = ""
    if report.session in printer.superseded:
        hold = "two hosts claim to be this printer: a session that was followed by another is alive"
    elif printer.machine and report.machine and report.machine != printer.machine:
        hold = ANOTHER_MACHINE
    if hold:
        draft.put_printer(replace(printer, hold=hold, clone=True, pending_session=""))
        draft.tell(now, "printer_held", printer=printer.id, text=hold)
        return False
    superseded = printer.superseded
    if printer.session:
        superseded = (*superseded, printer.session)[-SUPERSEDED_MAX:]
    draft.put_printer(
        replace(
            printer,
            session=report.session,
            machine=report.machine or printer.machine,
            pending_session="",
            superseded=superseded,
        )
    )
    draft.tell(now, "session_proved", printer=printer.id, text=report.session)
    return True


def _note_machine(draft: Draft, printer: Printer, report: Report, now: Now) -> None:
    """A session may prove itself before Klipper has named its MCUs: the machine is told later."""
    if not report.machine or report.machine == printer.machine:
        return
    if not printer.machine:
        draft.put_printer(replace(printer, machine=report.machine))
    elif not printer.clone:
        draft.put_printer(replace(printer, hold=ANOTHER_MACHINE, clone=True, pending_session=""))
        draft.tell(now, "printer_held", printer=printer.id, text=ANOTHER_MACHINE)


def _keep(draft: Draft, printer_id: str, report: Report) -> None:
    """Keep the report if it says anything new; numbers alone are not worth a write."""
    printer = draft.printers[printer_id]
    content = replace(report, sequence=0, observed_term=0, observed_generation=0)
    if printer.report != content:
        draft.put_printer(replace(printer, report=content))


def _fold_attempt(draft: Draft, printer_id: str, told: AttemptReport, now: Now) -> None:
    attempt = draft.attempts.get(told.attempt)
    if attempt is None:
        _adopt_unknown(draft, printer_id, told, now)
        return
    if attempt.printer != printer_id:
        draft.note(f"{printer_id} reports {told.attempt}, an attempt of {attempt.printer}: ignored")
        return
    if attempt.copy != told.copy or attempt.job != told.job:
        draft.note(f"{printer_id} reports {told.attempt} with another copy or job: ignored")
        return
    if attempt.state is State.ENDED:
        return
    if told.phase is Phase.ENDED:
        # An end without an outcome tells nothing of how it ended.
        outcome = Outcome.UNKNOWN if told.outcome is Outcome.NONE else told.outcome
        outcomes.end(draft, attempt, outcome, told.cause, told.message, now)
        return
    changed = replace(attempt, phase=told.phase, pause=told.pause, fenced=told.fenced)
    if changed.resume and changed.pause != changed.resume:
        changed = replace(changed, resume="")  # that pause is over
    changed = STARTING_POINTS[attempt.state](draft, changed, now)
    if attempt.phase is Phase.PAUSED and told.phase is Phase.PRINTING and attempt.pause_wanted:
        changed = replace(changed, pause_wanted=False)  # somebody at the printer resumed it
    if changed != attempt:
        draft.put_attempt(changed)
        if changed.phase is not attempt.phase:
            draft.tell(now, f"attempt_{told.phase.value}", changed, text=told.message)


def _shown(draft: Draft, attempt: Attempt, now: Now) -> Attempt:
    """Armed, and the print shows: it has started."""
    if attempt.phase not in STARTED_PHASES:
        return attempt
    draft.tell(now, "attempt_started", attempt)
    shown = replace(
        attempt,
        state=advance(attempt.state, Event.SHOWN),
        started_at=attempt.started_at or now.wall_s,
    )
    return _wanted_after_all(shown)


def _restored_shown(draft: Draft, attempt: Attempt, now: Now) -> Attempt:
    """Assigned here, printing there: this row comes from an older database (rule 13)."""
    if attempt.phase is Phase.STARTING:
        # Somebody armed it: from here on silence proves nothing of it.
        return replace(attempt, state=advance(attempt.state, Event.ARM), restored=True)
    if attempt.phase not in STARTED_PHASES:
        return attempt
    draft.tell(now, "attempt_adopted", attempt, text="it had been armed before the restore")
    kept = replace(attempt, state=State.STARTED, session="", started_at=now.wall_s)
    return _wanted_after_all(kept)


def _wanted_after_all(attempt: Attempt) -> Attempt:
    """A withdrawal that came too late is over: left set, it would starve the fence of the print."""
    if attempt.take_back != Want.WITHDRAW:
        return attempt
    return replace(attempt, take_back="", why_back="")


def _as_it_is(_draft: Draft, attempt: Attempt, _now: Now) -> Attempt:
    return attempt


STARTING_POINTS: dict[State, Callable[[Draft, Attempt, Now], Attempt]] = {
    State.ASSIGNED: _restored_shown,
    State.ARMED: _shown,
    State.STARTED: _as_it_is,
    State.LOST: _as_it_is,  # whether it is adopted depends on its replacements: reconcile decides
}


def _adopt_unknown(draft: Draft, printer_id: str, told: AttemptReport, now: Now) -> None:
    """An attempt that this database has never seen: it was made after the backup (rule 13)."""
    if not ATTEMPT_ID.match(told.attempt):
        draft.note(f"{printer_id} reports attempt {told.attempt[:80]!r}: no id of ours, ignored")
        return
    copy = draft.copies.get(told.copy)
    if copy is None or copy.job != told.job or copy.state is CopyState.DROPPED:
        draft.note(f"{printer_id} reports unknown attempt {told.attempt} of an unknown copy")
        return
    running = told.phase in STARTED_PHASES or told.phase is Phase.STARTING
    ended = told.phase is Phase.ENDED and told.outcome is not Outcome.NOT_STARTED
    if not running and not ended:
        return
    if draft.attempt_on(printer_id) is not None:
        return  # what this database knows of the printer is settled first
    attempt = Attempt(
        id=told.attempt,
        copy=told.copy,
        job=told.job,
        printer=printer_id,
        state=State.STARTED if told.phase in STARTED_PHASES else State.ARMED,
        phase=told.phase,
        pause=told.pause,
        fenced=told.fenced,
        restored=True,
        assigned_at=now.wall_s,
        started_at=now.wall_s,
    )
    draft.put_attempt(attempt)
    draft.tell(now, "attempt_adopted", attempt, text="unknown to this database")
    if ended:
        outcomes.end(draft, attempt, told.outcome, told.cause, told.message, now)


def _forget_preparing(draft: Draft, printer_id: str, report: Report) -> None:
    """What a host once prepared and no longer tells of is not prepared: it is never armed so.

    A host whose database was lost does not say that it forgot. Armed on its dead session's word,
    the attempt would wait for a start that cannot come, and end as unknown.
    """
    attempt = draft.attempt_on(printer_id)
    if attempt is None or attempt.state is not State.ASSIGNED or attempt.phase is None:
        return
    if all(told.attempt != attempt.id for told in report.attempts):
        draft.put_attempt(replace(attempt, phase=None))


def _conclude_lacks(
    draft: Draft, printer_id: str, report: Report, contact: Contact, now: Now
) -> None:
    """Rule 12: a settled session that does not know what it should have ends it as unknown.

    Not while its Klipper is away: the record there may name the attempt, and tell how it ended.
    """
    attempt = draft.attempt_on(printer_id)
    if attempt is None or attempt.state is State.ASSIGNED:
        return
    if report.klipper.link in (Link.DISCONNECTED, Link.STARTUP):
        return
    if not settled(contact, now.boot_s, draft.settings.lease_s):
        return
    told = next((t for t in report.attempts if t.attempt == attempt.id), None)
    phase = told.phase if told is not None else None
    if phase not in UNSTARTED or (phase is not None and attempt.session == report.session):
        return
    outcomes.end(
        draft,
        attempt,
        Outcome.UNKNOWN,
        "host_forgot",
        "the host no longer knows this attempt",
        now,
    )
