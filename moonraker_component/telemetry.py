"""What changes all the time while a printer works: temperatures, progress, layer, position.

Owns how each figure is found among Klipper's objects and the file's metadata, and which change is
worth telling. Pure. What it must not know: how often something is told, and to whom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import msgspec

from .view import PRINTING_STATES, Status
from .wire import Heat, Telemetry

TEMPERATURE_STEP_C = 0.75
"""A heater that wavers by less than this is told as standing still."""

PROGRESS_STEP = 0.001
POSITION_STEP_MM = 0.5


class LayerTrack(msgspec.Struct, frozen=True):
    """The layer by height: only where filament was pushed out, so that a z-hop is no layer."""

    filename: str = ""
    filament_mm: float = 0.0
    z_mm: float = 0.0
    layer: Optional[int] = None


def make_telemetry(
    status: Status, metadata: Mapping[str, Any], track: LayerTrack, attempt: str
) -> Telemetry:
    """Everything as it stands now. `metadata`: Moonraker's of the loaded file, or empty."""
    stats = status.get("print_stats", {})
    printing = stats.get("state") in PRINTING_STATES
    position = status.get("gcode_move", {}).get("gcode_position") or ()
    telemetry = Telemetry(
        heaters=heaters(status),
        position_mm=tuple(round(float(value), 3) for value in list(position)[:3]),
    )
    if not printing:
        return telemetry
    progress = find_progress(status, metadata)
    layer, layers = find_layer(stats, metadata, track)
    print_s = _number(stats.get("print_duration"))
    return msgspec.structs.replace(
        telemetry,
        progress=progress,
        layer=layer,
        layers=layers,
        print_s=print_s,
        left_s=time_left_s(print_s, progress, metadata),
        filament_mm=_number(stats.get("filament_used")),
        attempt=attempt,
        filename=str(stats.get("filename", "")),
    )


def heaters(status: Status) -> dict[str, Heat]:
    """Every object that has a temperature, rounded to a tenth."""
    found = {}
    for name, fields in status.items():
        temperature_c = _number(fields.get("temperature"))
        if temperature_c is not None:
            target_c = _number(fields.get("target"))
            found[name] = Heat(round(temperature_c, 1), target_c)
    return found


def find_progress(status: Status, metadata: Mapping[str, Any]) -> Optional[float]:
    """0 to 1, by the place in the file between its first and last move, as the front ends do."""
    sdcard = status.get("virtual_sdcard", {})
    place, start, end = (
        _number(sdcard.get("file_position")),
        _number(metadata.get("gcode_start_byte")),
        _number(metadata.get("gcode_end_byte")),
    )
    if place is not None and start is not None and end is not None and end > start:
        return round(min(1.0, max(0.0, (place - start) / (end - start))), 4)
    progress = _number(status.get("display_status", {}).get("progress"))
    if progress is None:
        progress = _number(sdcard.get("progress"))
    return None if progress is None else round(min(1.0, max(0.0, progress)), 4)


def find_layer(
    stats: Mapping[str, Any], metadata: Mapping[str, Any], track: LayerTrack
) -> tuple[Optional[int], Optional[int]]:
    """(layer, of how many): what the file itself tells Klipper, else by the height."""
    info = stats.get("info") or {}
    layers = info.get("total_layer") or metadata.get("layer_count") or _layers_by_height(metadata)
    layer = info.get("current_layer")
    if layer is None:
        layer = track.layer
    return (
        int(layer) if layer is not None else None,
        int(layers) if layers else None,
    )


def track_layer(track: LayerTrack, status: Status, metadata: Mapping[str, Any]) -> LayerTrack:
    """Follow the height of what is being extruded."""
    stats = status.get("print_stats", {})
    filename = str(stats.get("filename", ""))
    if filename != track.filename:
        track = LayerTrack(filename=filename)
    position = list(status.get("gcode_move", {}).get("gcode_position") or ())
    filament_mm = _number(stats.get("filament_used")) or 0.0
    height_mm = _number(metadata.get("layer_height"))
    if stats.get("state") != "printing" or len(position) < 3 or not height_mm:
        return track
    z_mm = float(position[2])
    layer = track.layer
    if filament_mm > track.filament_mm and z_mm == track.z_mm:
        first_mm = _number(metadata.get("first_layer_height")) or height_mm
        layer = max(layer or 0, 1 + round(max(0.0, z_mm - first_mm) / height_mm))
    return LayerTrack(filename, filament_mm, z_mm, layer)


def time_left_s(
    print_s: Optional[float], progress: Optional[float], metadata: Mapping[str, Any]
) -> Optional[float]:
    """By the slicer's estimate, and by the pace so far where there is none or it has passed."""
    if print_s is None:
        return None
    estimate_s = _number(metadata.get("estimated_time"))
    if estimate_s is not None and estimate_s > print_s:
        return round(estimate_s - print_s, 1)
    if progress and progress > 0.01:
        return round(print_s / progress * (1.0 - progress), 1)
    return None


def worth_telling(before: Optional[Telemetry], after: Telemetry) -> bool:
    """Whether anybody would see the difference."""
    if before is None or _plain(before) != _plain(after):
        return True
    if before.heaters.keys() != after.heaters.keys():
        return True
    for name, heat in after.heaters.items():
        old = before.heaters[name]
        if heat.target_c != old.target_c:
            return True
        if abs(heat.temperature_c - old.temperature_c) >= TEMPERATURE_STEP_C:
            return True
    if abs((after.progress or 0.0) - (before.progress or 0.0)) >= PROGRESS_STEP:
        return True
    return any(
        abs(new - old) >= POSITION_STEP_MM
        for new, old in zip(after.position_mm, before.position_mm)
    )


def _plain(telemetry: Telemetry) -> tuple[object, ...]:
    return (
        telemetry.layer,
        telemetry.layers,
        telemetry.attempt,
        telemetry.filename,
        len(telemetry.position_mm),
        telemetry.progress is None,
    )


def _layers_by_height(metadata: Mapping[str, Any]) -> Optional[int]:
    height_mm = _number(metadata.get("layer_height"))
    object_mm = _number(metadata.get("object_height"))
    if not height_mm or not object_mm:
        return None
    first_mm = _number(metadata.get("first_layer_height")) or height_mm
    return 1 + max(0, round((object_mm - first_mm) / height_mm))


def _number(raw: Any) -> Optional[float]:
    return float(raw) if isinstance(raw, (int, float)) else None
