"""Expected extrusion against the slicer's own figure and against hand-made moves."""

import re
from pathlib import Path

import pytest

from demo.extrusion import expected_extrusion_mm, extrusion_mm

FILES = sorted((Path(__file__).parents[2] / "demo" / "gcode").glob("*.gcode"))


def test_the_sliced_files_are_there() -> None:
    assert {file.stem for file in FILES} >= {
        "cube20_pla", "plate180_asa", "tile_petg", "tile_pla", "tile_pla_06",
    }  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_agrees_with_what_the_slicer_wrote_into_the_file(file: Path) -> None:
    told = re.search(r"; filament used \[mm\] = ([\d.]+)", file.read_text())
    assert told is not None
    assert expected_extrusion_mm(file) == pytest.approx(float(told[1]), abs=0.006)


@pytest.mark.parametrize(
    ("gcode", "mm"),
    [
        ("M83\nG1 X1 E2\nG1 X2 E3", 5),
        ("G1 E2\nG1 E5", 5),  # Klipper starts with absolute E
        ("M82\nG1 E2\nG92 E0\nG1 E3", 5),
        ("M83\nG1 E10\nG1 E-2\nG1 E2\nG1 E1", 11),
        ("M83\nG1 E10\nG1 E-2", 10),  # a last retraction takes no plastic back
        ("M83\nG1 E4\nM82\nG92 E0\nG1 E1", 5),
        ("M83\n; G1 E5\nG1 X1 ; E9\nG4 P100\nM104 S200", 0),
        ("m83\ng1 x1 e.5", 0.5),
        ("", 0),
    ],
)
def test_moves(gcode: str, mm: float) -> None:
    assert extrusion_mm(gcode.splitlines()) == pytest.approx(mm)
