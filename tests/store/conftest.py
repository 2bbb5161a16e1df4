"""A store on a file of its own, open for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.store.sql import SqlStore

from .build import url_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moonfleet.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(url_of(path))
    await store.open()
    yield store
    await store.close()
