"""Acting on what the coordinator wants, under a live lease only.

Owns prepare, start, pause, resume, taking back, and feeding the fence. Pure. What it must not
know: how a print moves on once it runs.
"""

from __future__ import annotations

import msgspec

from . import gate
from .attempt import (
    RUNNING,
    TRANSITIONS,
    UNSTARTED,
    Attempt,
    Cancel,
    Effects,
    Feed,
    Fetch,
    Pause,
    Relink,
    Resume,
    Save,
    Say,
    Start,
    Step,
)
from .host import Host, end, fenced, put
from .wire import Link, Order, Outcome, Phase, Want

CANCEL_AGAIN_S = 60.0
"""A cancel that did not end the print is asked for again: it names the attempt, so it may be."""


def act(host: Host, now_s: float) -> tuple[Host, Effects]:
    """Bring what this host does closer to what the newest desired wants, under its lease only."""
    if not host.leased(now_s):
        return feed(host)  # an echo that is too old to act upon still proves that we were heard
    host, effects = _drop_unnamed(host)
    order = host.order
    if order is None:
        return host, effects
    attempt = host.attempt(order.attempt)
    if attempt is None:
        if order.want is not Want.PREPARE or not host.met_klipper:
            # Not before the records beside Klipper were seen: with this host's database lost and
            # the coordinator's restored, only they know that this attempt was printed long ago.
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
        host, more = _relink(host, attempt, order)
    host, fed = feed(host)
    return host, effects + more + fed


def _prepare(host: Host, order: Order) -> tuple[Host, Effects]:
    attempt = Attempt(order=order)
    host = msgspec.structs.replace(host, attempts=(*host.attempts, attempt))
    return host, (Save(attempt), Fetch(order), Say())


def _relink(host: Host, attempt: Attempt, order: Order) -> tuple[Host, Effects]:
    """Still wanted to prepare: a link that was made anew replaces the one that runs out."""
    if attempt.phase is not Phase.PREPARING or order.file.url == attempt.order.file.url:
        return host, ()
    relinked = msgspec.structs.replace(attempt, order=order)
    return put(host, relinked), (Relink(attempt.id, order.file.url),)


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
        fence_until_s=fence_until(host, order),
    )
    return put(host, starting), (Save(starting), start, Say())


def _take_back(host: Host, attempt: Attempt, order: Order, now_s: float) -> tuple[Host, Effects]:
    if attempt.phase in UNSTARTED:
        cause = "withdrawn" if order.want is Want.WITHDRAW else "cancelled"
        return end(
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
    return put(host, asked), (Save(asked), Cancel(attempt.id, attempt.path))


def _steer(host: Host, attempt: Attempt, order: Order) -> tuple[Host, Effects]:
    """Pause and resume, once per generation; a resume only of the pause that it names."""
    number = (host.term, host.generation)
    if host.applied == number or attempt.phase not in (Phase.PRINTING, Phase.PAUSED):
        return host, ()
    host = msgspec.structs.replace(host, applied=number)
    if order.want is Want.PAUSE and attempt.phase is Phase.PRINTING:
        return host, (Pause(attempt.id),)
    if order.want is Want.RUN and attempt.phase is Phase.PAUSED and order.resume == attempt.pause:
        return host, (Resume(attempt.id, attempt.pause if fenced(host, attempt) else ""),)
    return host, ()


def _drop_unnamed(host: Host) -> tuple[Host, Effects]:
    """What is not started and no longer named can never start: end it, and free its disk."""
    named = host.order.attempt if host.order is not None else ""
    effects: Effects = ()
    for attempt in host.attempts:
        if attempt.phase in UNSTARTED and attempt.id != named:
            host, more = end(
                host,
                attempt,
                Step.TAKEN_BACK,
                Outcome.NOT_STARTED,
                "superseded",
                "the coordinator no longer names it",
            )
            effects += more
    return host, effects


def feed(host: Host) -> tuple[Host, Effects]:
    """The fence lives on echoes while the print is wanted; withdraw and cancel feed nothing."""
    order = host.order
    if order is None or not order.fence_s or not host.lease_until_s:
        return host, ()
    if order.want not in (Want.START, Want.RUN, Want.PAUSE):
        return host, ()
    attempt = host.attempt(order.attempt)
    if attempt is None or attempt.phase not in RUNNING or not host.view.section:
        return host, ()
    fed = (attempt.id, fence_until(host, order))
    if fed <= host.fed and fed[0] == host.fed[0]:
        return host, ()
    return msgspec.structs.replace(host, fed=fed), (Feed(*fed),)


def fence_until(host: Host, order: Order) -> float:
    """Sending of the echoed report + fence_s; the lease holds the sending, lease_s later."""
    return host.lease_until_s - host.lease_s + order.fence_s if order.fence_s else 0.0
