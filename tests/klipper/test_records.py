"""What the Klipper section keeps on disk: durable, and never wrongly clear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from klipper_extras import records, rules

REPO = Path(records.__file__).parents[1]
ASK = rules.Ask("a1", "c1", "j1", "moonfleet/a1/part.gcode", 5.0, "t", 0.0, 0.0)
RECORD = rules.start_record(ASK, 7)


def latch(folder: Path) -> Any:
    state = records.read_state(folder)
    return rules.read_latch(state.clear_text, state.token_text, "fresh", state.can_drop)


class Crash(BaseException):
    """The power went at this very call."""


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Let the number-th system call that changes the disk never happen; return what did."""
    done: list[str] = []
    for name in ("fsync", "rename", "unlink", "mkdir"):
        real = getattr(os, name)

        def step(*args: Any, real: Any = real, name: str = name, **kwargs: Any) -> Any:
            if len(done) == number:
                raise Crash
            done.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, step)
    return done


def run_until_crash(
    monkeypatch: pytest.MonkeyPatch, number: int, func: Callable[..., Any], *args: Any
) -> bool:
    """Whether func got to its end before the crash."""
    with monkeypatch.context() as patch:
        crash_at(patch, number)
        try:
            func(*args)
        except Crash:
            return False
        return True


def crashes(
    monkeypatch: pytest.MonkeyPatch, func: Callable[..., Any], *args: Any
) -> Iterator[bool]:
    """Yield after each possible crash of func, and once after it went through."""
    for number in range(50):
        finished = run_until_crash(monkeypatch, number, func, *args)
        yield finished
        if finished:
            return
    raise AssertionError("func never came to its end")


def test_an_empty_or_missing_folder_is_not_clear(tmp_path: Path) -> None:
    assert not latch(tmp_path).clear
    assert not latch(tmp_path / "none" / "there").clear
    assert records.read_state(tmp_path / "none").problems == []


def test_clear_is_read_back_and_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    records.set_clear(folder, "t1")
    assert latch(folder) == rules.Latch("t1", True)
    records.drop_clear(folder)
    assert latch(folder) == rules.Latch("fresh", False)
    records.drop_clear(folder)
    records.write_token(folder, "t2")
    assert latch(folder) == rules.Latch("t2", False)


def test_dropping_where_nothing_was_ever_written(tmp_path: Path) -> None:
    records.drop_clear(tmp_path / "none")
    assert not latch(tmp_path / "none").clear


def test_a_crash_within_a_clear_leaves_the_bed_clear_or_not_but_never_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "state"
    for finished in crashes(monkeypatch, records.set_clear, folder, "t1"):
        found = latch(folder)
        assert found in (
            rules.Latch("t1", True), rules.Latch("t1", False), rules.Latch("fresh", False),
        )  # fmt: skip
        assert found.clear or not finished


def test_a_crash_within_a_drop_never_leaves_clear_once_the_first_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for finished in crashes(monkeypatch, records.drop_clear, tmp_path):
        seen.append(latch(tmp_path).clear)
        assert not (finished and latch(tmp_path).clear)
        records.set_clear(tmp_path, "t1")
    assert seen[1:] == [False] * (len(seen) - 1)


def test_every_step_of_a_durable_write_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        done = crash_at(patch, 99)
        records.write_durable(str(tmp_path / "new" / "file"), "x")
    # The new folder's name, then the file's content before its name, then its name.
    assert done == ["mkdir", "fsync", "fsync", "rename", "fsync"]


def test_a_drop_syncs_its_folder_after_the_last_unlink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.set_clear(tmp_path, "t1")
    with monkeypatch.context() as patch:
        done = crash_at(patch, 99)
        records.drop_clear(tmp_path)
    assert done == ["unlink", "unlink", "fsync"]


def test_records_come_back_in_their_order(tmp_path: Path) -> None:
    for serial, attempt in ((2, "b"), (1, "c"), (3, "a")):
        records.write_record(tmp_path, RECORD._replace(attempt=attempt, serial=serial))
    assert [r.attempt for r in records.read_state(tmp_path).records] == ["c", "b", "a"]
    records.remove_records(tmp_path, ["b", "none"])
    assert [r.attempt for r in records.read_state(tmp_path).records] == ["c", "a"]


def test_a_crash_within_an_end_leaves_started_or_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.write_record(tmp_path, RECORD)
    ended = rules.end_record(RECORD, "complete", "")
    for finished in crashes(monkeypatch, records.write_record, tmp_path, ended):
        [found] = records.read_state(tmp_path).records
        assert found in (RECORD, ended)
        assert found == ended or not finished


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "\x00" * 99, '{"attempt": "a1"}', "[" * 5000,
        json.dumps({**RECORD._asdict(), "state": "printing"}),
        json.dumps({**RECORD._asdict(), "state": "ended", "outcome": "fine"}),
        json.dumps({**RECORD._asdict(), "serial": "7"}),
        json.dumps({**RECORD._asdict(), "attempt": "a2"}),
        "x" * (records.FILE_BYTES_MAX + 1),
    ],
)  # fmt: skip
def test_a_broken_record_still_proves_that_its_attempt_was_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a1.json").write_text(text)
    state = records.read_state(tmp_path)
    [found] = state.records
    assert (found.attempt, found.state, found.outcome) == ("a1", "ended", "interrupted")
    assert len(state.problems) == 1


def test_what_is_not_a_record_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    for name in ("a1.json.tmp", "notes.txt", ".hidden.json", "a b.json", ".json"):
        (tmp_path / "records" / name).write_text("?")
    assert records.read_state(tmp_path).records == []


def test_a_latch_of_garbage_is_not_clear_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "bed_clear").write_bytes(b"\xff\xfe")
    (tmp_path / "bed_token").mkdir()
    assert not latch(tmp_path).clear
    assert len(records.read_state(tmp_path).problems) == 2


@pytest.mark.parametrize("attempt", ["../x", "", ".x", "a/b"])
def test_no_attempt_leads_out_of_the_folder(tmp_path: Path, attempt: str) -> None:
    with pytest.raises(ValueError, match="no safe file name"):
        records.write_record(tmp_path, RECORD._replace(attempt=attempt))


FULL_DISK = """
import resource, signal, sys
from klipper_extras import records, rules
folder = sys.argv[1]
records.set_clear(folder, "t1")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
record = rules.Record("a1", "", "", "", "started", "", "", 1)
for write in (lambda: records.write_record(folder, record), lambda: records.set_clear(folder, "t")):
    try:
        write()
    except OSError as e:
        print(type(e).__name__)
records.drop_clear(folder)
"""


def test_where_no_byte_can_be_written_writes_fail_and_the_drop_still_works(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=REPO, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "OSError\nOSError\n", "")
    assert not latch(tmp_path).clear
    assert records.read_state(tmp_path).records == []
    left = [p.name for p in tmp_path.rglob("*") if p.is_file()]
    assert left == []


def test_a_file_where_the_folder_should_be_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(OSError, match="state"):
        records.write_record(tmp_path / "state", RECORD)
    assert not latch(tmp_path / "state").clear
