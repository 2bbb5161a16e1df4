"""What people ask of printers, checked against the farm: add, hold, release, maintenance.

Owns the rules of each act on a printer. Acts change a draft; the round that follows draws the
conclusions. Must not know HTTP, SQL or MQTT.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from coordinator.core.farm import Draft, Now
from coordinator.core.printers import Printer
from coordinator.core.requests import NAME_MAX, Conflict, NotFound, RequestError, Who, tell
from moonraker_component.wire import PRINTER_ID

RESERVED_PREFIX = "moonfleet-"
"""A printer's id is its MQTT user name, and names that begin so are the farm's own."""


class PrinterChange(Struct, frozen=True):
    """What may be changed of a printer; a field left out stays as it is."""

    name: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    location: str | UnsetType = UNSET


def add_printer(
    draft: Draft, printer_id: str, name: str, tags: tuple[str, ...], who: Who, now: Now
) -> Printer:
    """Make a printer known; its host is heard from then on."""
    check_printer_id(printer_id)
    if printer_id in draft.printers:
        raise Conflict(f"printer {printer_id} exists already")
    printer = Printer(
        id=printer_id, name=(name or printer_id)[:NAME_MAX], tags=tags, created_at=now.wall_s
    )
    draft.put_printer(printer)
    tell(draft, who, now, "printer_added", printer=printer_id)
    return printer


def check_printer_id(printer_id: str) -> None:
    """Raise RequestError for what cannot be a printer's id, which is its MQTT user name too."""
    if not PRINTER_ID.match(printer_id) or printer_id.startswith(RESERVED_PREFIX):
        allowed = f"use 1 to 64 of A-Z a-z 0-9 _ -, not beginning with {RESERVED_PREFIX}"
        raise RequestError("id", printer_id, allowed)


def change_printer(
    draft: Draft, printer_id: str, wish: PrinterChange, who: Who, now: Now
) -> Printer:
    """Change what people call a printer, its tags or where it stands."""
    printer = printer_of(draft, printer_id)
    if wish.name is not UNSET:
        printer = replace(printer, name=(wish.name.strip() or printer_id)[:NAME_MAX])
    if wish.tags is not UNSET:
        printer = replace(printer, tags=tuple(dict.fromkeys(wish.tags)))
    if wish.location is not UNSET:
        printer = replace(printer, location=wish.location.strip()[:NAME_MAX])
    draft.put_printer(printer)
    tell(draft, who, now, "printer_changed", printer=printer_id)
    return printer


def set_maintenance(draft: Draft, printer_id: str, wanted: bool, who: Who, now: Now) -> Printer:
    """In maintenance a printer finishes what it prints and takes nothing new."""
    printer = replace(printer_of(draft, printer_id), maintenance=wanted)
    draft.put_printer(printer)
    kind = "printer_maintenance" if wanted else "printer_in_service"
    tell(draft, who, now, kind, printer=printer_id)
    return printer


def hold_printer(draft: Draft, printer_id: str, reason: str, who: Who, now: Now) -> Printer:
    """Nothing new is placed until a person releases it."""
    if not reason.strip():
        raise RequestError("reason", reason, "must say why")
    printer = replace(printer_of(draft, printer_id), hold=reason.strip()[:NAME_MAX])
    draft.put_printer(printer)
    tell(draft, who, now, "printer_held", printer=printer_id, text=reason)
    return printer


def release_printer(draft: Draft, printer_id: str, who: Who, now: Now) -> Printer:
    """A person has looked. After a clone hold the next session that proves itself is taken."""
    printer = printer_of(draft, printer_id)
    if not printer.hold:
        raise Conflict(f"printer {printer_id} is not held")
    if printer.clone:
        printer = replace(printer, clone=False, machine="", superseded=(), pending_session="")
    printer = replace(printer, hold="")
    draft.put_printer(printer)
    tell(draft, who, now, "printer_released", printer=printer_id)
    return printer


def printer_of(draft: Draft, printer_id: str) -> Printer:
    """The printer of this id; raises NotFound."""
    printer = draft.printers.get(printer_id)
    if printer is None:
        raise NotFound(f"printer {printer_id!r}: there is none of this id")
    return printer
