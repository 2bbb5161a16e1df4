"""A minute of chaos with eight real printers: every kind of fault that fits, and no harm done."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.run import Plan, run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SEED = 3


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, as the addresses of sockets are; kept where a run fails, for its timeline."""
    folder = Path(tempfile.mkdtemp(prefix="mf-chaos-"))
    yield folder
    if not (folder / "bad").exists():
        shutil.rmtree(folder)


async def test_a_minute_of_chaos_loses_doubles_and_harms_nothing(folder: Path) -> None:
    plan = Plan(SEED, total_s=60.0, folder=folder / "farm", every_s=2.5)
    result = await run(plan, print)
    verdict = result.verdict
    if not verdict.is_good:
        (folder / "bad").touch()
    told = f"{verdict.figures}, in order: {result.timeline}"
    assert verdict.findings == (), told
    assert verdict.wanted == verdict.completed >= len(result.faults), told
    assert len(result.faults) >= 10, told
