"""Opening a database: new, old, newer, damaged, another program's."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from coordinator.ports import StoreError
from coordinator.store import schema, tables
from coordinator.store.migrations import run
from coordinator.store.sql import SqlStore

from .build import farm, url_of


def dump(path: Path) -> list[str]:
    """Everything that the file holds, as SQL."""
    with closing(sqlite3.connect(path)) as raw:
        return list(raw.iterdump())


def definitions(path: Path) -> set[tuple[str, ...]]:
    """The lines that made each table and index, without quotes and in no order."""
    with closing(sqlite3.connect(path)) as raw:
        made = raw.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {
        tuple(sorted(line.strip(" \t,") for line in text.replace('"', "").splitlines()))
        for (text,) in made
        if schema.VERSION_TABLE not in text
    }


async def open_and_close(path: Path) -> None:
    store = SqlStore(url_of(path))
    try:
        await store.open()
    finally:
        await store.close()


def test_a_new_file_is_made_for_its_owner_alone(path: Path) -> None:
    asyncio.run(open_and_close(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_database_that_is_not_there_is_made(path: Path) -> None:
    asyncio.run(open_and_close(path))
    assert 'INSERT INTO "reign" VALUES(1,0);' in dump(path)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


async def test_opening_again_changes_nothing(path: Path, store: SqlStore) -> None:
    await store.commit(await store.take_term(), farm())
    await store.close()
    before = dump(path)
    await open_and_close(path)
    assert dump(path) == before


async def test_tables_and_migrations_agree(path: Path, tmp_path: Path) -> None:
    await open_and_close(path)
    made = tmp_path / "made.db"
    for file in (path, made):
        engine = sa.create_engine(f"sqlite:///{file}")
        with engine.begin() as connection:
            if file is made:
                tables.metadata.create_all(connection)
            context = MigrationContext.configure(
                connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
            )
            assert compare_metadata(context, tables.metadata) == []
        engine.dispose()
    # Alembic compares neither CHECKs nor the conditions of indexes: the text does.
    assert definitions(path) == definitions(made)


def test_the_head_is_the_newest_revision() -> None:
    scripts = ScriptDirectory.from_config(run.config())
    assert scripts.get_current_head() == schema.HEAD
    assert {revision.revision for revision in scripts.walk_revisions()} == schema.KNOWN


async def test_an_upgrade_that_fails_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upgrade_and_fail(connection: sa.Connection) -> None:
        upgrade(connection)
        raise StoreError("power cut")

    upgrade = run.upgrade
    monkeypatch.setattr(run, "upgrade", upgrade_and_fail)
    with pytest.raises(StoreError, match="power cut"):
        await open_and_close(path)
    assert path.name not in os.listdir(path.parent)
    monkeypatch.undo()
    await open_and_close(path)


async def test_another_programs_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE jobs (id)")
    with pytest.raises(StoreError, match="holds jobs but no version of Moonfleet"):
        await open_and_close(path)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/moonfleet\.db.*No such file"):
        await open_and_close(tmp_path / "nowhere" / "moonfleet.db")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite+aiosqlite://", "name a file"),
        ("sqlite+aiosqlite:///:memory:", "name a file"),
        ("sqlite:///x.db", "use sqlite"),
        ("mysql://x", "use sqlite"),
        ("moonfleet.db", "moonfleet.db"),
    ],
)
def test_a_wrong_address_is_explained(url: str, text: str) -> None:
    with pytest.raises(StoreError, match=text):
        SqlStore(url)
