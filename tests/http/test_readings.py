"""What a page gets of telemetry: nothing that it does not show, and nothing twice."""

from __future__ import annotations

from msgspec.structs import replace

from coordinator.http.printer_view import Readings
from coordinator.http.readings import REPEAT_S, shown, worth_sending
from moonraker_component.wire import Heat, Telemetry

TOLD = Readings(
    "one",
    1_000.25,
    Telemetry(
        heaters={"extruder": Heat(214.8, 215.0), "chamber": Heat(38.2)},
        progress=0.12345,
        layer=7,
        layers=80,
        position_mm=(1.0, 2.0, 3.0),
        print_s=61.5,
        left_s=3_334.0,
        filament_mm=12.5,
        attempt="attempt-1",
        filename="moonfleet/attempt-1/part.gcode",
    ),
)


def later(after_s: float, **changes: object) -> Readings:
    """The readings of a moment later."""
    return Readings("one", TOLD.at + after_s, replace(TOLD.telemetry, **changes))


def test_it_is_no_finer_than_it_is_shown() -> None:
    telemetry = shown(TOLD).telemetry
    assert telemetry.heaters == {"extruder": Heat(215, 215.0), "chamber": Heat(38)}
    assert (telemetry.progress, telemetry.layer, telemetry.layers) == (0.123, 7, 80)
    assert telemetry.left_s == 3_330.0
    assert telemetry.position_mm == ()
    assert telemetry.filename == ""


def test_the_last_seconds_are_counted_down() -> None:
    assert shown(later(0, left_s=4.0)).telemetry.left_s == 4.0


def test_what_is_unknown_stays_unknown() -> None:
    told = shown(Readings("one", 1.0, Telemetry())).telemetry
    assert told == Telemetry()


def test_what_no_page_shows_is_not_sent() -> None:
    moved = later(2, position_mm=(9.0, 9.0, 9.0), print_s=63.5, progress=0.12349)
    assert not worth_sending(shown(TOLD), shown(moved))


def test_what_a_page_shows_is_sent() -> None:
    changes: tuple[dict[str, object], ...] = (
        {"progress": 0.13},
        {"layer": 8},
        {"left_s": 3_200.0},
        {"heaters": {}},
    )
    for change in changes:
        assert worth_sending(shown(TOLD), shown(later(2, **change)))


def test_the_first_is_sent_and_the_same_before_it_is_stale() -> None:
    assert worth_sending(None, shown(TOLD))
    assert worth_sending(shown(TOLD), shown(later(REPEAT_S)))
