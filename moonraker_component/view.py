"""Klipper's status objects folded into what the host decides from, and into the profile.

Owns which field of which object means what. Pure: dictionaries in, values out. What it must not
know: how the objects got here.

A `status` is what Klipper's objects/subscribe gives: {object: {field: value}}. Any of it may be
missing, for sections are optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .gate import Fence, Record, View
from .wire import Bed, Filament, Link, Profile

Status = Mapping[str, Mapping[str, Any]]

SECTION = "moonfleet"
SWITCH = "filament_switch_sensor "
MOTION = "filament_motion_sensor "
PRINTING_STATES = ("printing", "paused")
LINKS = {link.value: link for link in Link}


def make_view(
    status: Status,
    link: Link,
    message: str,
    boot: int,
    section: bool,
    queue_state: str,
    own_bed: Bed,
    filament: Filament,
) -> View:
    """Fold a status. `own_bed` counts where Klipper has no section; `filament` is as configured."""
    stats = status.get("print_stats", {})
    ours = status.get(SECTION, {})
    detected = filament_detected(status)
    bed = Bed(bool(ours.get("bed_clear")), str(ours.get("bed_token", ""))) if section else own_bed
    return View(
        link=link,
        message=str(stats.get("message", "")) if link is Link.READY else message,
        boot=boot,
        print_state=str(stats.get("state", "")),
        path=str(stats.get("filename", "") or ""),
        active=bool(status.get("virtual_sdcard", {}).get("is_active", False)),
        paused=bool(status.get("pause_resume", {}).get("is_paused", False)),
        idle_state=str(status.get("idle_timeout", {}).get("state", "")),
        queue_state=queue_state,
        section=section,
        bed=bed,
        ejecting=bool(ours.get("ejecting", False)),
        eject_error=str(ours.get("eject_error", "")),
        filament=Filament(filament.material, filament.color, detected),
        records=tuple(_record(raw) for raw in ours.get("records", ())),
        fence=_fence(ours.get("fence") or {}),
    )


def filament_detected(status: Status) -> Optional[bool]:
    """What the enabled sensors say together; None where none can say anything.

    A motion sensor learns of filament only by its moving, so an idle one is not asked.
    """
    printing = status.get("print_stats", {}).get("state") in PRINTING_STATES
    said = [
        bool(fields.get("filament_detected"))
        for name, fields in status.items()
        if fields.get("enabled")
        and (name.startswith(SWITCH) or (printing and name.startswith(MOTION)))
    ]
    return all(said) if said else None


def start_seen(before: View, after: View) -> bool:
    """Whether a print has begun between two views: what drops a latch kept without the section."""
    if after.link is not Link.READY or after.print_state not in PRINTING_STATES:
        return False
    was = before.print_state in PRINTING_STATES and before.link is Link.READY
    return not was or before.path != after.path or before.boot != after.boot


def make_profile(settings: Mapping[str, Any], toolhead: Mapping[str, Any], model: str) -> Profile:
    """What the machine is, by configfile.settings and toolhead; what is not there is unknown."""
    extruder = settings.get("extruder", {})
    return Profile(
        kinematics=str(settings.get("printer", {}).get("kinematics", "")),
        model=model,
        size_min_mm=_axes(toolhead.get("axis_minimum")),
        size_max_mm=_axes(toolhead.get("axis_maximum")),
        nozzle_mm=_number(extruder.get("nozzle_diameter")),
        extruder_max_c=_number(extruder.get("max_temp")),
        bed_max_c=_number(settings.get("heater_bed", {}).get("max_temp")),
    )


def mcu_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What names this machine's MCUs: their serial paths (by-id ones hold a serial) or CAN ids."""
    return tuple(
        str(fields.get("canbus_uuid") or fields.get("serial") or "")
        for section, fields in sorted(settings.items())
        if section == "mcu" or section.startswith("mcu ")
    )


def _axes(raw: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in list(raw)[:3]) if raw else ()


def _number(raw: Any) -> Optional[float]:
    return float(raw) if isinstance(raw, (int, float)) else None


def _record(raw: Mapping[str, Any]) -> Record:
    return Record(**{name: str(raw.get(name, "")) for name in Record.__struct_fields__})


def _fence(raw: Mapping[str, Any]) -> Fence:
    return Fence(
        attempt=str(raw.get("attempt", "")),
        fired=bool(raw.get("fired", False)),
        pause=str(raw.get("pause", "")),
        released=str(raw.get("released", "")),
    )
