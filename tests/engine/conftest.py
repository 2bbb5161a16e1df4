"""An engine on a file of its own, and a real Mosquitto, each running for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.broker import Broker
from tests.engine.bench import Bench


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moonfleet.db"


@pytest.fixture
async def bench(path: Path) -> AsyncIterator[Bench]:
    async with Bench(path) as bench:
        yield bench


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path / "broker", jitter=lambda: 0.0)
    await broker.start()
    yield broker
    await broker.stop()
