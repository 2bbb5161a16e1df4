"""What a host remembers: durable before it is acted upon, and never swallowed."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from moonraker_component.attempt import Attempt
from moonraker_component.rows import Rows
from moonraker_component.wire import Order, Phase, Want
from tests.component.build import ATTEMPT, FILE, OTHER
from tests.component.stub_moonraker import StubDatabase


def attempt(ident: str = ATTEMPT, phase: Phase = Phase.STARTING) -> Attempt:
    return Attempt(order=Order(ident, "copy-1", "job-1", Want.START, FILE), phase=phase)


async def test_rows_come_back_in_their_order_and_are_forgotten(tmp_path: Path) -> None:
    rows = Rows(StubDatabase(tmp_path / "a.db"))
    await rows.save(attempt(OTHER))
    await rows.save(attempt())
    await rows.save(attempt(OTHER, Phase.PRINTING))
    again = Rows(StubDatabase(tmp_path / "a.db"))
    assert [(a.id, a.phase) for a in await again.attempts()] == [
        (OTHER, Phase.PRINTING),
        (ATTEMPT, Phase.STARTING),
    ]
    await again.forget((OTHER,))
    assert [a.id for a in await again.attempts()] == [ATTEMPT]


async def test_the_folder_is_synced_behind_each_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fsync

    def note(number: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{number}"))
        real(number)

    rows = Rows(StubDatabase(tmp_path / "a.db"))
    monkeypatch.setattr(os, "fsync", note)
    await rows.save(attempt())
    assert synced == [str(tmp_path)]


async def test_a_lowered_synchronous_is_raised(tmp_path: Path) -> None:
    database = StubDatabase(tmp_path / "a.db")
    database.connection.execute("PRAGMA synchronous = OFF")
    await Rows(database).save(attempt())
    assert database.connection.execute("PRAGMA synchronous").fetchone()[0] == 2


async def test_an_error_of_the_disk_is_raised(tmp_path: Path) -> None:
    database = StubDatabase(tmp_path / "a.db")
    rows = Rows(database)
    database.fail = True
    with pytest.raises(sqlite3.Error, match="full"):
        await rows.save(attempt())


async def test_a_row_that_cannot_be_read_is_an_error_and_not_forgotten(tmp_path: Path) -> None:
    database = StubDatabase(tmp_path / "a.db")
    rows = Rows(database)
    with database.connection as connection:
        connection.execute("INSERT INTO moonfleet VALUES ('attempt', 'x', '{}')")
    with pytest.raises(ValueError, match="order"):
        await rows.attempts()
