"""An engine on a file of its own, running for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.engine.bench import Bench


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moonfleet.db"


@pytest.fixture
async def bench(path: Path) -> AsyncIterator[Bench]:
    async with Bench(path) as bench:
        yield bench
