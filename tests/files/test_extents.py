"""What files do: each test a few lines of G-code and what they amount to."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.files.arcs import arc_box
from coordinator.files.extents import LINE_BYTES_MAX, Analysis, Extents, analyse
from coordinator.files.metadata import read_metadata

SAMPLES = sorted(Path(__file__).parent.joinpath("gcode").glob("*.gcode"))


def of(text: str) -> Analysis:
    return analyse([text.encode()])


def box(text: str) -> tuple[float, ...] | None:
    extents = of(text).extents
    if extents is None:
        return None
    return tuple(round(getattr(extents, name), 6) for name in Extents.__struct_fields__)


def test_only_extruding_moves_count_from_their_start_to_their_end() -> None:
    text = "G28\nG1 X5 Y6 Z0.2\nG1 X50 Y60 E3\nG1 X200 Y200\nG0 Z40\nG1 E-2\nG1 E2\n"
    assert box(text) == (5, 6, 0.2, 50, 60, 0.2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("G1 X1 Y1 Z1\nG91\nG1 X9 Y9 E1\nG1 X-20 E1", (-10, 1, 1, 10, 10, 1)),
        ("G1 X1 Y1 Z1\nG91\nG1 X9\nG90\nG1 X2 Y2 E1", (2, 1, 1, 10, 2, 1)),
        ("G1 X10 Y10 Z1\nG92 X0 Y0\nG1 X5 Y5 E1", (10, 10, 1, 15, 15, 1)),
        ("G1 X10 Y10 Z1\nG92 X0 Y0\nG28\nG1 X3 Y3 Z1\nG1 X5 Y5 E1", (3, 3, 1, 5, 5, 1)),
        ("g1 x1 y1 z1\ng1x5y5e1", (1, 1, 1, 5, 5, 1)),
        ("N1 G1 X1 Y1 Z1\nN2 G1 X5 Y5 E1", (1, 1, 1, 5, 5, 1)),
        ("G1 F900 E1 Z1 Y1 X1\nG1 E2 Y5 X5 ; over", (1, 1, 1, 5, 5, 1)),
        ("G1 X1 Y1 Z1\r\nG1 X5 Y5 E1\r\n", (1, 1, 1, 5, 5, 1)),
        ("G1 X1 Y1 Z1\n;G1 X90 Y90 E9\nG1 X5 Y5 E1 ;G1 X99", (1, 1, 1, 5, 5, 1)),
        # The start of the first move is unknown, its end is not.
        ("G28\nG1 X5 Y5 Z1 E1", (5, 5, 1, 5, 5, 1)),
        ("PRINT_START\nG1 X5 E1\nG1 X9 Y9 E2", None),
        ("G91\nG1 X5 Y5 Z5 E1", None),
        ("G1 X1 Y1 Z1\nG1 X5 Y5", None),
        ("", None),
    ],
)
def test_positions(text: str, expected: tuple[float, ...] | None) -> None:
    assert box(text) == expected


@pytest.mark.parametrize(
    ("text", "expected_mm"),
    [
        ("M83\nG1 X1 E1\nG1 X2 E1", 2),
        ("M82\nG1 X1 E1\nG1 X2 E2", 2),
        ("G1 X1 E1\nG92 E0\nG1 X2 E1", 2),
        ("M83\nG1 X1 E5\nG1 E-2\nG1 E2\nG1 X2 E1", 6),
        # Klipper: relative positions make E relative too, whatever M82 says.
        ("M82\nG91\nG1 X1 E1\nG1 X2 E1", 2),
        ("M82\nG1 E5 F300\nG1 X1 E4\nG1 X2 E5", 5),
    ],
)
def test_filament(text: str, expected_mm: float) -> None:
    assert of(text).extruded_mm == pytest.approx(expected_mm)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # From (10, 0) around (0, 0): the quarter counter-clockwise, the other way three.
        ("G1 X10 Y0 Z1\nG3 X0 Y10 I-10 J0 E1", (0, 0, 1, 10, 10, 1)),
        ("G1 X10 Y0 Z1\nG2 X0 Y10 I-10 J0 E1", (-10, -10, 1, 10, 10, 1)),
        ("G1 X10 Y0 Z1\nG2 X10 Y0 I-10 E1", (-10, -10, 1, 10, 10, 1)),
        ("G1 X10 Y0 Z1\nG2 X10 Y0 I-10", None),
    ],
)
def test_arcs(text: str, expected: tuple[float, ...] | None) -> None:
    assert box(text) == expected


@given(st.floats(0, 2 * math.pi), st.floats(0.01, 2 * math.pi), st.booleans(), st.floats(0.1, 100))
def test_every_point_of_an_arc_is_in_its_box(
    begin: float, sweep: float, is_clockwise: bool, radius: float
) -> None:
    signed = -sweep if is_clockwise else sweep
    points = [
        (radius * math.cos(begin + signed * i / 64), radius * math.sin(begin + signed * i / 64))
        for i in range(65)
    ]
    low_x, low_y, high_x, high_y = arc_box(points[0], points[-1], (0, 0), is_clockwise)
    assert all(low_x - 1e-6 <= x <= high_x + 1e-6 for x, _ in points)
    assert all(low_y - 1e-6 <= y <= high_y + 1e-6 for _, y in points)
    assert max(high_x, high_y, -low_x, -low_y) <= radius + 1e-6


@pytest.mark.parametrize(
    ("text", "extruder_c", "bed_c", "chamber_c"),
    [
        ("M104 S210\nM109 S215 T0\nM104 S0\nM140 S60\nM190 S65\nM140 S0", 215, 65, None),
        ("M109 R200\nM190 R50\nM141 S40\nM191 S45", 200, 50, 45),
        ("PRINT_START EXTRUDER=240 BED=80 CHAMBER=50", 240, 80, 50),
        ("START_PRINT BED_TEMP=60.5 EXTRUDER_TEMP=215 ; start", 215, 60.5, None),
        ("print_start extruder=200 bed=50", 200, 50, None),
        ("PRINT_START EXTRUDER={t} BED=nan", None, None, None),
        ("SET_HEATER_TEMPERATURE HEATER=extruder1 TARGET=230", 230, None, None),
        ("SET_HEATER_TEMPERATURE HEATER=heater_bed TARGET=90", None, 90, None),
        ("M117 EXTRUDER=999\nSET_FAN_SPEED FAN=x BED=999", None, None, None),
        ("M104\nM140 S", None, None, None),
    ],
)
def test_temperatures(
    text: str, extruder_c: float | None, bed_c: float | None, chamber_c: float | None
) -> None:
    seen = of(text)
    assert seen.max_extruder_temp_c == extruder_c
    assert seen.max_bed_temp_c == bed_c
    assert seen.max_chamber_temp_c == chamber_c


def test_tools_are_those_that_extrude() -> None:
    assert of("M83\nT1\nG1 X1 E1\nT2\nG1 X5\nT0\nG1 X2 E1").tools_used == (0, 1)
    assert of("G1 X1").tools_used == ()


def test_counts() -> None:
    seen = of("; head\nG28\n\nhello dear world\nM83\nG1 X1 Y1\nG1 X2 E1\nG1 X3 E1\nM84")
    assert (seen.line_count, seen.command_count, seen.odd_line_count) == (9, 6, 1)
    assert (seen.first_extrusion_line, seen.last_extrusion_line) == (7, 8)
    assert not seen.reports_layers
    assert of("SET_PRINT_STATS_INFO TOTAL_LAYER=3").reports_layers
    assert of("G20").uses_inches


@pytest.mark.parametrize(
    "line", ["G1 X1.2.3 Y4 E1", "G1 X- Y1 E1", "G1 X. E1", "M104 S1.2.3", "\\\\ \x01", "?"]
)
def test_nonsense_breaks_nothing(line: str) -> None:
    assert of(f"M83\nG1 X1 Y1 Z1\n{line}\nG1 X2 Y2 E1").extruded_mm >= 1


def test_binary_content_is_told() -> None:
    assert analyse([b"G28\n", b"G1\0\n"]).is_binary
    assert analyse([b"x" * LINE_BYTES_MAX, b"x" * 1000, b"x"]).is_binary
    assert not of("G28").is_binary


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_the_slicers_own_figures_are_confirmed(sample: Path) -> None:
    seen, said = analyse([sample.read_bytes()]), read_metadata(sample)
    assert seen.odd_line_count == 0
    assert seen.extents is not None
    assert said.object_height_mm is not None
    if b"G1 Z5 F5000 ; lift nozzle" in sample.read_bytes():
        # The comments name no height here, so that of this start macro's lift was taken for
        # it; what is really extruded is 2 mm high.
        assert (said.object_height_mm, seen.extents.max_z_mm) == (5.0, 2.05)
    else:
        assert seen.extents.max_z_mm == pytest.approx(said.object_height_mm)
    if said.slicer == "PrusaSlicer":
        assert seen.extruded_mm == pytest.approx(said.filament_mm, abs=0.02)
        assert seen.max_extruder_temp_c == said.first_layer_extr_temp_c
        assert (seen.max_bed_temp_c or 0.0) == said.first_layer_bed_temp_c


@given(st.integers(1, 5000))
def test_where_chunks_end_does_not_matter(size: int) -> None:
    data = (SAMPLES[0].parent / "tile_pla.gcode").read_bytes()
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    assert analyse(parts) == analyse([data])
