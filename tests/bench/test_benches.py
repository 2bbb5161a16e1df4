"""Each bench, tiny: it runs to its end, and its last line is the object that was promised.

Times are not judged here.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[2]
END_MAX_S = 240.0


async def run_bench(name: str, *args: str) -> dict[str, Any]:
    """Run it as install.sh does; return the object of its last line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench", name, *args,
        cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), END_MAX_S)
    assert process.returncode == 0, err.decode()
    told: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return told


@pytest.mark.parametrize(
    ("name", "args", "figures"),
    [
        ("dispatch", ("--printers=3", "--size-mb=0.1"), {"last_start_s", "first_start_s"}),
        ("transfer", ("--size-mb=3", "--rounds=2"), {"ratio_to_curl", "mb_s", "curl_mb_s"}),
        ("start", ("--runs=1",), {"first_200_s"}),
        (
            "fleet",
            ("--printers=2", "--seconds=2", "--settle=1"),
            {"printers", "cpu_percent", "rss_mb", "browser_kb_s"},
        ),
        (
            "schedule",
            ("--jobs=50", "--printers=10", "--rounds=2"),
            {"cold_ms", "incremental_ms", "cold_10x_ms", "incremental_10x_ms"},
        ),
        ("restart", ("--finished=20", "--queued=10", "--runs=1"), {"ready_s"}),
        (
            "failover",
            ("--lease=2",),
            {"unstarted_moved_s", "lease_s", "printing_moved_s", "offline_grace_s"},
        ),
        (
            "agent",
            ("--turns=1", "--seconds=1", "--settle=0"),
            {"cpu_percent_added", "rss_mb_added"},
        ),
    ],
)
async def test_the_last_line_tells_figures_and_references(
    name: str, args: tuple[str, ...], figures: set[str]
) -> None:
    told = await run_bench(name, *args)
    assert set(told) == {"bench", "figures", "reference"}
    assert told["bench"] == name
    assert set(told["figures"]) == figures
    # What is added may be less than what a process wavers by.
    measured = {n: value for n, value in told["figures"].items() if not n.endswith("_added")}
    assert all(value > 0 for value in measured.values())
    more = told["reference"].pop("more")
    for reference in (told["reference"], *more):
        assert set(reference) == {"name", "value", "fixed"}
        assert reference["value"] > 0


async def test_the_first_start_is_not_after_the_last() -> None:
    told = await run_bench("dispatch", "--printers=2", "--size-mb=0.01")
    assert told["figures"]["first_start_s"] <= told["figures"]["last_start_s"]
