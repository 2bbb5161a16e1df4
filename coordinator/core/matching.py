"""Which printer may print a job, and which of those it should be.

Owns `refusals` (hard, with reasons) and `score` (soft, with its parts), two separate functions.
Must not know order of work, attempts or time.
"""

from __future__ import annotations

from msgspec import Struct

from coordinator.core.jobs import Job
from coordinator.core.printers import Printer
from moonraker_component.wire import Filament, Profile, Reason, Report

NOZZLE_TOLERANCE_MM = 0.001
SIZE_TOLERANCE_MM = 0.01


Kind = tuple[tuple[str, ...], Profile | None, Filament | None, bool]


class Score(Struct, frozen=True):
    """What ranks a printer for a job; less is better, compared in the order of the fields."""

    failed_here: int = 0
    volume_mm3: float = 0.0
    printed_s: float = 0.0
    record: float = 0.0
    printer: str = ""

    @property
    def key(self) -> tuple[int, float, float, float, str]:
        return (self.failed_here, self.volume_mm3, self.printed_s, self.record, self.printer)


def refusals(job: Job, printer: Printer) -> tuple[Reason, ...]:
    """Why this printer cannot print this job, whatever it does now; empty means that it fits.

    What is not known of a printer does not fit: the reason's code then ends in `_unknown`.
    """
    need = job.requirements
    if need.printers and printer.id not in need.printers:
        return (Reason("printer_list", f"the job names only {', '.join(need.printers)}"),)
    missing = [tag for tag in need.tags if tag not in printer.tags]
    found: list[Reason] = []
    if missing:
        found.append(Reason("tags", f"wants {', '.join(missing)}, has {_or_none(printer.tags)}"))
    report = printer.report
    if report is None:
        found.append(Reason("profile_unknown", "its host has never reported"))
        return tuple(found)
    found += _machine_refusals(job, report)
    found += _filament_refusals(job, report)
    return tuple(found)


def kind_of(printer: Printer) -> Kind:
    """All that `refusals` asks of a printer but its id: one printer of a kind answers for all."""
    report = printer.report
    if report is None:
        return (printer.tags, None, None, False)
    return (printer.tags, report.profile, report.filament, report.section)


def score(printer: Printer, failed_here: int) -> Score:
    """Rank among printers that fit: one that has not failed this copy, the smallest, least used."""
    size_mm = _size(printer.report.profile) if printer.report else ()
    volume_mm3 = 1.0
    for side_mm in size_mm:
        volume_mm3 *= max(side_mm, 1.0)
    prints = printer.completed + printer.failed
    return Score(
        failed_here=failed_here,
        volume_mm3=round(volume_mm3, -3),
        printed_s=round(printer.printed_s, 0),
        record=round(printer.failed / prints, 2) if prints else 0.0,
        printer=printer.id,
    )


def _machine_refusals(job: Job, report: Report) -> list[Reason]:
    need, profile = job.requirements, report.profile
    found: list[Reason] = []
    if job.policy.fence and not report.section:
        found.append(Reason("fence", "wants a fence, its Klipper section is not loaded"))
    if need.model and profile.model.casefold() != need.model.casefold():
        found.append(_differs("model", need.model, profile.model))
    if need.kinematics and profile.kinematics.casefold() != need.kinematics.casefold():
        found.append(_differs("kinematics", need.kinematics, profile.kinematics))
    if need.nozzle_mm is not None:
        if profile.nozzle_mm is None:
            found.append(Reason("nozzle_unknown", f"wants {need.nozzle_mm:g} mm, not known"))
        elif abs(need.nozzle_mm - profile.nozzle_mm) > NOZZLE_TOLERANCE_MM:
            found.append(
                Reason("nozzle", f"wants {need.nozzle_mm:g} mm, has {profile.nozzle_mm:g} mm")
            )
    found += _size_refusals(need.min_mm, need.max_mm, profile)
    found += _heat_refusals("extruder", need.extruder_c, profile.extruder_max_c)
    found += _heat_refusals("bed", need.bed_c, profile.bed_max_c)
    return found


def _heat_refusals(name: str, wanted_c: float | None, limit_c: float | None) -> list[Reason]:
    if not wanted_c:
        return []
    if limit_c is None:
        return [Reason(f"{name}_unknown", f"wants {wanted_c:g} °C, limit not known")]
    if wanted_c > limit_c:
        return [Reason(name, f"wants {wanted_c:g} °C, limit is {limit_c:g} °C")]
    return []


def _size_refusals(
    min_mm: tuple[float, ...], max_mm: tuple[float, ...], profile: Profile
) -> list[Reason]:
    if not min_mm or not max_mm:
        return []
    if not profile.size_min_mm or not profile.size_max_mm:
        return [Reason("size_unknown", "its axis limits are not known")]
    found = []
    limits = zip("xyz", min_mm, max_mm, profile.size_min_mm, profile.size_max_mm, strict=False)
    for axis, low, high, least, most in limits:
        if low < least - SIZE_TOLERANCE_MM or high > most + SIZE_TOLERANCE_MM:
            text = f"{axis} from {low:g} to {high:g} mm, has {least:g} to {most:g} mm"
            found.append(Reason("size", text))
    return found


def _filament_refusals(job: Job, report: Report) -> list[Reason]:
    need, loaded = job.requirements, report.filament
    found = []
    for name, wanted, has in (
        ("material", need.material, loaded.material),
        ("color", need.color, loaded.color),
    ):
        if wanted and wanted.casefold() != has.casefold():
            found.append(_differs(name, wanted, has))
    return found


def _differs(name: str, wanted: str, has: str) -> Reason:
    if not has:
        return Reason(f"{name}_unknown", f"wants {wanted}, not known")
    return Reason(name, f"wants {wanted}, has {has}")


def _size(profile: Profile) -> tuple[float, ...]:
    pairs = zip(profile.size_min_mm, profile.size_max_mm, strict=False)
    return tuple(high - low for low, high in pairs)


def _or_none(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
