"""Everything one host decides from, as one frozen value, and the small moves on it.

Owns `Host`: numbers seen, lease, attempts, the view of Klipper; how an attempt is moved along
its table; what a report says. Pure. What it must not know: why a move is made.

The lease: a host acts only while the newest desired carries an echo of a report that this very
session sent less than lease_s ago. It counts from the sending, so a message that was delayed for
an hour grants nothing.
"""

from __future__ import annotations

from typing import Optional

import msgspec

from . import gate, wire
from .attempt import (
    RUNNING,
    TRANSITIONS,
    Attempt,
    CleanUp,
    Effects,
    Forget,
    IllegalStep,
    Save,
    Say,
    Step,
)
from .gate import View
from .wire import AttemptReport, Link, Order, Outcome, Phase, Report

SENT_MAX = 64
"""How many sendings are remembered for the lease: lease_s holds three, the rest is slack."""

ENDED_KEPT = 32
"""Ended attempts kept after their echo, to be told again to a new term."""


class Host(msgspec.Struct, frozen=True):
    """Everything a host decides from. `started_s`: when this session began.

    `ticked_s`: the last tick. `awake_s`: since when the host has been awake without a gap: what it
    last saw of Klipper before a sleep is old news after it. `met_klipper`: whether this session has
    seen its Klipper ready; before that nobody here knows what the records beside it tell.
    """

    session: str
    started_s: float
    sequence: int = 0
    lease_s: float = 15.0
    term: int = 0
    generation: int = 0
    order: Optional[Order] = None
    lease_until_s: float = 0.0
    applied: tuple[int, int] = (0, 0)
    fed: tuple[str, float] = ("", 0.0)
    sent: tuple[tuple[int, float], ...] = ()
    attempts: tuple[Attempt, ...] = ()
    view: View = View()
    ticked_s: float = 0.0
    awake_s: float = 0.0
    met_klipper: bool = False

    def attempt(self, attempt_id: str) -> Optional[Attempt]:
        for attempt in self.attempts:
            if attempt.id == attempt_id:
                return attempt
        return None

    def leased(self, now_s: float) -> bool:
        """Whether the newest desired may be acted upon now."""
        return now_s < self.lease_until_s

    @property
    def running(self) -> Optional[Attempt]:
        """The attempt that may be moving the printer, if there is one."""
        for attempt in self.attempts:
            if attempt.phase in RUNNING:
                return attempt
        return None


def put(host: Host, attempt: Attempt) -> Host:
    attempts = tuple(attempt if a.id == attempt.id else a for a in host.attempts)
    return msgspec.structs.replace(host, attempts=attempts)


def move(host: Host, attempt: Optional[Attempt], step: Step) -> tuple[Host, Effects]:
    if attempt is None or step not in TRANSITIONS[attempt.phase]:
        raise IllegalStep(f"attempt {attempt and attempt.id}: no {step.value}")
    moved = msgspec.structs.replace(attempt, phase=TRANSITIONS[attempt.phase][step])
    return put(host, moved), (Save(moved), Say())


def end(
    host: Host, attempt: Attempt, step: Step, outcome: Outcome, cause: str, message: str
) -> tuple[Host, Effects]:
    if step not in TRANSITIONS[attempt.phase]:
        raise IllegalStep(f"attempt {attempt.id}: no {step.value} in {attempt.phase.value}")
    if outcome is Outcome.CANCELLED and attempt.wanted_cancel:
        cause = "cancelled"
    ended = msgspec.structs.replace(
        attempt,
        phase=TRANSITIONS[attempt.phase][step],
        outcome=outcome,
        cause=cause,
        message=message.strip()[:500],
        pause="",
        told_sequence=0,
        looking_up=False,
    )
    return put(host, ended), (Save(ended), CleanUp(attempt.id), Say())


def fenced(host: Host, attempt: Attempt) -> bool:
    fence = host.view.fence
    return fence.fired and fence.attempt == attempt.id and not fence.released


def note_echo(host: Host, sequence: int) -> tuple[Host, Effects]:
    """Renew the lease from the sending of the echoed report; mark what the echo acknowledges."""
    sent_s = dict(host.sent).get(sequence)
    if sent_s is None:
        return host, ()
    host = msgspec.structs.replace(
        host, lease_until_s=max(host.lease_until_s, sent_s + host.lease_s)
    )
    attempts = tuple(
        msgspec.structs.replace(a, echoed_term=host.term)
        if a.phase is Phase.ENDED and 0 < a.told_sequence <= sequence
        else a
        for a in host.attempts
    )
    # What the Klipper section still has on disk is kept, or it would be adopted again and again.
    recorded = {record.attempt for record in host.view.records}
    done = [
        a
        for a in attempts
        if a.phase is Phase.ENDED and a.echoed_term == host.term and a.id not in recorded
    ]
    gone = tuple(a.id for a in done[: max(0, len(done) - ENDED_KEPT)])
    if gone:
        attempts = tuple(a for a in attempts if a.id not in gone)
    return msgspec.structs.replace(host, attempts=attempts), (Forget(gone),) if gone else ()


def tell_again(host: Host) -> Host:
    """A new term may come from an older database: tell it every end again."""
    attempts = tuple(
        msgspec.structs.replace(a, told_sequence=0) if a.phase is Phase.ENDED else a
        for a in host.attempts
    )
    return msgspec.structs.replace(host, attempts=attempts)


def _unechoed(host: Host, attempt: Attempt) -> bool:
    return attempt.echoed_term < host.term or not attempt.echoed_term


def make_report(
    host: Host,
    now_s: float,
    profile: wire.Profile,
    machine: str,
    extra: tuple[wire.Reason, ...] = (),
) -> tuple[Host, Report]:
    """The report to be sent now; the sending is remembered, for the lease counts from it.

    `extra`: reasons not to start that Klipper does not know of (disk full, no Klipper section).
    """
    sequence = host.sequence + 1
    attempts = tuple(
        msgspec.structs.replace(a, told_sequence=sequence)
        if a.phase is Phase.ENDED and not a.told_sequence
        else a
        for a in host.attempts
    )
    view = host.view
    host = msgspec.structs.replace(
        host,
        sequence=sequence,
        sent=(*host.sent, (sequence, now_s))[-SENT_MAX:],
        attempts=attempts,
    )
    told = [_report_of(host, a) for a in attempts if a.phase is not Phase.ENDED]
    ended = [_report_of(host, a) for a in attempts if a.phase is Phase.ENDED and _unechoed(host, a)]
    report = Report(
        session=host.session,
        sequence=sequence,
        observed_term=host.term,
        observed_generation=host.generation,
        klipper=wire.Klipper(view.link, view.message, view.print_state, view.path),
        attempts=tuple(told + ended[-wire.ENDED_MAX :]),
        refusals=gate.refusals(view) + _unsettled(host) + extra,
        bed=view.bed,
        profile=profile,
        filament=view.filament,
        machine=machine,
        section=view.section,
        local_print=local_print(host),
    )
    return host, report


def _unsettled(host: Host) -> tuple[wire.Reason, ...]:
    """A start of which nobody knows yet what came of it: nothing else starts meanwhile."""
    running = host.running
    if running is None or running.phase is not Phase.STARTING:
        return ()
    text = f"the start of attempt {running.id} is not settled; a restart of Klipper settles it"
    return (wire.Reason("starting", text),)


def local_print(host: Host) -> str:
    """The path of a print that is not one of this host's unended attempts, or empty."""
    view = host.view
    if view.link is not Link.READY or view.print_state not in ("printing", "paused"):
        return ""
    running = host.running
    return "" if running is not None and running.path == view.path else view.path


def _report_of(host: Host, attempt: Attempt) -> AttemptReport:
    return AttemptReport(
        attempt=attempt.id,
        copy=attempt.order.copy,
        job=attempt.order.job,
        phase=attempt.phase,
        outcome=attempt.outcome,
        cause=attempt.cause,
        message=attempt.message,
        pause=attempt.pause,
        fenced=attempt.phase is Phase.PAUSED and fenced(host, attempt),
    )
