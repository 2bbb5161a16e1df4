"""Printers as the coordinator knows them: the durable row, and the contact of this reign.

Owns the types and what "heard", "available" and "settled" mean. Must not know jobs.
"""

from __future__ import annotations

from msgspec import Struct

from moonraker_component.wire import Order, Reason, Report

SUPERSEDED_MAX = 16
"""Sessions remembered after they were followed by another."""

SETTLE_LEASES = 1.5
"""Leases of a session in which nothing is concluded from what its reports lack (rule 5)."""


class Printer(Struct, frozen=True):
    """One printer. Durable.

    `generation` is the number of the newest desired, `issued` its order: a desired that differs
    raises the generation. `session` is the proven one; `pending_session` is a newly heard one,
    which must observe `pending_generation` first. `report` is the newest committed report that
    changed something. `hold`: why it waits for a person. `clone`: the hold is about two machines
    that claim to be this printer; sessions change nothing until a person decides.
    """

    id: str
    name: str
    generation: int = 0
    issued: Order | None = None
    session: str = ""
    pending_session: str = ""
    pending_generation: int = 0
    superseded: tuple[str, ...] = ()
    machine: str = ""
    hold: str = ""
    clone: bool = False
    maintenance: bool = False
    tags: tuple[str, ...] = ()
    location: str = ""
    printed_s: float = 0.0
    completed: int = 0
    failed: int = 0
    refused_in_row: int = 0
    report: Report | None = None
    created_at: float = 0.0


class Contact(Struct, frozen=True):
    """What this reign has heard of one printer. Never stored: after a restart all timers are new.

    Times are the coordinator's CLOCK_BOOTTIME. `klipper_s`: the last report in which Moonraker
    had a connection to Klipper. `sequence`: the newest report committed, to be echoed. `left_s`:
    the print's time left by telemetry. `assigned_s`: when its attempt was assigned.
    `rest_until_s`: nothing is placed before, after a start that came to nothing. `flood_until_s`:
    nor while its host says more than is taken.
    """

    session: str = ""
    since_s: float = 0.0
    heard_s: float = 0.0
    klipper_s: float = 0.0
    sequence: int = 0
    left_s: float | None = None
    assigned_s: float = 0.0
    rest_until_s: float = 0.0
    flood_until_s: float = 0.0


def settled(contact: Contact, now_s: float, lease_s: float) -> bool:
    """Whether what this session's reports lack may be concluded from."""
    return now_s - contact.since_s >= SETTLE_LEASES * lease_s


def refusals(
    printer: Printer, contact: Contact | None, now_s: float, lease_s: float
) -> tuple[Reason, ...]:
    """Why nothing may be placed on this printer now, whatever the job; empty means available."""
    found: list[Reason] = []
    if printer.hold:
        found.append(Reason("held", printer.hold))
    if printer.maintenance:
        found.append(Reason("maintenance", "in maintenance"))
    if contact is not None and contact.flood_until_s > now_s:
        found.append(Reason("flooding", "its host sends more messages than are taken"))
    report = printer.report
    if contact is None or report is None or contact.session != printer.session:
        found.append(Reason("offline", "not heard since the coordinator started"))
        return tuple(found)
    silent_s = now_s - contact.heard_s
    if silent_s >= lease_s:
        found.append(Reason("offline", f"silent for {silent_s:.0f} s (limit {lease_s:.0f} s)"))
        return tuple(found)
    if contact.rest_until_s > now_s:
        rest_s = contact.rest_until_s - now_s
        found.append(Reason("resting", f"a start came to nothing; tried again in {rest_s:.0f} s"))
    found.extend(report.refusals)
    return tuple(found)
