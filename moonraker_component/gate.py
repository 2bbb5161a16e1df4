"""May this host start a print now? Reasons, not a boolean.

Owns `View`, what a host sees of its Klipper at one moment, and `refusals`, every condition that
a start needs. Pure: no clock, no I/O, no Moonraker. What it must not know: attempts, the
coordinator, MQTT.
"""

from __future__ import annotations

from typing import Optional

import msgspec

from .wire import Bed, Filament, Link, Reason

STARTABLE_STATES = frozenset({"standby", "complete", "cancelled", "error"})
"""print_stats.state values in which nothing is printed (klippy/extras/print_stats.py)."""

BUSY_QUEUE_STATES = frozenset({"loading", "starting"})
"""Moonraker's job_queue states in which it is about to start a print of its own."""


class Record(msgspec.Struct, frozen=True):
    """What the Klipper section has on disk of one attempt. `state`: started or ended."""

    attempt: str
    state: str
    copy: str = ""
    job: str = ""
    filename: str = ""
    outcome: str = ""
    reason: str = ""


class Fence(msgspec.Struct, frozen=True):
    """The watchdog of the Klipper section. `pause` names the pause it made, once `fired`."""

    attempt: str = ""
    fired: bool = False
    pause: str = ""
    released: str = ""


class View(msgspec.Struct, frozen=True):
    """What the host sees of Klipper. `path` is print_stats.filename.

    `boot` numbers Klipper's lives within this session: it grows with every (re)connection that
    became ready, so that a print seen before a restart is not mistaken for one after it.
    """

    link: Link = Link.DISCONNECTED
    message: str = ""
    boot: int = 0
    print_state: str = ""
    path: str = ""
    active: bool = False
    paused: bool = False
    idle_state: str = ""
    queue_state: str = ""
    maintenance: bool = False
    section: bool = False
    bed: Bed = Bed()
    ejecting: bool = False
    eject_error: str = ""
    filament: Filament = Filament()
    records: tuple[Record, ...] = ()
    fence: Fence = Fence()

    def record_of(self, attempt: str) -> Optional[Record]:
        """The newest record of this attempt in the Klipper section, if it has one."""
        for record in reversed(self.records):
            if record.attempt == attempt:
                return record
        return None


def refusals(view: View) -> tuple[Reason, ...]:
    """Every reason why nothing may start now; empty means that a start is allowed.

    One condition per line, all of docs/design.md, section 5. A state that is not
    known is a refusal: unknown is not the same as fine.
    """
    if view.link is not Link.READY:
        return (Reason("klipper", f"Klipper is {view.link.value}: {view.message.strip()}"),)
    found = (
        _unless(
            view.print_state in STARTABLE_STATES,
            "printing",
            "print_stats is {!r} with {!r}".format(view.print_state or "not known", view.path),
        ),
        _unless(not view.active, "printing", "the virtual SD card is active"),
        _unless(not view.paused, "paused", "a print is paused"),
        _unless(
            view.idle_state in ("Idle", "Ready"),
            "busy",
            f"Klipper is running a macro or moving (idle_timeout {view.idle_state!r})",
        ),
        _unless(
            view.queue_state not in BUSY_QUEUE_STATES,
            "local_queue",
            f"Moonraker's own job queue is {view.queue_state}",
        ),
        _unless(not view.maintenance, "maintenance", "the printer is in maintenance"),
        _unless(
            view.filament.detected is not False, "filament", "the filament sensor sees no filament"
        ),
        _unless(not view.ejecting, "ejecting", "the ejection macro is running"),
        _unless(view.bed.clear, "bed_not_clear", view.eject_error or "the bed is not clear"),
    )
    return tuple(reason for reason in found if reason is not None)


def _unless(holds: bool, code: str, text: str) -> Optional[Reason]:
    return None if holds else Reason(code, text)
