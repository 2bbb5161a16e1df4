"""A printer as people see it: one state, why it does nothing, what it prints.

Owns the words of a printer's state and the stable texts of its reasons (a text that counts
seconds would change all the time, and a page that shows it would have to be told as often). Pure.
Must not know HTTP or how a printer is chosen.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from coordinator.core import printers
from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import Farm, Now
from coordinator.core.jobs import JobState
from coordinator.core.printers import Contact, Printer
from moonraker_component.wire import Bed, Filament, Klipper, Phase, Profile, Reason, Telemetry

BUSY_STATES = frozenset({"printing", "paused"})


class PrinterState(StrEnum):
    """`UNSETTLED`: it holds an attempt that is lost, and a person or its host must say how that
    ended. `BUSY`: it prints something that the farm did not start. `NOT_READY`: it is heard and
    empty, and its reasons say what is missing."""

    OFFLINE = "offline"
    UNSETTLED = "unsettled"
    PRINTING = "printing"
    PAUSED = "paused"
    PREPARING = "preparing"
    HELD = "held"
    MAINTENANCE = "maintenance"
    BUSY = "busy"
    NOT_READY = "not_ready"
    IDLE = "idle"


class Current(Struct, frozen=True):
    """The attempt that holds a printer, with what it is of."""

    attempt: str
    job: str
    title: str
    copy: str
    copy_number: int
    state: State
    phase: Phase | None = None
    pause: str = ""
    started_at: float | None = None


class Readings(Struct, frozen=True):
    """What a printer says all the time. `at`: epoch seconds of the last telemetry."""

    printer: str
    at: float
    telemetry: Telemetry


class PrinterView(Struct, frozen=True, kw_only=True):
    """One printer. `reasons` say why nothing (more) is placed on it now.

    `section`: the Klipper section is loaded, so starts have a deadline and fences work. `heard_at`
    is the epoch of the last report, to a quarter of a lease; null: not since this start. `readings`
    are left out of what the live feed repeats.
    """

    id: str
    name: str
    state: PrinterState
    reasons: tuple[Reason, ...] = ()
    tags: tuple[str, ...] = ()
    location: str = ""
    hold: str = ""
    maintenance: bool = False
    current: Current | None = None
    bed: Bed | None = None
    klipper: Klipper | None = None
    filament: Filament | None = None
    profile: Profile | None = None
    local_print: str = ""
    section: bool = False
    session: str = ""
    completed: int = 0
    failed: int = 0
    printed_s: float = 0.0
    created_at: float = 0.0
    heard_at: float | None = None
    readings: Readings | None = None


def printer_view(
    farm: Farm, printer: Printer, now: Now, readings: Readings | None = None
) -> PrinterView:
    """The view of one printer."""
    contact = farm.contacts.get(printer.id)
    live = farm.live_on.get(printer.id, "")
    attempt = farm.attempts[live] if live else None
    found = printers.refusals(printer, contact, now.boot_s, farm.settings.lease_s)
    reasons = tuple(stable(reason, farm.settings.lease_s) for reason in found)
    state = _state(printer, attempt, {reason.code for reason in reasons})
    if state is PrinterState.IDLE:
        reasons = (_why_no_work(farm),)
    report = printer.report
    return PrinterView(
        id=printer.id,
        name=printer.name,
        state=state,
        reasons=reasons,
        tags=printer.tags,
        location=printer.location,
        hold=printer.hold,
        maintenance=printer.maintenance,
        current=_current(farm, attempt) if attempt is not None else None,
        bed=report.bed if report is not None else None,
        klipper=report.klipper if report is not None else None,
        filament=report.filament if report is not None else None,
        profile=report.profile if report is not None else None,
        local_print=report.local_print if report is not None else "",
        section=report.section if report is not None else False,
        session=printer.session,
        completed=printer.completed,
        failed=printer.failed,
        printed_s=round(printer.printed_s, 1),
        created_at=printer.created_at,
        heard_at=_heard_at(contact, now, farm.settings.lease_s),
        readings=readings,
    )


def stable(reason: Reason, lease_s: float) -> Reason:
    """The reason in words that stay the same for as long as it holds."""
    if reason.code == "offline" and reason.text.startswith("silent"):
        return Reason("offline", f"its host has been silent for more than {lease_s:g} s")
    if reason.code == "resting":
        return Reason("resting", "a start came to nothing; it is tried again soon")
    return reason


def _state(printer: Printer, attempt: Attempt | None, codes: set[str]) -> PrinterState:
    if attempt is not None and attempt.state is State.LOST:
        return PrinterState.UNSETTLED
    if "offline" in codes:
        return PrinterState.OFFLINE
    if attempt is not None:
        if attempt.state is not State.STARTED:
            return PrinterState.PREPARING
        return PrinterState.PAUSED if attempt.phase is Phase.PAUSED else PrinterState.PRINTING
    if printer.hold:
        return PrinterState.HELD
    if printer.maintenance:
        return PrinterState.MAINTENANCE
    report = printer.report
    if report is not None and (report.local_print or report.klipper.print_state in BUSY_STATES):
        return PrinterState.BUSY
    return PrinterState.NOT_READY if codes else PrinterState.IDLE


def _current(farm: Farm, attempt: Attempt) -> Current:
    return Current(
        attempt=attempt.id,
        job=attempt.job,
        title=farm.jobs[attempt.job].title,
        copy=attempt.copy,
        copy_number=farm.copies[attempt.copy].number,
        state=attempt.state,
        phase=attempt.phase,
        pause=attempt.pause,
        started_at=attempt.started_at,
    )


def _why_no_work(farm: Farm) -> Reason:
    """An available printer without an attempt: nothing waits, or nothing of it fits."""
    if farm.reign.connected_s is None:
        return Reason("no_broker", "the coordinator has no connection to its broker")
    waits = any(farm.jobs[job_id].state is JobState.ACTIVE for job_id in farm.waiting_of)
    if waits:
        return Reason("no_job_fits", "no waiting job fits it")
    return Reason("no_jobs", "no job waits")


def _heard_at(contact: Contact | None, now: Now, lease_s: float) -> float | None:
    """Rounded, so that a page is not told of every report that says nothing new."""
    if contact is None:
        return None
    step_s = lease_s / 4
    return round((now.wall_s - (now.boot_s - contact.heard_s)) / step_s) * step_s
