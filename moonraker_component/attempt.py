"""The life of attempts on one host, as a table and the pure functions that walk it.

Rule 1: everything that decides what a host does about an attempt is in this file.
Rule 2: this file does no I/O, reads no clock and draws no random number: time comes in as
`now_s` (CLOCK_BOOTTIME of the host, which counts suspend), effects go out as values.

    host, effects = on_desired(host, desired, now_s)      the coordinator spoke
    host, effects = on_view(host, view, now_s)            Klipper changed
    host, effects = on_fetched / on_asked / on_history    an effect was carried out
    host, effects = on_tick(host, now_s)                  time went by
    host, report = make_report(host, now_s, ...)          just before it is sent

Effects are carried out in the order given; `Save` before everything that follows it. When a
`Save` fails, the effects behind it are dropped and `on_save_failed` is called.

The lease: a host acts only while the newest desired carries an echo of a report that this very
session sent less than lease_s ago. It counts from the sending, so a message that was delayed for
an hour grants nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import Optional, Union

import msgspec

from . import gate, wire
from .gate import View
from .wire import AttemptReport, Desired, Link, Order, Outcome, Phase, Report, Want

SENT_MAX = 64
"""How many sendings are remembered for the lease: lease_s holds three, the rest is slack."""

ENDED_KEPT = 32
"""Ended attempts kept after their echo, to be told again to a new term."""

START_WATCH_S = 10.0
"""The start watchdog looks this long after the deadline: Klipper's own refusal comes first."""

CANCEL_AGAIN_S = 60.0
"""A cancel that did not end the print is asked for again: it names the attempt, so it may be."""

SETTLE_LEASES = 1.5
"""Leases from the start of a session before a start without a print is called unknown."""


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


Effect = Union[Fetch, Save, Forget, Start, Pause, Resume, Cancel, Feed, LookUp, CleanUp, Say]
Effects = tuple[Effect, ...]


class Host(msgspec.Struct, frozen=True):
    """Everything a host decides from. `started_s`: when this session began."""

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


def new_session(
    session: str, rows: tuple[Attempt, ...], now_s: float, lease_s: float = 15.0
) -> tuple[Host, Effects]:
    """A component starts: what was only prepared ends as not started, what may print stays."""
    host = Host(session=session, started_s=now_s, lease_s=lease_s)
    effects: Effects = ()
    for row in rows:
        row = msgspec.structs.replace(
            row, told_sequence=0, echoed_term=0, boot=0, cancelled_s=0.0, looking_up=False
        )
        host = msgspec.structs.replace(host, attempts=(*host.attempts, row))
        if row.phase in UNSTARTED:
            host, more = _end(
                host,
                row,
                Step.NEW_SESSION,
                Outcome.NOT_STARTED,
                "restarted",
                "the component restarted before the start",
            )
            effects += more
    return host, effects


def on_desired(
    host: Host, desired: Desired, now_s: float, retained: bool = False
) -> tuple[Host, Effects]:
    """The coordinator spoke. Older numbers change nothing, a retained copy grants no lease."""
    number = (desired.term, desired.generation)
    if number < (host.term, host.generation):
        return host, ()
    effects: Effects = ()
    if number > (host.term, host.generation):
        if desired.term > host.term:
            host = _tell_again(host)
        host = msgspec.structs.replace(
            host,
            term=desired.term,
            generation=desired.generation,
            order=desired.order,
            lease_s=desired.lease_s,
            lease_until_s=0.0,
        )
        effects += (Say(),)
    echo = desired.echo
    if echo is not None and echo.session == host.session and not retained:
        host, more = _echoed(host, echo.sequence)
        effects += more
    host, more = _act(host, now_s)
    return host, effects + more


def on_view(host: Host, view: View, now_s: float) -> tuple[Host, Effects]:
    """Klipper changed, or was asked again."""
    told = _told(host)
    host = msgspec.structs.replace(host, view=view)
    host, effects = _adopt(host)
    host, more = _follow(host, now_s)
    effects += more
    host, more = _act(host, now_s)
    effects += more
    if _told(host) != told and Say() not in effects:
        effects += (Say(),)
    return host, effects


def on_tick(host: Host, now_s: float) -> tuple[Host, Effects]:
    """Time went by: watchdogs look, withheld acts are tried again."""
    host, effects = _follow(host, now_s)
    host, more = _act(host, now_s)
    return host, effects + more


def on_fetched(
    host: Host, attempt_id: str, cause: str, message: str, now_s: float
) -> tuple[Host, Effects]:
    """The download ended; an empty `cause` means that the verified file is in place."""
    attempt = host.attempt(attempt_id)
    if attempt is None or attempt.phase is not Phase.PREPARING:
        return host, (CleanUp(attempt_id),)
    if cause:
        return _end(host, attempt, Step.FETCH_FAILED, Outcome.NOT_STARTED, cause, message)
    host, effects = _move(host, attempt, Step.FETCHED)
    host, more = _act(host, now_s)
    return host, effects + more


def on_asked(
    host: Host, attempt_id: str, refused: str, message: str, now_s: float
) -> tuple[Host, Effects]:
    """Klipper answered the start. `refused`: the code of a refusal, or empty for "started".

    Only a refusal that proves that nothing started may be told as one: the section's own, or,
    without the section, an error after which print_stats was asked again and does not name the
    path. An answer that did not come proves nothing, is not told, and the watchdog settles it.
    """
    attempt = host.attempt(attempt_id)
    if attempt is None or attempt.phase is not Phase.STARTING:
        return host, ()
    if refused:
        return _end(host, attempt, Step.REFUSED, Outcome.NOT_STARTED, refused, message)
    # "Started" moves nothing: the view that shows the print does, and may still be on its way.
    return _follow(host, now_s)


def on_save_failed(host: Host, attempt_id: str, message: str) -> tuple[Host, Effects]:
    """The row could not be written: what has not been asked of Klipper is given up."""
    attempt = host.attempt(attempt_id)
    if attempt is None or attempt.phase not in (Phase.PREPARING, Phase.PREPARED, Phase.STARTING):
        return host, ()
    if attempt.phase is Phase.STARTING and attempt.shown:
        return host, ()
    step = Step.REFUSED if attempt.phase is Phase.STARTING else Step.TAKEN_BACK
    ended = msgspec.structs.replace(
        attempt,
        phase=TRANSITIONS[attempt.phase][step],
        outcome=Outcome.NOT_STARTED,
        cause="not_saved",
        message=message,
        told_sequence=0,
    )
    # No Save here: the disk has just refused one. The start was never asked for, and a row that
    # still says "preparing" or "prepared" ends as not started in the next session as well.
    return _put(host, ended), (CleanUp(attempt.id), Say())


def on_history(host: Host, attempt_id: str, status: str, now_s: float) -> tuple[Host, Effects]:
    """Moonraker's history of this path: its status, or empty when it has none."""
    attempt = host.attempt(attempt_id)
    if attempt is None or attempt.phase not in RUNNING:
        return host, ()
    outcome, cause = HISTORY_OUTCOMES.get(status, (Outcome.UNKNOWN, "vanished"))
    if outcome is Outcome.UNKNOWN and attempt.shown and 0 < attempt.boot < host.view.boot:
        outcome, cause = Outcome.FAILED, "klipper_restarted"  # this session saw both lives
    message = "Moonraker's history says %s" % (status or "nothing of this print")
    return _end(host, attempt, Step.VANISHED, outcome, cause, message)


HISTORY_OUTCOMES: dict[str, tuple[Outcome, str]] = {
    "completed": (Outcome.COMPLETE, ""),
    "cancelled": (Outcome.CANCELLED, "cancelled_at_printer"),
    "error": (Outcome.FAILED, "klipper_error"),
    "klippy_shutdown": (Outcome.FAILED, "klipper_shutdown"),
    "klippy_disconnect": (Outcome.FAILED, "klipper_restarted"),
    "interrupted": (Outcome.FAILED, "klipper_restarted"),
}
"""Statuses of Moonraker's job_history; server_exit and in_progress say nothing of the end."""

RECORD_OUTCOMES: dict[str, tuple[Outcome, str]] = {
    "complete": (Outcome.COMPLETE, ""),
    "cancelled": (Outcome.CANCELLED, "cancelled_at_printer"),
    "error": (Outcome.FAILED, "klipper_error"),
    "interrupted": (Outcome.FAILED, "klipper_restarted"),
}
"""Outcomes that the Klipper section writes on disk."""

PRINT_OUTCOMES: dict[str, tuple[Outcome, str]] = {
    "complete": (Outcome.COMPLETE, ""),
    "cancelled": (Outcome.CANCELLED, "cancelled_at_printer"),
    "error": (Outcome.FAILED, "klipper_error"),
}
"""print_stats.state values that end a print."""


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
        refusals=gate.refusals(view) + extra,
        bed=view.bed,
        profile=profile,
        filament=view.filament,
        machine=machine,
        section=view.section,
        local_print=local_print(host),
    )
    return host, report


def local_print(host: Host) -> str:
    """The path of a print that is not one of this host's unended attempts, or empty."""
    view = host.view
    if view.link is not Link.READY or view.print_state not in ("printing", "paused"):
        return ""
    running = host.running
    return "" if running is not None and running.path == view.path else view.path


# ---- acting on what is wanted --------------------------------------------------------------


def _act(host: Host, now_s: float) -> tuple[Host, Effects]:
    """Bring what this host does closer to what the newest desired wants, under its lease only."""
    if not host.leased(now_s):
        return host, ()
    host, effects = _drop_unnamed(host)
    order = host.order
    if order is None:
        return host, effects
    attempt = host.attempt(order.attempt)
    if attempt is None:
        if order.want is not Want.PREPARE:
            return host, effects
        host, more = _prepare(host, order)
    elif attempt.phase is Phase.ENDED:
        return host, effects
    elif order.want is Want.START:
        host, more = _start(host, attempt, order, now_s)
    elif order.want in (Want.WITHDRAW, Want.CANCEL):
        host, more = _take_back(host, attempt, order, now_s)
    elif order.want in (Want.RUN, Want.PAUSE):
        host, more = _steer(host, attempt, order)
    else:
        more = ()
    host, feed = _feed(host)
    return host, effects + more + feed


def _prepare(host: Host, order: Order) -> tuple[Host, Effects]:
    attempt = Attempt(order=order)
    host = msgspec.structs.replace(host, attempts=(*host.attempts, attempt))
    return host, (Save(attempt), Fetch(order), Say())


def _start(host: Host, attempt: Attempt, order: Order, now_s: float) -> tuple[Host, Effects]:
    """The one place where a print begins: own session, prepared, lease live, gate open."""
    if attempt.phase is not Phase.PREPARED or order.session != host.session:
        return host, ()
    if host.running is not None or gate.refusals(host.view):
        return host, ()
    starting = msgspec.structs.replace(
        attempt,
        order=order,
        phase=TRANSITIONS[attempt.phase][Step.ASKED],
        deadline_s=host.lease_until_s,
        boot=host.view.boot,
    )
    start = Start(
        attempt=attempt.id,
        copy=order.copy,
        job=order.job,
        path=attempt.path,
        deadline_s=host.lease_until_s,
        bed_token=host.view.bed.token,
        fence_s=order.fence_s,
        fence_until_s=_fence_until(host, order),
    )
    return _put(host, starting), (Save(starting), start, Say())


def _take_back(host: Host, attempt: Attempt, order: Order, now_s: float) -> tuple[Host, Effects]:
    if attempt.phase in UNSTARTED:
        cause = "withdrawn" if order.want is Want.WITHDRAW else "cancelled"
        return _end(
            host,
            attempt,
            Step.TAKEN_BACK,
            Outcome.NOT_STARTED,
            cause,
            "taken back before the start",
        )
    if order.want is Want.WITHDRAW or attempt.phase is Phase.STARTING:
        return host, ()  # only what Klipper says settles a start; a running print is not withdrawn
    if attempt.cancelled_s and now_s - attempt.cancelled_s < CANCEL_AGAIN_S:
        return host, ()
    if host.view.link is not Link.READY or host.view.path != attempt.path:
        return host, ()
    asked = msgspec.structs.replace(attempt, cancelled_s=now_s, wanted_cancel=True)
    return _put(host, asked), (Save(asked), Cancel(attempt.id, attempt.path))


def _steer(host: Host, attempt: Attempt, order: Order) -> tuple[Host, Effects]:
    """Pause and resume, once per generation; a resume only of the pause that it names."""
    number = (host.term, host.generation)
    if host.applied == number or attempt.phase not in (Phase.PRINTING, Phase.PAUSED):
        return host, ()
    host = msgspec.structs.replace(host, applied=number)
    if order.want is Want.PAUSE and attempt.phase is Phase.PRINTING:
        return host, (Pause(attempt.id),)
    if order.want is Want.RUN and attempt.phase is Phase.PAUSED and order.resume == attempt.pause:
        return host, (Resume(attempt.id, attempt.pause if _fenced(host, attempt) else ""),)
    return host, ()


def _drop_unnamed(host: Host) -> tuple[Host, Effects]:
    """What is not started and no longer named can never start: end it, and free its disk."""
    named = host.order.attempt if host.order is not None else ""
    effects: Effects = ()
    for attempt in host.attempts:
        if attempt.phase in UNSTARTED and attempt.id != named:
            host, more = _end(
                host,
                attempt,
                Step.TAKEN_BACK,
                Outcome.NOT_STARTED,
                "superseded",
                "the coordinator no longer names it",
            )
            effects += more
    return host, effects


def _feed(host: Host) -> tuple[Host, Effects]:
    """The fence lives on echoes while the print is wanted; withdraw and cancel feed nothing."""
    order = host.order
    if order is None or not order.fence_s or order.want not in (Want.START, Want.RUN, Want.PAUSE):
        return host, ()
    attempt = host.attempt(order.attempt)
    if attempt is None or attempt.phase not in RUNNING or not host.view.section:
        return host, ()
    fed = (attempt.id, _fence_until(host, order))
    if fed <= host.fed and fed[0] == host.fed[0]:
        return host, ()
    return msgspec.structs.replace(host, fed=fed), (Feed(*fed),)


def _fence_until(host: Host, order: Order) -> float:
    """Sending of the echoed report + fence_s; the lease holds the sending, lease_s later."""
    return host.lease_until_s - host.lease_s + order.fence_s if order.fence_s else 0.0


# ---- following what Klipper does -----------------------------------------------------------


def _follow(host: Host, now_s: float) -> tuple[Host, Effects]:
    """Bring the running attempt's phase up to what Klipper shows."""
    attempt = host.running
    if attempt is None:
        return host, ()
    view = host.view
    if view.link in (Link.DISCONNECTED, Link.STARTUP):
        return host, ()  # nobody can say anything now
    record = view.record_of(attempt.id)
    if record is not None and record.state == "ended":
        outcome, cause = RECORD_OUTCOMES.get(record.outcome, (Outcome.UNKNOWN, "record"))
        if cause == "klipper_restarted" and view.link is not Link.READY:
            cause = "klipper_shutdown"
        return _end(host, attempt, Step.FINISHED, outcome, cause, record.reason or view.message)
    if view.link is not Link.READY:
        return _halted(host, attempt, record is not None, now_s)
    if view.path == attempt.path and _proves(attempt, record, view):
        return _shown(host, attempt)
    if attempt.phase is Phase.STARTING:
        return _watch_start(host, attempt, record is not None, now_s)
    return _vanished(host, attempt)


def _adopt(host: Host) -> tuple[Host, Effects]:
    """Records of the Klipper section without a row here: the host's database was lost.

    The record names attempt, copy and job, so the host can answer for the print all the same.
    """
    effects: Effects = ()
    if host.view.link is not Link.READY:
        return host, effects
    for record in host.view.records:
        name = record.filename.rpartition("/")[2]
        known = host.attempt(record.attempt) is not None
        if known or not record.copy or record.filename != wire.host_path(record.attempt, name):
            continue
        file = wire.FileRef(name=name, sha256="", size_bytes=0)
        order = Order(record.attempt, record.copy, record.job, Want.RUN, file)
        attempt = Attempt(order=order, phase=Phase.STARTING)
        host = msgspec.structs.replace(host, attempts=(*host.attempts, attempt))
        if record.state == "ended":
            outcome, cause = RECORD_OUTCOMES.get(record.outcome, (Outcome.UNKNOWN, "record"))
            host, more = _end(host, attempt, Step.FINISHED, outcome, cause, record.reason)
        else:
            more = (Save(attempt), Say())
        effects += more
    return host, effects


def _proves(attempt: Attempt, record: Optional[gate.Record], view: View) -> bool:
    """print_stats names the path: is that this attempt's own start, and not a person's later one?

    With the section its record decides. Without it the row that says "starting" does, as long as
    the print has not been seen to end.
    """
    return record is not None if view.section else attempt.phase in RUNNING


def _shown(host: Host, attempt: Attempt) -> tuple[Host, Effects]:
    view = host.view
    if view.print_state in ("printing", "paused") and attempt.boot != view.boot:
        attempt = msgspec.structs.replace(attempt, boot=view.boot)
        host = _put(host, attempt)
    if view.print_state == "printing":
        if attempt.phase is Phase.PRINTING:
            return host, ()
        step = Step.RESUMED if attempt.phase is Phase.PAUSED else Step.SHOWN
        shown = msgspec.structs.replace(attempt, shown=True, pause="")
        return _move(_put(host, shown), shown, step)
    if view.print_state == "paused":
        return _paused(host, attempt)
    if view.print_state in PRINT_OUTCOMES:
        outcome, cause = PRINT_OUTCOMES[view.print_state]
        return _end(host, attempt, Step.FINISHED, outcome, cause, view.message)
    return host, ()  # standby: loaded, the first line has not run yet


def _paused(host: Host, attempt: Attempt) -> tuple[Host, Effects]:
    """Every pause gets a name; a fence that fires during a pause takes the pause over."""
    fenced = _fenced(host, attempt)
    if attempt.phase is Phase.PAUSED:
        if not fenced or attempt.pause == host.view.fence.pause:
            return host, ()
        renamed = msgspec.structs.replace(attempt, pause=host.view.fence.pause)
        return _put(host, renamed), (Save(renamed), Say())
    number = attempt.pauses + 1
    name = host.view.fence.pause if fenced else "%s-%d" % (host.session[:8], number)
    paused = msgspec.structs.replace(attempt, shown=True, pause=name, pauses=number)
    return _move(_put(host, paused), paused, Step.PAUSED)


def _fenced(host: Host, attempt: Attempt) -> bool:
    fence = host.view.fence
    return fence.fired and fence.attempt == attempt.id and not fence.released


def _halted(host: Host, attempt: Attempt, recorded: bool, now_s: float) -> tuple[Host, Effects]:
    """Klipper is in shutdown or error: nothing moves and nothing heats, the print is over."""
    view = host.view
    if attempt.phase is Phase.STARTING and not recorded and not attempt.shown:
        if view.section and now_s < attempt.deadline_s + START_WATCH_S:
            return host, ()
        outcome = Outcome.NOT_STARTED if view.section else Outcome.UNKNOWN
        return _end(host, attempt, Step.NOT_SEEN, outcome, "klipper_shutdown", view.message)
    return _end(host, attempt, Step.FINISHED, Outcome.FAILED, "klipper_shutdown", view.message)


def _watch_start(
    host: Host, attempt: Attempt, recorded: bool, now_s: float
) -> tuple[Host, Effects]:
    """A start was asked for and no print shows. Klipper refuses by itself after the deadline."""
    watch_s = (
        max(
            attempt.deadline_s if attempt.boot else 0.0,
            host.started_s + SETTLE_LEASES * host.lease_s if not attempt.boot else 0.0,
        )
        + START_WATCH_S
    )
    if now_s < watch_s:
        return host, ()
    if host.view.section and not recorded:
        # The section writes its record before the first line runs, and refuses after the
        # deadline: no record now means that it never started and never will.
        return _end(
            host,
            attempt,
            Step.NOT_SEEN,
            Outcome.NOT_STARTED,
            "start_not_seen",
            "Klipper has no record of this start, and its deadline has passed",
        )
    if host.view.section or attempt.boot == 0 or host.view.boot != attempt.boot:
        return _vanished(host, attempt)
    return host, ()  # without the section only Klipper's answer or its restart settles a start


def _vanished(host: Host, attempt: Attempt) -> tuple[Host, Effects]:
    """Klipper is ready and shows something else: it restarted, or printed something since."""
    if attempt.looking_up:
        return host, ()
    asked = msgspec.structs.replace(attempt, looking_up=True)
    return _put(host, asked), (LookUp(attempt.id, attempt.path),)


# ---- small moves ---------------------------------------------------------------------------


def _echoed(host: Host, sequence: int) -> tuple[Host, Effects]:
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
    done = [a for a in attempts if a.phase is Phase.ENDED and a.echoed_term == host.term]
    gone = tuple(a.id for a in done[: max(0, len(done) - ENDED_KEPT)])
    if gone:
        attempts = tuple(a for a in attempts if a.id not in gone)
    return msgspec.structs.replace(host, attempts=attempts), (Forget(gone),) if gone else ()


def _tell_again(host: Host) -> Host:
    """A new term may come from an older database: tell it every end again."""
    attempts = tuple(
        msgspec.structs.replace(a, told_sequence=0) if a.phase is Phase.ENDED else a
        for a in host.attempts
    )
    return msgspec.structs.replace(host, attempts=attempts)


def _unechoed(host: Host, attempt: Attempt) -> bool:
    return attempt.echoed_term < host.term or not attempt.echoed_term


def _move(host: Host, attempt: Optional[Attempt], step: Step) -> tuple[Host, Effects]:
    if attempt is None or step not in TRANSITIONS[attempt.phase]:
        raise IllegalStep(f"attempt {attempt and attempt.id}: no {step.value}")
    moved = msgspec.structs.replace(attempt, phase=TRANSITIONS[attempt.phase][step])
    return _put(host, moved), (Save(moved), Say())


def _end(
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
    return _put(host, ended), (Save(ended), CleanUp(attempt.id), Say())


def _put(host: Host, attempt: Attempt) -> Host:
    attempts = tuple(attempt if a.id == attempt.id else a for a in host.attempts)
    return msgspec.structs.replace(host, attempts=attempts)


def _told(host: Host) -> tuple[object, ...]:
    """What a report would say of Klipper: when it changes, a report is due."""
    view = host.view
    return (
        view.link,
        view.message,
        view.print_state,
        view.path,
        view.section,
        view.bed,
        view.filament,
        gate.refusals(view),
        _fenced_now(host),
    )


def _fenced_now(host: Host) -> tuple[str, bool, str]:
    return (host.view.fence.pause, host.view.fence.fired, host.view.fence.released)


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
        fenced=attempt.phase is Phase.PAUSED and _fenced(host, attempt),
    )
