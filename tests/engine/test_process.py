"""`python -m coordinator serve` as a process: it starts, answers, refuses, and ends in order."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.login import CHEAP_HASHES, Login, bearer

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 90.0
POLL_S = 0.05


class Served:
    """A coordinator's process on a folder; its log is in a file, so that no pipe fills up."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._log = folder.parent / f"{folder.name}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "coordinator", "serve", "--data-dir", str(folder)]
        for option in options:
            command += ["--set", option]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def found(self, pattern: str) -> str:
        """Wait until its log holds this; returns the first group."""
        ends_s = time.monotonic() + DEADLINE_S
        while True:
            match = re.search(pattern, self.said)
            if match is not None:
                return match[1]
            assert self.process.poll() is None, f"ended early: {self.said}"
            assert time.monotonic() < ends_s, f"no {pattern!r} in: {self.said}"
            time.sleep(POLL_S)

    def url(self) -> str:
        return self.found(r"listening on (http://\S+)")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal this process and nothing else; returns how it ended."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Served]:
    """A coordinator on free ports, ended at the end whatever happened."""
    it = Served(folder, "server.port=0", "mqtt.port=0", *CHEAP_HASHES, *options)
    try:
        yield it
    finally:
        if it.process.poll() is None:
            it.end()


def term(url: str, login: Login) -> int:
    """The term of the reign, asked by an API key; sets the farm up first."""
    request = urllib.request.Request(f"{url}/api/v1/farm", headers=bearer(login.key(url)))
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        found: dict[str, Any] = json.load(answer)
    return int(found["farm"]["term"])


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that nobody waits for has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def until_gone(pid: int) -> None:
    ends_s = time.monotonic() + DEADLINE_S
    while not gone(pid):
        assert time.monotonic() < ends_s, f"process {pid} runs on"
        time.sleep(POLL_S)


def refused(folder: Path, *options: str) -> tuple[int, str]:
    """How a coordinator ends that should not start, and what it says last."""
    it = Served(folder, *options)
    try:
        code = it.process.wait(DEADLINE_S)
    finally:
        if it.process.poll() is None:
            it.end(signal.SIGKILL)
    return code, it.said.strip().splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_a_signal_ends_it_and_its_broker(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "data"
    with served(folder) as coordinator:
        assert term(coordinator.url(), Login(tmp_path)) == 1
        broker_pid = int(coordinator.found(r"mosquitto runs on \S+, pid (\d+)"))
        assert not gone(broker_pid)
        coordinator.found(r"(own beacon heard)")
        assert coordinator.end(number) == 0
        assert gone(broker_pid)
        assert "Traceback" not in coordinator.said
    assert (folder.stat().st_mode & 0o777) == 0o700


def test_a_killed_one_takes_its_broker_along_and_the_next_one_reigns_above_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    with served(folder) as first:
        first.url()
        broker_pid = int(first.found(r"mosquitto runs on \S+, pid (\d+)"))
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
        until_gone(broker_pid)
    with served(folder) as second:
        assert term(second.url(), Login(tmp_path)) == 2


def test_a_second_one_on_the_same_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder) as first:
        url = first.url()
        code, said = refused(folder, "server.port=0", "mqtt.port=0")
        assert code == 1
        assert said == f"error: {folder}: another coordinator runs on this folder"
        assert term(url, Login(tmp_path)) == 1


def test_a_taken_http_port_is_told_before_anything_is_started(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = refused(folder, f"server.port={port}", "mqtt.port=0")
    assert code == 1
    assert said.startswith("error: ")
    assert f"server.port {port}" in said
    assert not (folder / "broker").exists()


def test_a_taken_mqtt_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = refused(tmp_path / "data", "server.port=0", f"mqtt.port={port}")
    assert code == 1
    assert str(port) in said
    assert "in use" in said


def test_a_wrong_option_is_told_without_a_traceback(tmp_path: Path) -> None:
    code, said = refused(tmp_path / "data", "farm.lease_s=0")
    assert (code, said) == (
        2,
        f"error: {tmp_path / 'data' / 'moonfleet.toml'}: farm.lease_s 0: Expected `float` >= 0.5",
    )
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    code, said = refused(tmp_path / "data", "server.port=0", "mqtt.port=0")
    assert code == 1
    assert str(tmp_path / "data") in said


def test_a_damaged_database_is_told_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    database = folder / "moonfleet.db"
    database.write_bytes(b"this is no database " * 100)
    code, said = refused(folder, "server.port=0", "mqtt.port=0")
    assert code == 4
    assert "database" in said
    assert "newest backup" in said
    assert database.read_bytes() == b"this is no database " * 100


def test_another_reign_over_the_same_database_ends_this_one(tmp_path: Path) -> None:
    """Two folders, one database: the later one takes the term, the earlier one says so."""
    database = f"database_url=sqlite+aiosqlite:///{tmp_path}/shared.db"
    with served(tmp_path / "one", database) as first:
        first.url()
        with served(tmp_path / "two", database) as second:
            assert term(second.url(), Login(tmp_path)) == 2
            assert first.process.wait(DEADLINE_S) == 3, "a service manager would start it again"
            assert "error: stood down: term 1 is over" in first.said
            assert second.process.poll() is None


def test_the_owner_of_the_folder_is_named_in_its_lock(tmp_path: Path) -> None:
    with served(tmp_path / "data") as coordinator:
        coordinator.url()
        lock = (tmp_path / "data" / "lock").read_text()
        assert int(lock) == coordinator.process.pid
        assert os.path.exists(f"/proc/{int(lock)}")
