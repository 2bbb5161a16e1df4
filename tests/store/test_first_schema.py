"""The kept database of the first schema: upgraded to this one, row by row, and never back."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from coordinator.core.attempts import State
from coordinator.core.farm import Draft, Farm, History, Reign, Settings
from coordinator.core.jobs import CopyState
from coordinator.ports import StoreError, StoreUnusable
from coordinator.store import schema
from coordinator.store.migrations import run
from coordinator.store.sql import SqlStore
from moonraker_component.wire import Outcome, Want

from .build import plan, url_of
from .first_schema.make import FILE, ROWS, SHA, TEXT, make, text_of

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0


@pytest.fixture
def old(path: Path) -> Path:
    """A copy of the kept file, to be opened by today's program."""
    shutil.copy(FILE, path)
    return path


def rows_of(path: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as raw:
        raw.row_factory = sqlite3.Row
        return [dict(row) for row in raw.execute(f"SELECT * FROM {table}")]


def version_of(path: Path) -> str:
    (row,) = rows_of(path, schema.VERSION_TABLE)
    return str(row["version_num"])


def test_the_kept_file_is_what_its_text_and_its_maker_say(tmp_path: Path) -> None:
    """A program cannot read a diff of first.db; a person reads first.sql."""
    assert text_of(FILE) == TEXT.read_text()
    made = tmp_path / "made.db"
    make(made)
    assert text_of(made) == TEXT.read_text()


async def test_every_row_survives_the_upgrade(old: Path) -> None:
    store = SqlStore(url_of(old))
    await store.open()
    await store.close()
    assert version_of(old) == schema.HEAD
    for table, wanted in ROWS.items():
        # Columns that came since have values of their own; those of then keep theirs.
        found = [
            {name: value for name, value in row.items() if name in wanted[0]}
            for row in rows_of(old, table)
        ]
        for row in wanted:
            assert row in found, f"{table}: a row is gone or changed"
        assert len(found) == len(wanted), table
    assert [row["term"] for row in rows_of(old, "reign")] == [12]
    with closing(sqlite3.connect(old)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_an_upgraded_farm_is_read_written_and_goes_on(old: Path) -> None:
    store = SqlStore(url_of(old))
    await store.open()
    term = await store.take_term()
    assert term == 13
    rows = await store.load()
    farm = Farm(Settings(), Reign(term=term))
    farm.load(rows.jobs, rows.copies, rows.attempts, rows.printers)
    assert farm.live_on == {
        "assigned": "a-assigned", "resting": "a-armed", "voron": "a-started", "lost": "a-lost",
    }  # fmt: skip
    voron = farm.printers["voron"]
    assert voron.report is not None
    assert voron.report.profile.size_max_mm == (350.0, 350.0, 340.0)
    assert voron.issued is not None
    assert (voron.issued.want, voron.issued.file.sha256) == (Want.RUN, SHA[0])
    assert farm.jobs["j-active"].requirements.printers == ("voron", "lost")
    assert farm.jobs["j-active"].policy.offline_grace_s is None
    assert farm.copies["c-held"].state is CopyState.HELD
    assert set(farm.jobs) == {"j-active", "j-held"}
    detail = await store.reads.job_detail("j-completed")
    assert detail is not None
    assert [a.accepted for a in detail.attempts] == [True]
    assert {a.outcome for a in rows.attempts} == set(Outcome)
    assert {a.state for a in rows.attempts} == set(State)
    page = await store.reads.list_jobs()
    assert len(page.jobs) == len(ROWS["jobs"])
    assert len((await store.reads.list_history()).entries) == len(ROWS["history"])
    assert len((await store.reads.list_files()).files) == len(ROWS["files"])
    draft = Draft(farm)
    draft.put_printer(voron)
    await store.commit(term, plan(*draft.printers.changed.values(), History(at=1.0, kind="kept")))
    newest = (await store.history(limit=1))[0]
    assert newest.kind == "kept"
    await store.close()


async def die_in_upgrade(path: Path, statement: int) -> int:
    """Upgrade in a process that kills itself before a statement; returns how it ended."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.dying_upgrade", str(path), str(statement), cwd=ROOT
    )
    async with asyncio.timeout(DEADLINE_S):
        return await child.wait()


@pytest.mark.parametrize("begins", ["first schema", "nothing"])
async def test_a_killed_upgrade_is_done_again_by_the_next_start(path: Path, begins: str) -> None:
    """SQLite rolls the whole upgrade back: the old schema with every row, or no farm yet."""
    if begins == "first schema":
        shutil.copy(FILE, path)
    deaths = 0
    for statement in (1, 3, 6, 10, 15, 21, 28):
        code = await die_in_upgrade(path, statement)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        deaths += 1
        if begins == "first schema":
            assert text_of_closed(path) == TEXT.read_text()
    assert deaths > 0 or schema.HEAD == "0001"
    store = SqlStore(url_of(path))
    await store.open()
    assert len((await store.load()).printers) == (6 if begins == "first schema" else 0)
    await store.close()
    assert version_of(path) == schema.HEAD
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def text_of_closed(path: Path) -> str:
    """The text after SQLite has rolled back what a dead process left."""
    with closing(sqlite3.connect(path)) as raw:
        return "\n".join(raw.iterdump()) + "\n"


def test_a_newer_database_is_refused_naming_both_and_the_way_back(old: Path) -> None:
    with closing(sqlite3.connect(old)) as raw, raw:
        raw.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
    before = old.read_bytes()
    store = SqlStore(url_of(old))
    with pytest.raises(StoreUnusable) as refused:
        asyncio.run(store.open())
    text = str(refused.value)
    assert str(old) in text
    for word in ("'9999'", f"{schema.HEAD!r}", "newer", "restore", "nothing was changed"):
        assert word in text
    assert old.read_bytes() == before


@pytest.mark.parametrize("target", ["base", "0001"])
async def test_an_upgraded_database_is_not_taken_back(old: Path, target: str) -> None:
    store = SqlStore(url_of(old))
    await store.open()
    await store.close()
    before = text_of(old)
    engine = sa.create_engine(f"sqlite:///{old}")
    if target == schema.HEAD:
        target = "base"
    with (
        pytest.raises(StoreError, match="restore the backup made before the upgrade"),
        engine.begin() as connection,
    ):
        run.downgrade(connection, target)
    engine.dispose()
    assert text_of(old) == before
