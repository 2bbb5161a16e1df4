"""A coordinator that is killed at every point of every commit of a small story."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE_S = 600.0

KINDS = {
    "before begin", "before a statement", "after a statement", "before commit", "after commit",
    "before publish",
}  # fmt: skip


def test_no_death_breaks_the_database_starts_an_attempt_twice_or_loses_a_copy(
    tmp_path: Path,
) -> None:
    """The program itself looks after each death, and at the end of each story (dying.py)."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.dying", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kinds"].keys() == KINDS
    # One death for each point of the whole story.
    assert told["deaths"] == sum(told["kinds"].values()) > 100
