"""Databases that were really damaged: found at the next start, named, and left as they are."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.core.farm import History
from coordinator.ports import StoreError, StoreUnusable
from coordinator.store import upkeep, wal
from coordinator.store.sql import SqlStore

from .build import farm, plan, url_of
from .test_faults import commit_until_killed

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0
PAGE = 4096
FRAME = 24 + PAGE


async def open_and_close(path: Path) -> None:
    store = SqlStore(url_of(path))
    try:
        await store.open()
    finally:
        await store.close()


@pytest.fixture
def sound(path: Path) -> Path:
    """A farm's database of over a hundred pages, closed in order."""

    async def fill() -> None:
        store = SqlStore(url_of(path))
        await store.open()
        term = await store.take_term()
        lines = [History(at=float(n), kind="noise", text="x" * 200) for n in range(1000)]
        await store.commit(term, farm(printers=50, copies=500))
        await store.commit(term, plan(*lines))
        await store.close()

    asyncio.run(fill())
    return path


def change(path: Path, at: int, new: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(new)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5 * PAGE)


def cut_off_in_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - PAGE // 2)


def make_empty(path: Path) -> None:
    os.truncate(path, 0)


def write_gcode(path: Path) -> None:
    path.write_bytes(b"G28\nG1 X0\n" * 1000)


def keep_the_beginning(path: Path) -> None:
    os.truncate(path, 60)


def break_the_header(path: Path) -> None:
    change(path, 0, b"\0" * 100)


def break_one_page(path: Path) -> None:
    change(path, 60 * PAGE, b"\xff" * 64)


def break_the_schema(path: Path) -> None:
    change(path, 100, b"\xff" * 400)


def fill_with_zeros(path: Path) -> None:
    change(path, 30 * PAGE, b"\0" * 40 * PAGE)


DAMAGES: dict[Callable[[Path], None], str] = {
    cut_off: r"cut off, \d+ of \d+ bytes",
    cut_off_in_a_page: r"cut off, \d+ of \d+ bytes",
    make_empty: r"the file is empty \(0 bytes\)",
    write_gcode: "this is no database",
    keep_the_beginning: "this is no database",
    break_the_header: "this is no database",
    break_one_page: "damaged",
    break_the_schema: "damaged",
    fill_with_zeros: "damaged",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_told_with_the_way_back_and_nothing_is_touched(
    sound: Path, damage: Callable[[Path], None]
) -> None:
    damage(sound)
    before = sound.read_bytes()
    with pytest.raises(StoreUnusable, match=DAMAGES[damage]) as refused:
        asyncio.run(open_and_close(sound))
    text = str(refused.value)
    assert str(sound) in text
    assert f"moonfleet restore BACKUP --data-dir {sound.parent} --replace" in text
    assert ".dump" in text
    assert sound.read_bytes() == before


def test_the_command_that_is_told_saves_what_can_be_read(sound: Path, tmp_path: Path) -> None:
    break_one_page(sound)
    with pytest.raises(StoreUnusable) as refused:
        asyncio.run(open_and_close(sound))
    told = re.search(r"sqlite3 \S+ \.dump \| sed '[^']+' \| sqlite3 NEW", str(refused.value))
    assert told is not None
    if shutil.which("sqlite3") is None:
        return  # the words are tried where SQLite's shell is installed
    command = told[0].replace("NEW", str(tmp_path / "new.db"))
    subprocess.run(["sh", "-c", command], capture_output=True, timeout=DEADLINE_S, check=False)
    with closing(sqlite3.connect(tmp_path / "new.db")) as raw:
        counts = [
            raw.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("printers", "copies", "jobs", "history")
        ]
    assert counts[:3] == [50, 500, 1]
    assert 0 < counts[3] <= 1000


# ---- the write-ahead log --------------------------------------------------------------------


@pytest.fixture
def killed(path: Path) -> Path:
    """A database whose coordinator was killed: the last rounds are only in its log."""
    asyncio.run(commit_until_killed(path, 30))
    return path


def frames_of(log: Path) -> int:
    return (log.stat().st_size - 32) // FRAME


def log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def rounds_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as raw:
        (highest,) = raw.execute("SELECT max(generation) FROM printers").fetchone()
    return int(highest or 0)


def test_a_log_as_a_killed_process_leaves_it_is_sound(killed: Path) -> None:
    assert frames_of(log_of(killed)) > 30
    assert wal.damage(log_of(killed)) == ""
    asyncio.run(open_and_close(killed))
    assert rounds_in(killed) >= 30


@pytest.mark.parametrize("frame", [0, 10, 40])
@pytest.mark.parametrize("part", ["page", "header"])
def test_a_damaged_log_is_refused_where_sqlite_would_forget_what_was_committed(
    killed: Path, tmp_path: Path, frame: int, part: str
) -> None:
    log = log_of(killed)
    change(log, 32 + frame * FRAME + (4 if part == "header" else 100), b"\xee" * 16)
    before = killed.read_bytes(), log.read_bytes()
    with pytest.raises(StoreUnusable, match=r"commits stand behind a damaged page") as refused:
        asyncio.run(open_and_close(killed))
    assert str(log) in str(refused.value)
    assert (killed.read_bytes(), log.read_bytes()) == before
    # What SQLite itself would have made of it, on a copy.
    copy = tmp_path / "copy" / killed.name
    copy.parent.mkdir()
    shutil.copy(killed, copy)
    shutil.copy(log, log_of(copy))
    assert rounds_in(copy) < 30


def test_a_log_without_its_header_is_refused(killed: Path) -> None:
    change(log_of(killed), 0, b"\0" * 32)
    with pytest.raises(StoreUnusable, match="its header is not readable"):
        asyncio.run(open_and_close(killed))


@pytest.mark.parametrize("how", ["cut", "zeros", "torn"])
def test_a_last_round_that_a_power_cut_left_half_written_is_no_damage(
    killed: Path, how: str
) -> None:
    log = log_of(killed)
    last = 32 + (frames_of(log) - 1) * FRAME
    if how == "cut":
        os.truncate(log, last + 1000)
    else:
        change(
            log, last + (0 if how == "zeros" else 2000), b"\0" * (FRAME if how == "zeros" else 99)
        )
    assert wal.damage(log) == ""
    asyncio.run(open_and_close(killed))
    assert rounds_in(killed) >= 29


def test_frames_of_an_earlier_round_of_the_log_are_no_damage(sound: Path) -> None:
    """After a checkpoint the log is written from its beginning again, over old frames."""
    with closing(sqlite3.connect(sound)) as raw:
        raw.execute("PRAGMA wal_autocheckpoint=0")
        for number in range(20):
            with raw:
                raw.execute("UPDATE printers SET name = ?", (f"first {number}",))
        raw.execute("PRAGMA wal_checkpoint")
        with raw:
            raw.execute("UPDATE printers SET name = 'second'")
        log = log_of(sound)
        salts = {
            struct.unpack_from(">II", log.read_bytes(), 32 + n * FRAME + 8)
            for n in range(frames_of(log))
        }
        assert len(salts) == 2
        assert wal.damage(log) == ""


# ---- what is checked when -------------------------------------------------------------------


def test_a_large_file_is_read_through_only_after_an_end_out_of_order(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(upkeep, "read_through", read.append)
    asyncio.run(open_and_close(sound))
    assert read == [sound], "small ones always are"
    monkeypatch.setattr(upkeep, "SMALL_BYTES", PAGE)
    asyncio.run(open_and_close(sound))
    assert read == [sound]
    with closing(sqlite3.connect(sound)) as raw:
        with raw:
            raw.execute("UPDATE printers SET name = 'left in the log'")
        asyncio.run(open_and_close(sound))
    assert read == [sound, sound]


# ---- disks ----------------------------------------------------------------------------------


def opened(path: Path, *before: str) -> tuple[int, str]:
    """Open the database in a process without the rights of root; how it ended, what it said."""
    program = (
        "import asyncio, sys; from pathlib import Path;"
        "from tests.store.test_damage import open_and_close;"
        f"{' '.join(before)} asyncio.run(open_and_close(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", program, str(path)]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    return done.returncode, done.stderr.strip().splitlines()[-1] if done.stderr else ""


def test_a_database_that_cannot_be_written_is_told(sound: Path) -> None:
    sound.chmod(0o400)
    code, said = opened(sound)
    assert code == 1
    assert f"database {sound}: " in said
    assert "cannot be written: look at the file's owner and the mount" in said


def test_a_folder_that_cannot_be_written_is_told(sound: Path) -> None:
    sound.parent.chmod(0o500)
    code, said = opened(sound)
    sound.parent.chmod(0o700)
    assert code == 1
    assert f"database {sound}: " in said
    assert "cannot be written" in said


def test_no_room_for_a_new_database_leaves_none(path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
    code, said = opened(path, limit)
    assert code == 1
    assert f"database {path}: " in said
    assert not path.exists()
    asyncio.run(open_and_close(path))


def test_a_folder_in_the_place_of_the_file_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=r"moonfleet\.db.*directory"):
        asyncio.run(open_and_close(path))
