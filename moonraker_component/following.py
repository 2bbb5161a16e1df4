"""Following what Klipper does: how a running attempt moves on, and how it ends.

Owns what each state of print_stats, each record of the Klipper section and each status of
Moonraker's history means for an attempt. Pure. What it must not know: what the coordinator
wants.
"""

from __future__ import annotations

from typing import Optional

import msgspec

from . import gate, wire
from .attempt import RUNNING, Attempt, Effects, LookUp, Save, Say, Step
from .gate import View
from .host import Host, end, fenced, move, put
from .wire import Link, Order, Outcome, Phase, Want

START_WATCH_S = 10.0
"""The start watchdog looks this long after the deadline: Klipper's own refusal comes first."""

SETTLE_LEASES = 1.5
"""Leases from the start of a session before a start without a print is called unknown."""

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


def follow(host: Host, now_s: float) -> tuple[Host, Effects]:
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
        if cause.startswith("klipper_") and view.link is not Link.READY:
            cause = "klipper_shutdown"
        return end(host, attempt, Step.FINISHED, outcome, cause, record.reason or view.message)
    if view.link is not Link.READY:
        return _halted(host, attempt, record is not None, now_s)
    if view.path == attempt.path and _proves(attempt, record, view):
        return _shown(host, attempt)
    if attempt.phase is Phase.STARTING:
        return _watch_start(host, attempt, record is not None, now_s)
    return _vanished(host, attempt, record is not None)


def adopt(host: Host) -> tuple[Host, Effects]:
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
            host, more = end(host, attempt, Step.FINISHED, outcome, cause, record.reason)
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
        host = put(host, attempt)
    if view.print_state == "printing":
        if attempt.phase is Phase.PRINTING:
            return host, ()
        step = Step.RESUMED if attempt.phase is Phase.PAUSED else Step.SHOWN
        shown = msgspec.structs.replace(attempt, shown=True, pause="")
        return move(put(host, shown), shown, step)
    if view.print_state == "paused":
        return _paused(host, attempt)
    if view.print_state in PRINT_OUTCOMES:
        outcome, cause = PRINT_OUTCOMES[view.print_state]
        return end(host, attempt, Step.FINISHED, outcome, cause, view.message)
    return host, ()  # standby: loaded, the first line has not run yet


def _paused(host: Host, attempt: Attempt) -> tuple[Host, Effects]:
    """Every pause gets a name; a fence that fires during a pause takes the pause over."""
    by_fence = fenced(host, attempt)
    if attempt.phase is Phase.PAUSED:
        if not by_fence or attempt.pause == host.view.fence.pause:
            return host, ()
        renamed = msgspec.structs.replace(attempt, pause=host.view.fence.pause)
        return put(host, renamed), (Save(renamed), Say())
    number = attempt.pauses + 1
    name = host.view.fence.pause if by_fence else f"{host.session[:8]}-{number}"
    paused = msgspec.structs.replace(attempt, shown=True, pause=name, pauses=number)
    return move(put(host, paused), paused, Step.PAUSED)


def _halted(host: Host, attempt: Attempt, recorded: bool, now_s: float) -> tuple[Host, Effects]:
    """Klipper is in shutdown or error: nothing moves and nothing heats, the print is over."""
    view = host.view
    if attempt.phase is Phase.STARTING and not recorded and not attempt.shown:
        if view.section and now_s < attempt.deadline_s + START_WATCH_S:
            return host, ()
        outcome = Outcome.NOT_STARTED if view.section else Outcome.UNKNOWN
        return end(host, attempt, Step.NOT_SEEN, outcome, "klipper_shutdown", view.message)
    return end(host, attempt, Step.FINISHED, Outcome.FAILED, "klipper_shutdown", view.message)


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
    if now_s < max(watch_s, host.awake_s + START_WATCH_S):
        return host, ()  # too early, or Klipper has not been seen since a sleep
    if host.view.section and not recorded:
        # The section writes its record before the first line runs, and refuses after the
        # deadline: no record now means that it never started and never will.
        return end(
            host,
            attempt,
            Step.NOT_SEEN,
            Outcome.NOT_STARTED,
            "start_not_seen",
            "Klipper has no record of this start, and its deadline has passed",
        )
    if host.view.section or attempt.boot == 0 or host.view.boot != attempt.boot:
        return _vanished(host, attempt, recorded)
    return host, ()  # without the section only Klipper's answer or its restart settles a start


def _vanished(host: Host, attempt: Attempt, recorded: bool) -> tuple[Host, Effects]:
    """Klipper is ready and shows something else: it restarted, or printed something since.

    A record that still says "started" is about to say how it ended: the section ends it in each
    new life and at each other file, and tells so once its disk has it, which is after Klipper is
    ready. Moonraker's history would only call that unknown.
    """
    if attempt.looking_up or (recorded and host.view.section):
        return host, ()
    asked = msgspec.structs.replace(attempt, looking_up=True)
    return put(host, asked), (LookUp(attempt.id, attempt.path),)
