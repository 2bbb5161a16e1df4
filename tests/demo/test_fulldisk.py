"""A disk that is full for one process, switched while it runs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.fulldisk import Disk, both

PROGRAM = """
import errno, os, sqlite3, sys
folder = sys.argv[1]
database = sqlite3.connect(folder + "/d.db", isolation_level=None)
database.execute("CREATE TABLE t (x)")
file = open(folder + "/f", "ab", buffering=0)
for line in sys.stdin:
    told = []
    for act in (
        lambda: file.write(b"x"),
        lambda: os.mkdir(f"{folder}/{line.strip()}"),
        lambda: database.execute("INSERT INTO t VALUES (1)"),
    ):
        try:
            act()
            told.append("ok")
        except OSError as error:
            told.append(errno.errorcode[error.errno])
        except sqlite3.OperationalError as error:
            told.append("FULL" if "full" in str(error) else str(error))
    told.append("room" if os.statvfs(folder).f_bavail else "none")
    told.append(str(database.execute("SELECT count(*) FROM t").fetchone()[0]))
    print(" ".join(told), flush=True)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "switch", tmp_path)


@pytest.fixture
def process(disk: Disk, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    folder = tmp_path / "data"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env=disk.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


def tries(process: "subprocess.Popen[str]", name: str) -> str:
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_full_disk_takes_no_byte_and_can_be_read(
    disk: Disk, process: "subprocess.Popen[str]"
) -> None:
    assert tries(process, "before") == "ok ok ok room 1"
    disk.fill()
    assert disk.is_full
    assert tries(process, "full") == "ENOSPC ENOSPC FULL none 1"
    disk.free()
    assert not disk.is_full
    assert tries(process, "after") == "ok ok ok room 2"


def test_it_stays_full_for_the_next_process(disk: Disk, tmp_path: Path) -> None:
    disk.environment()
    disk.fill()
    done = subprocess.run(
        [sys.executable, "-c", f"open({str(tmp_path / 'g')!r}, 'wb', buffering=0).write(b'x')"],
        env=disk.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No space left" in done.stderr


def test_two_environments_preload_both_libraries() -> None:
    assert both({"LD_PRELOAD": "a.so", "X": "1"}, {"LD_PRELOAD": "b.so"}) == {
        "LD_PRELOAD": "a.so:b.so",
        "X": "1",
    }
    assert both({}, {"LD_PRELOAD": "b.so"})["LD_PRELOAD"] == "b.so"
