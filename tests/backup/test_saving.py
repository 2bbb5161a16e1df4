"""`moonfleet backup`: what is in the file, that it is of one moment, and never half of one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.backup import database
from coordinator.backup.saving import SMALL_BYTES_MAX
from coordinator.store import schema
from tests.store.committer import PRINTERS

from .folder import (
    FINISHED,
    NOBODYS,
    ROOT,
    SMALL,
    WANTED,
    make_folder,
    moonfleet,
    sha256_of,
    stored,
    tree,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "farm")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "farm.tar"


def contents(file: Path) -> dict[str, bytes]:
    """As any tar reads it."""
    with tarfile.open(file) as tar:
        members = {info.name: tar.extractfile(info) for info in tar}
        return {name: opened.read() for name, opened in members.items() if opened is not None}


@pytest.mark.parametrize(
    ("option", "files"),
    [((), (WANTED,)), (("--all-files",), (WANTED, FINISHED, NOBODYS)), (("--no-files",), ())],
)
def test_all_that_makes_the_farm_is_in_it_and_nothing_that_is_made_anew(
    folder: Path, file: Path, option: tuple[str, ...], files: tuple[bytes, ...]
) -> None:
    before = tree(folder)
    ran = moonfleet("backup", file, "--data-dir", folder, "--json", *option)
    assert ran.code == 0, ran.errors
    found = contents(file)
    names = {"moonfleet.db", "moonfleet.toml", "manifest.json", *SMALL, *map(stored, files)}
    assert found.keys() == names
    for name in names - {"moonfleet.db", "manifest.json"}:
        assert found[name] == before[name]
    manifest = json.loads(found.pop("manifest.json"))
    assert ran.json["manifest"] == manifest
    assert (manifest["format"], manifest["schema"]) == (1, schema.HEAD)
    told = {m["name"]: (m["size_bytes"], m["sha256"]) for m in manifest["members"]}
    assert told == {n: (len(c), hashlib.sha256(c).hexdigest()) for n, c in found.items()}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == [file.name]
    after = {n: c for n, c in tree(folder).items() if not n.endswith(("-wal", "-shm"))}
    assert after == before, "a backup changes nothing"


def test_each_copy_beside_a_writing_coordinator_is_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "moonfleet.db"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.store.committer", str(path)],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    seen = []
    try:
        assert child.stdout is not None
        for number in range(5):
            for _ in range(20):
                last = int(child.stdout.readline())
            copied = tmp_path / f"{number}.db"
            database.copy(path, copied)
            assert database.check(copied, "the copy") == schema.HEAD
            with closing(sqlite3.connect(copied)) as raw:
                found = raw.execute("SELECT DISTINCT generation FROM printers").fetchall()
                (lines,) = raw.execute("SELECT count(*) FROM history").fetchone()
            ((generation,),) = found
            assert lines == PRINTERS * generation
            assert generation >= last, "what was committed before the backup is in it"
            seen.append(generation)
        assert child.poll() is None, "it was not held up"
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
    assert seen == sorted(set(seen))


def test_a_file_of_this_name_is_only_replaced_when_told(folder: Path, file: Path) -> None:
    file.write_bytes(b"what was there")
    ran = moonfleet("backup", file, "--data-dir", folder)
    assert (ran.code, file.read_bytes()) == (2, b"what was there")
    assert "--replace" in ran.errors
    assert moonfleet("backup", file, "--data-dir", folder, "--replace").code == 0
    assert "manifest.json" in contents(file)


DIE = "import os, signal; os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
NO_ROOM = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"


def test_no_room_leaves_what_was_there_and_nothing_else(folder: Path, file: Path) -> None:
    file.write_bytes(b"the last good one")
    ran = moonfleet("backup", file, "--data-dir", folder, "--replace", before=NO_ROOM)
    assert ran.code == 1
    assert "no backup was made" in ran.errors
    assert tree(file.parent) == {file.name: b"the last good one"}


def test_a_killed_backup_leaves_nothing_under_the_wanted_name(folder: Path, file: Path) -> None:
    assert moonfleet("backup", file, "--data-dir", folder, before=DIE).code == -signal.SIGKILL
    assert not file.exists()
    assert moonfleet("backup", file, "--data-dir", folder).code == 0


def test_a_damaged_database_is_not_saved_as_if_it_were_sound(folder: Path, file: Path) -> None:
    path = folder / "moonfleet.db"
    content = bytearray(path.read_bytes())
    content[20 * 4096 : 20 * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    ran = moonfleet("backup", file, "--data-dir", folder)
    assert ran.code == 1
    assert "damaged" in ran.errors
    assert os.listdir(file.parent) == []


@pytest.mark.parametrize("damage", ["gone", "empty", "no database"])
def test_without_a_database_there_is_no_backup(folder: Path, file: Path, damage: str) -> None:
    path = folder / "moonfleet.db"
    path.unlink()
    if damage != "gone":
        path.write_bytes(b"" if damage == "empty" else b"G28\n" * 3000)
    before = tree(folder)
    ran = moonfleet("backup", file, "--data-dir", folder)
    assert ran.code == 1
    assert str(path) in ran.errors
    assert os.listdir(file.parent) == []
    assert tree(folder) == before, "nothing was made in its place"


def test_what_is_missing_or_strange_is_told(folder: Path, file: Path) -> None:
    (folder / stored(WANTED)).unlink()
    (folder / "name with spaces").write_text("?")
    (folder / "trust" / "link").symlink_to("/etc/passwd")
    with (folder / "huge").open("wb") as huge:
        huge.truncate(SMALL_BYTES_MAX + 1)
    ran = moonfleet("backup", file, "--data-dir", folder)
    assert ran.code == 0, ran.errors
    for word in (sha256_of(WANTED), "name with spaces", "trust/link", "huge"):
        assert word in ran.out
    assert contents(file).keys() == {"moonfleet.db", "moonfleet.toml", "manifest.json", *SMALL}


def test_damaged_g_code_is_saved_and_told(folder: Path, file: Path) -> None:
    (folder / stored(WANTED)).write_bytes(b"bit rot")
    ran = moonfleet("backup", file, "--data-dir", folder)
    assert ran.code == 0, ran.errors
    assert f"{stored(WANTED)}: saved, but its content is damaged" in ran.out
    assert contents(file)[stored(WANTED)] == b"bit rot"


def test_a_file_inside_the_data_folder_is_refused(folder: Path) -> None:
    ran = moonfleet("backup", folder / "trust" / "b.tar", "--data-dir", folder)
    assert ran.code == 1
    assert "lies in the data folder" in ran.errors


def test_postgresql_is_left_to_pg_dump_and_that_is_said(folder: Path, file: Path) -> None:
    (folder / "moonfleet.db").unlink()
    (folder / "moonfleet.toml").write_text('database_url = "postgresql+asyncpg://me@db/farm"\n')
    ran = moonfleet("backup", file, "--data-dir", folder)
    assert ran.code == 0, ran.errors
    assert "PostgreSQL, which pg_dump saves" in ran.out
    found = contents(file)
    assert "moonfleet.db" not in found
    assert {stored(c) for c in (WANTED, FINISHED, NOBODYS)} < found.keys()


def test_a_configuration_and_a_database_elsewhere_are_found(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    (folder / "moonfleet.db").rename(elsewhere)
    config = tmp_path / "other.toml"
    config.write_text(f'database_url = "sqlite+aiosqlite:///{elsewhere}"\n')
    file = tmp_path / "farm.tar"
    ran = moonfleet("backup", file, "--data-dir", folder, "--config", config)
    assert ran.code == 0, ran.errors
    assert contents(file)["moonfleet.toml"] == config.read_bytes()
    ran = moonfleet("restore", file, "--data-dir", tmp_path / "new")
    assert ran.code == 0, ran.errors
    assert f"its configuration names the database {elsewhere}" in ran.out


@pytest.mark.parametrize("name", ["nowhere", "farm.toml"])
def test_a_data_folder_that_is_none_is_told(tmp_path: Path, file: Path, name: str) -> None:
    (tmp_path / "farm.toml").touch()
    ran = moonfleet("backup", file, "--data-dir", tmp_path / name)
    assert (ran.code, "no such folder" in ran.errors) == (2, True)


async def test_a_copy_does_not_wait_for_a_transaction_that_is_open(folder: Path) -> None:
    """The coordinator may hold its lock for as long as a commit of ten thousand copies takes."""
    path = folder / "moonfleet.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("UPDATE printers SET name = 'not committed'")
        await asyncio.to_thread(database.copy, path, folder / "copy.db")
        raw.execute("ROLLBACK")
    with closing(sqlite3.connect(folder / "copy.db")) as raw:
        assert raw.execute("SELECT count(*) FROM printers WHERE name LIKE 'not%'").fetchone() == (
            0,
        )
