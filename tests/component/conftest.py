"""Real Mosquitto, real HTTP, and the component's own agent on a stub of Moonraker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.component.mosquitto import Mosquitto
from tests.component.web import FileServer


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A running broker that knows one user."""
    mosquitto = Mosquitto(tmp_path / "broker")
    await mosquitto.start()
    yield mosquitto
    await mosquitto.kill()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[FileServer]:
    """A running file server and its folder."""
    folder = tmp_path / "web"
    folder.mkdir()
    with FileServer(folder) as server:
        yield server
