"""Which figure is found where, and which change is worth telling."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from moonraker_component.telemetry import (
    LayerTrack,
    find_progress,
    make_telemetry,
    time_left_s,
    track_layer,
    worth_telling,
)
from moonraker_component.view import filament_detected, make_profile, mcu_names
from moonraker_component.wire import Heat

META = {"layer_height": 0.2, "first_layer_height": 0.3, "object_height": 2.1}


def status(z_mm: float = 0.3, filament_mm: float = 1.0, **stats: Any) -> dict[str, dict[str, Any]]:
    return {
        "print_stats": {
            "state": "printing",
            "filename": "a.gcode",
            "filament_used": filament_mm,
            "print_duration": 100.0,
            "info": {},
            **stats,
        },
        "gcode_move": {"gcode_position": [1.0, 2.0, z_mm, 0.0]},
        "virtual_sdcard": {"progress": 0.5, "file_position": 600},
        "extruder": {"temperature": 204.96, "target": 205.0},
        "temperature_sensor pi": {"temperature": 51.0},
    }


def test_layers_come_from_print_stats_where_the_file_tells_them() -> None:
    told = make_telemetry(
        status(info={"current_layer": 3, "total_layer": 9}), META, LayerTrack(layer=7), "a"
    )
    assert (told.layer, told.layers) == (3, 9)


def test_layers_come_from_the_height_where_it_does_not() -> None:
    track = LayerTrack()
    for filament_mm, z_mm in ((1.0, 0.3), (2.0, 0.3), (3.0, 0.5), (4.0, 0.5)):
        track = track_layer(track, status(z_mm, filament_mm), META)
    told = make_telemetry(status(0.5, 4.0), META, track, "a")
    assert (told.layer, told.layers) == (2, 10)


def test_a_hop_without_extrusion_is_no_layer() -> None:
    track = LayerTrack()
    for filament_mm, z_mm in ((1.0, 0.3), (2.0, 0.3), (2.0, 1.3), (2.0, 1.3), (3.0, 0.3)):
        track = track_layer(track, status(z_mm, filament_mm), META)
    assert track.layer == 1


def test_another_file_begins_anew() -> None:
    track = LayerTrack(filename="old.gcode", filament_mm=9.0, z_mm=0.3, layer=50)
    assert track_layer(track, status(), META).layer is None


def test_progress_counts_between_the_first_and_the_last_move() -> None:
    assert find_progress(status(), {"gcode_start_byte": 200, "gcode_end_byte": 1000}) == 0.5
    assert find_progress(status(), {}) == 0.5
    assert find_progress({"display_status": {"progress": 0.25}}, {}) == 0.25
    assert find_progress({}, {}) is None


@pytest.mark.parametrize(
    ("estimate", "progress", "left"),
    [(300.0, 0.5, 200.0), (50.0, 0.5, 100.0), (None, 0.25, 300.0), (None, 0.0, None)],
)
def test_time_left(estimate: float | None, progress: float, left: float | None) -> None:
    metadata = {} if estimate is None else {"estimated_time": estimate}
    assert time_left_s(100.0, progress, metadata) == left


def test_every_heater_and_sensor_is_told() -> None:
    told = make_telemetry(status(), META, LayerTrack(), "a")
    assert told.heaters == {
        "extruder": Heat(205.0, 205.0),
        "temperature_sensor pi": Heat(51.0, None),
    }


def test_an_idle_printer_tells_no_print() -> None:
    told = make_telemetry(status(state="complete"), META, LayerTrack(), "")
    assert (told.progress, told.layer, told.filename, told.left_s) == (None, None, "", None)


def test_a_wavering_heater_is_not_worth_telling_and_a_target_is() -> None:
    before = make_telemetry(status(), META, LayerTrack(), "a")
    wavering = replace(before, heaters={**before.heaters, "extruder": Heat(205.7, 205.0)})
    rising = replace(before, heaters={**before.heaters, "extruder": Heat(205.8, 205.0)})
    aimed = replace(before, heaters={**before.heaters, "extruder": Heat(205.0, 210.0)})
    assert worth_telling(None, before)
    assert not worth_telling(before, before)
    assert not worth_telling(before, wavering)
    assert worth_telling(before, rising)
    assert worth_telling(before, aimed)


@pytest.mark.parametrize(
    ("sensors", "printing", "detected"),
    [
        ({}, True, None),
        ({"filament_switch_sensor a": (True, True)}, False, True),
        ({"filament_switch_sensor a": (False, True)}, False, False),
        ({"filament_switch_sensor a": (False, False)}, False, None),
        ({"filament_motion_sensor m": (False, True)}, False, None),
        ({"filament_motion_sensor m": (False, True)}, True, False),
    ],
)
def test_what_filament_sensors_say(
    sensors: dict[str, tuple[bool, bool]], printing: bool, detected: bool | None
) -> None:
    objects: dict[str, dict[str, Any]] = {
        name: {"filament_detected": seen, "enabled": enabled}
        for name, (seen, enabled) in sensors.items()
    }
    objects["print_stats"] = {"state": "printing" if printing else "standby"}
    assert filament_detected(objects) is detected


def test_the_profile_says_unknown_for_what_is_not_there() -> None:
    profile = make_profile({}, {}, "model-x")
    assert (profile.model, profile.nozzle_mm, profile.size_max_mm) == ("model-x", None, ())
    assert mcu_names({"mcu": {"serial": "/dev/a"}, "mcu tool": {"canbus_uuid": "12ab"}}) == (
        "/dev/a",
        "12ab",
    )
