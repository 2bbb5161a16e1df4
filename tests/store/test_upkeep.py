"""Opening a database: new, old, newer, damaged, another program's."""

from __future__ import annotations

import asyncio
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


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    asyncio.run(open_and_close(path))
    assert 'INSERT INTO "reign" VALUES(1,0);' in dump(path)


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


async def test_a_newer_version_is_refused_and_left_alone(path: Path, store: SqlStore) -> None:
    await store.close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
        raw.commit()
    before = dump(path)
    with pytest.raises(StoreError, match=r"version '9999'.*written by a newer one"):
        await store.open()
    assert dump(path) == before


async def test_a_downgrade_is_refused_with_the_way_back(path: Path) -> None:
    await open_and_close(path)
    before = dump(path)
    engine = sa.create_engine(f"sqlite:///{path}")
    with (
        pytest.raises(StoreError, match="restore the backup made before the upgrade"),
        engine.begin() as connection,
    ):
        run.downgrade(connection, "base")
    engine.dispose()
    assert dump(path) == before


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
    assert definitions(path) == set()
    monkeypatch.undo()
    await open_and_close(path)


async def test_another_programs_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE jobs (id)")
    with pytest.raises(StoreError, match="holds jobs but no version of Moonfleet"):
        await open_and_close(path)


def test_what_is_no_database_is_refused_with_the_way_back(path: Path) -> None:
    path.write_bytes(b"G28\nG1 X0\n" * 1000)
    with pytest.raises(StoreError, match=r"no database, or it is damaged.*newest backup"):
        asyncio.run(open_and_close(path))


def damage(path: Path) -> None:
    """Overwrite the beginning of most pages."""
    content = bytearray(path.read_bytes())
    for page in range(4, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)


async def test_a_damaged_file_is_refused_with_the_way_back(path: Path, store: SqlStore) -> None:
    await store.commit(await store.take_term(), farm(printers=50, copies=500))
    await store.close()
    damage(path)
    with pytest.raises(StoreError, match=r"damaged.*newest backup.*\.recover"):
        await store.open()


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
