"""The Klipper section in Kalico's batch mode: loading, options and G-codes, with no machine."""

from __future__ import annotations

import subprocess
import zlib
from pathlib import Path

import pytest

from demo import hosts
from demo.klipper_config import Paths, printer_cfg
from demo.mcu.commands import DICTIONARY
from demo.profile import Profile

pytestmark = pytest.mark.e2e

DEADLINE_S = 120


def run(tmp_path: Path, section: str, gcode: str = "") -> tuple[int, str]:
    """Run gcode through Kalico as its own tests do; return its exit status and its log."""
    host = hosts.kalico()
    host.link_demo_section()
    hosts.link_section(host.klippy_dir)
    paths = Paths(tmp_path)
    paths.printer_cfg.parent.mkdir(parents=True, exist_ok=True)
    paths.gcodes.mkdir(exist_ok=True)
    paths.printer_cfg.write_text(printer_cfg(Profile("batch"), paths, section))
    (tmp_path / "in.gcode").write_text(gcode)
    (tmp_path / "mcu.dict").write_bytes(zlib.decompress(DICTIONARY.compressed))
    done = subprocess.run(
        [*host.command, str(paths.printer_cfg), "-i", str(tmp_path / "in.gcode"),
         "-o", str(tmp_path / "out"), "-d", str(tmp_path / "mcu.dict")],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_it_loads_with_defaults_and_clears_the_bed_on_disk(tmp_path: Path) -> None:
    status, log = run(tmp_path, "[moonfleet]\n", "MOONFLEET_BED_CLEAR\nMOONFLEET_STATUS\n")
    assert status == 0, log
    assert "Moonfleet: bed is clear (token " in log
    token = (tmp_path / "printer_data" / "moonfleet" / "bed_clear").read_text()
    assert f"(token {token})" in log


def test_the_latch_is_read_again_by_the_next_start(tmp_path: Path) -> None:
    section = f"[moonfleet]\nstate_dir: {tmp_path}/elsewhere\n"
    run(tmp_path, section, "MOONFLEET_BED_CLEAR\n")
    token = (tmp_path / "elsewhere" / "bed_clear").read_text()
    _, log = run(tmp_path, section, "MOONFLEET_STATUS\n")
    assert f"Moonfleet: bed is clear (token {token})" in log
    (tmp_path / "elsewhere" / "bed_clear").unlink()
    _, log = run(tmp_path, section, "MOONFLEET_STATUS\n")
    assert f"Moonfleet: bed is not clear (token {token})" in log


@pytest.mark.parametrize(
    ("gcode", "message"),
    [
        ("MOONFLEET_BED_CLEAR TOKEN=old", "token 'old' is not the current one"),
        ("FENCE_RELEASE ATTEMPT=a1", "no fence has fired"),
        ("FENCE_RELEASE", "missing ATTEMPT"),
    ],
)
def test_a_refused_gcode_says_why(tmp_path: Path, gcode: str, message: str) -> None:
    status, log = run(tmp_path, "[moonfleet]\n", f"{gcode}\n")
    assert message in log
    assert status != 0


def test_a_broken_template_is_an_error_of_the_config(tmp_path: Path) -> None:
    status, log = run(tmp_path, "[moonfleet]\neject_gcode:\n  {% if %}\n")
    assert status != 0
    assert "eject_gcode" in log


def test_a_state_dir_that_is_a_file_loads_and_refuses_the_clear(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    section = f"[moonfleet]\nstate_dir: {tmp_path}/file\n"
    _, log = run(tmp_path, section, "MOONFLEET_STATUS\n")
    assert "Moonfleet: bed is not clear" in log
    _, log = run(tmp_path, section, "MOONFLEET_BED_CLEAR\n")
    assert "refused: record: the latch cannot be written" in log
    assert "Internal error" not in log
