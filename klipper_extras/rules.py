"""Decisions of the `[moonfleet]` section: start, latch, fence, outcome.

Owns what may happen, as plain functions of values and time. Must not know Klipper, files,
clocks or threads, so that a simulation can import it. Times are CLOCK_BOOTTIME seconds.
A refusal is a Refusal(code, text), no refusal is None.
"""
import collections
import math
import re

# The names that may become a path on the host: attempt ids and file names.
SAFE_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")
FOLDER = "moonfleet"
LABEL_MAX = 200
REASON_MAX = 500
OUTCOMES = ("complete", "error", "cancelled", "interrupted")

Refusal = collections.namedtuple("Refusal", "code text")

# What moonfleet/start asks for; fence_until_boottime_s 0 and fence_s 0: no fence.
Ask = collections.namedtuple(
    "Ask", "attempt copy job filename deadline_boottime_s bed_token"
           " fence_s fence_until_boottime_s")

# serial orders the records of one printer; it only grows.
Record = collections.namedtuple(
    "Record", "attempt copy job filename state outcome reason serial")

Latch = collections.namedtuple("Latch", "token clear")

# attempt "": no fence. until_boottime_s 0: not armed. lifted: the last pause that was lifted,
# so that a doubled lift is no error. released: the last pause that a person lifted.
Fence = collections.namedtuple(
    "Fence", "attempt until_boottime_s fence_s fired pause lifted released")
NO_FENCE = Fence("", 0., 0., False, "", "", "")


def plain_text(text, length_max):
    """Return text that survives JSON and a console: no lone surrogates, bounded."""
    return str(text).encode("utf-8", "replace").decode("utf-8")[:length_max]


######################################################################
# Start
######################################################################

def is_safe_name(name):
    """Tell whether name may be one part of a path: no separators, not hidden."""
    return SAFE_NAME.match(name) is not None and not name.startswith(".")


def refuse_ask(ask):
    """Refuse an ask whose values make no sense, whatever the printer does."""
    parts = ask.filename.split("/")
    if not is_safe_name(ask.attempt):
        return Refusal("unsafe_name", "attempt %r: allowed are 1 to 100 of A-Z a-z 0-9 . _ -,"
                       " not starting with a dot" % (ask.attempt[:120],))
    if (len(parts) != 3 or parts[0] != FOLDER or parts[1] != ask.attempt
            or not is_safe_name(parts[2]) or not parts[2].endswith(".gcode")):
        return Refusal("unsafe_name", "filename %r: wanted is %s/%s/NAME.gcode"
                       % (ask.filename[:120], FOLDER, ask.attempt))
    for field in ("copy", "job"):
        value = getattr(ask, field)
        if len(value) > LABEL_MAX or not (value == "" or value.isprintable()):
            return Refusal("unsafe_name", "%s: wanted is printable text of at most %d characters"
                           % (field, LABEL_MAX))
    for field in ("deadline_boottime_s", "fence_s", "fence_until_boottime_s"):
        value = getattr(ask, field)
        if not (math.isfinite(value) and value >= 0.):
            return Refusal("deadline", "%s %r: wanted are finite seconds, not below zero"
                           % (field, value))
    return None


def refuse_start(ask, now_boottime_s, latch, printing, used):
    """Refuse to start ask now.

    printing: why the printer is busy, "" if it is not. used: attempt ids that were started once.
    """
    refusal = refuse_ask(ask)
    if refusal is not None:
        return refusal
    if ask.attempt in used:
        return Refusal("used", "attempt %s was started before; ids are never used twice"
                       % (ask.attempt,))
    if now_boottime_s >= ask.deadline_boottime_s:
        return Refusal("deadline", "the permission to start ended %.1f s ago"
                       % (now_boottime_s - ask.deadline_boottime_s,))
    if 0. < ask.fence_until_boottime_s <= now_boottime_s:
        return Refusal("deadline", "the fence ran out %.1f s ago"
                       % (now_boottime_s - ask.fence_until_boottime_s,))
    if printing:
        return Refusal("printing", printing)
    if not latch.clear:
        return Refusal("bed_not_clear", "nobody has said that the bed is clear"
                       " (MOONFLEET_BED_CLEAR)")
    if ask.bed_token != latch.token:
        return Refusal("bed_token", "the bed was used since: token %r is not the current one"
                       % (plain_text(ask.bed_token, 40),))
    return None


def start_record(ask, serial):
    """Return the record of an attempt that is being started."""
    return Record(ask.attempt, ask.copy, ask.job, ask.filename, "started", "", "", serial)


def end_record(record, outcome, reason):
    """Return the record ended with outcome; ended is final, so an ended one comes back as is."""
    if outcome not in OUTCOMES:
        raise ValueError("outcome %r: allowed are %s" % (outcome, ", ".join(OUTCOMES)))
    if record.state == "ended":
        return record
    return record._replace(state="ended", outcome=outcome,
                           reason=plain_text(reason, REASON_MAX))


######################################################################
# Latch
######################################################################

def read_latch(clear_text, token_text, fresh_token, can_drop):
    """Return the latch that the disk tells of; texts are None where a file is missing.

    Clear only if both files agree, and only where the latch could also be dropped again: a
    folder that cannot be written would say clear for ever.
    """
    if not token_text:
        return Latch(fresh_token, False)
    return Latch(token_text, can_drop and clear_text == token_text)


def refuse_clear(latch, token, printing):
    """Refuse to call the bed clear. token None: a person at the printer, means the current one."""
    if printing:
        return Refusal("printing", printing)
    if token is not None and token != latch.token:
        return Refusal("bed_token", "the bed was used since: token %r is not the current one"
                       % (plain_text(token, 40),))
    return None


######################################################################
# Fence
######################################################################

def arm_fence(ask, now_boottime_s):
    """Return the fence of an attempt that starts now."""
    if not ask.fence_s and not ask.fence_until_boottime_s:
        return NO_FENCE
    until = ask.fence_until_boottime_s or now_boottime_s + ask.fence_s
    return NO_FENCE._replace(attempt=ask.attempt, until_boottime_s=until, fence_s=ask.fence_s)


def is_expired(fence, now_boottime_s):
    """Tell whether the fence has to fire now."""
    return (fence.attempt != "" and not fence.fired
            and fence.until_boottime_s > 0. and now_boottime_s >= fence.until_boottime_s)


def refuse_feed(fence, attempt, until_boottime_s, printing_attempt):
    """Refuse to feed the fence. printing_attempt: "" if none prints; the fence of an ended one
    is only kept to tell of a release."""
    if not attempt or attempt != fence.attempt or attempt != printing_attempt:
        return Refusal("fence", "attempt %r has no fence here" % (plain_text(attempt, 120),))
    if fence.fired:
        return Refusal("fence", "the fence has fired: pause %s has to be lifted" % (fence.pause,))
    if not math.isfinite(until_boottime_s):
        return Refusal("fence", "until_boottime_s %r: wanted are finite seconds"
                       % (until_boottime_s,))
    return None


def feed_fence(fence, until_boottime_s, now_boottime_s):
    """Return the fence fed. Never lowers; a time that has passed arms nothing (a late feed must
    not fire a fence that a person has just released)."""
    if until_boottime_s <= max(now_boottime_s, fence.until_boottime_s):
        return fence
    return fence._replace(until_boottime_s=until_boottime_s)


def fire_fence(fence, pause):
    """Return the fence fired; pause names this one pause."""
    return fence._replace(fired=True, pause=pause)


def refuse_resume(fence):
    """Refuse RESUME and M24 while the fence has fired."""
    if not fence.fired:
        return None
    return Refusal("fence", "the farm was silent, this print may have been given to another"
                   " printer. Cancel it, or if you know better: FENCE_RELEASE ATTEMPT=%s"
                   % (fence.attempt,))


def refuse_lift(fence, attempt, pause, until_boottime_s):
    """Refuse to lift a pause that is not the current one. A doubled lift is not refused."""
    if not math.isfinite(until_boottime_s):
        return Refusal("fence", "until_boottime_s %r: wanted are finite seconds"
                       % (until_boottime_s,))
    if fence.attempt == attempt and pause:
        if fence.fired and fence.pause == pause:
            return None
        if not fence.fired and fence.lifted == pause:
            return None
    return Refusal("fence", "attempt %r is not fenced by pause %r"
                   % (plain_text(attempt, 120), plain_text(pause, 40)))


def lift_fence(fence, pause, until_boottime_s, now_boottime_s):
    """Return the fence lifted by the coordinator: armed anew, or it would fire at once.

    until_boottime_s 0: fence_s from now.
    """
    if not fence.fired:
        return fence
    until = max(until_boottime_s, now_boottime_s + fence.fence_s)
    return fence._replace(fired=False, pause="", lifted=pause, until_boottime_s=until)


def refuse_release(fence, attempt):
    """Refuse a person's release of a fence that has not fired, or of another attempt."""
    if not fence.fired:
        return Refusal("fence", "no fence has fired, nothing to release")
    if fence.attempt != attempt:
        return Refusal("fence", "the fenced attempt is %s, not %s"
                       % (fence.attempt, plain_text(attempt, 120)))
    return None


def release_fence(fence):
    """Return the fence released by a person: it stays down until it is fed again."""
    return fence._replace(fired=False, pause="", lifted=fence.pause, released=fence.pause,
                          until_boottime_s=0.)


def end_fence(fence):
    """Return the fence after its print has ended: down, but a person's release stays told."""
    if not fence.released:
        return NO_FENCE
    return NO_FENCE._replace(attempt=fence.attempt, released=fence.released)
