"""What a host does about each thing that happens: events in, a new `Host` and effects out.

Every decision of a host about an attempt starts here, and nothing here does I/O, reads a clock
or draws a random number: time comes in as `now_s` (CLOCK_BOOTTIME of the host, which counts
suspend), effects go out as values.

    host, effects = on_desired(host, desired, now_s)      the coordinator spoke
    host, effects = on_view(host, view, now_s)            Klipper changed
    host, effects = on_fetched / on_asked / on_history    an effect was carried out
    host, effects = on_tick(host, now_s)                  time went by
    host, report = host.make_report(host, now_s, ...)     just before it is sent

Effects are carried out in the order given; `Save` before everything that follows it. When a
`Save` fails, the effects behind it are dropped and `on_save_failed` is called.
"""

from __future__ import annotations

import msgspec

from . import gate
from .acting import act
from .attempt import (
    RUNNING,
    TRANSITIONS,
    UNSTARTED,
    Attempt,
    CleanUp,
    Effects,
    Say,
    Step,
)
from .following import HISTORY_OUTCOMES, adopt, follow
from .gate import View
from .host import Host, end, local_print, move, note_echo, put, tell_again
from .wire import Command, Desired, Link, Outcome, Phase

USED = "used"
"""The section's code for an attempt id that was started once: the one refusal that does not prove
that nothing was printed."""


SLEEP_S = 5.0
"""A gap between ticks (at most a second apart) that is a sleep or a standstill."""


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
            host, more = end(
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
            host = tell_again(host)
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
        host, more = note_echo(host, echo.sequence)
        effects += more
    host, more = act(host, now_s)
    return host, effects + more


def on_view(host: Host, view: View, now_s: float) -> tuple[Host, Effects]:
    """Klipper changed, or was asked again."""
    told = _told(host)
    met = host.met_klipper or view.link is Link.READY
    host = msgspec.structs.replace(_woken(host, now_s), view=view, met_klipper=met)
    host, effects = adopt(host)
    host, more = follow(host, now_s)
    effects += more
    host, more = act(host, now_s)
    effects += more
    if _told(host) != told and Say() not in effects:
        effects += (Say(),)
    return host, effects


def on_tick(host: Host, now_s: float) -> tuple[Host, Effects]:
    """Time went by: watchdogs look, withheld acts are tried again."""
    slept = host.ticked_s and now_s - host.ticked_s > SLEEP_S
    host = msgspec.structs.replace(host, ticked_s=now_s, awake_s=now_s if slept else host.awake_s)
    host, effects = follow(host, now_s)
    host, more = act(host, now_s)
    return host, effects + more


def _woken(host: Host, now_s: float) -> Host:
    """After a standstill what waited in the sockets may come before the first tick."""
    slept = host.ticked_s and now_s - host.ticked_s > SLEEP_S
    return msgspec.structs.replace(host, awake_s=now_s) if slept else host


def on_fetched(
    host: Host, attempt_id: str, cause: str, message: str, now_s: float
) -> tuple[Host, Effects]:
    """The download ended; an empty `cause` means that the verified file is in place."""
    attempt = host.attempt(attempt_id)
    if attempt is None or attempt.phase is Phase.ENDED:
        return host, (CleanUp(attempt_id),)
    if attempt.phase is not Phase.PREPARING:
        return host, ()  # told twice: its file is in use
    if cause:
        return end(host, attempt, Step.FETCH_FAILED, Outcome.NOT_STARTED, cause, message)
    host, effects = move(host, attempt, Step.FETCHED)
    host, more = act(host, now_s)
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
    if refused == USED:
        # Klipper has started this id before, and nobody here knows what came of it.
        return end(host, attempt, Step.REFUSED, Outcome.UNKNOWN, refused, message)
    if refused:
        return end(host, attempt, Step.REFUSED, Outcome.NOT_STARTED, refused, message)
    # "Started" moves nothing: the view that shows the print does, and may still be on its way.
    return follow(_woken(host, now_s), now_s)


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
    return put(host, ended), (CleanUp(attempt.id), Say())


def on_history(host: Host, attempt_id: str, status: str, now_s: float) -> tuple[Host, Effects]:
    """Moonraker's history of this path: its status, or empty when it has none."""
    attempt = host.attempt(attempt_id)
    if attempt is None or attempt.phase not in RUNNING:
        return host, ()
    outcome, cause = HISTORY_OUTCOMES.get(status, (Outcome.UNKNOWN, "vanished"))
    if outcome is Outcome.UNKNOWN and attempt.shown and 0 < attempt.boot < host.view.boot:
        outcome, cause = Outcome.FAILED, "klipper_restarted"  # this session saw both lives
    message = "Moonraker's history says %s" % (status or "nothing of this print")
    return end(host, attempt, Step.VANISHED, outcome, cause, message)


def refuse_command(host: Host, command: Command, now_s: float) -> str:
    """Why this command is dropped, or empty: rule 14, commands are never late.

    A command lives lease_s from the moment in which this session sent the report it names, and
    one that names an attempt never hits the print of another.
    """
    if command.session != host.session:
        return f"it is for session {command.session}"
    sent_s = dict(host.sent).get(command.sequence)
    if sent_s is None:
        return f"report {command.sequence} is not one of the last that were sent"
    if now_s >= sent_s + host.lease_s:
        return f"report {command.sequence} was sent {now_s - sent_s:.1f} s ago"
    running = host.running
    prints = running.id if running is not None else local_print(host)
    if command.attempt and prints and prints != command.attempt:
        return f"it is about attempt {command.attempt}, and {prints} runs"
    return ""


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
