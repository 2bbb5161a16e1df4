"""What install.sh refuses, before it has changed anything, and what it says then."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.install.host_tree import Host

PortOf = Callable[[int, str, bool], int]


@pytest.fixture
def moonraker_that_says() -> Iterator[PortOf]:
    """Start what answers as Moonraker does to the one question that install.sh asks."""
    servers: list[HTTPServer] = []

    def start(code: int, state: str, active: bool) -> int:
        status = {"print_stats": {"state": state}, "virtual_sdcard": {"is_active": active}}
        body = json.dumps({"result": {"eventtime": 1.0, "status": status}}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path == "/printer/objects/query?print_stats&virtual_sdcard"
                self.send_response(code)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Keep the tests' output free of requests."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("command", ["host", "uninstall"])
@pytest.mark.parametrize(
    ("code", "state", "active", "said"),
    [
        (200, "printing", True, "is printing"),
        (200, "paused", False, "is printing"),
        (200, "complete", True, "is printing"),
        (401, "standby", False, "may be printing"),
        (500, "standby", False, "may be printing"),
    ],
)
def test_refused_unless_idle(
    host: Host,
    credentials: list[str],
    moonraker_that_says: PortOf,
    command: str,
    code: int,
    state: str,
    active: bool,
    said: str,
) -> None:
    host.set_port(moonraker_that_says(code, state, active))
    before = host.snapshot()

    done = host.install(command, *(credentials if command == "host" else []))

    assert done.returncode == 1
    assert said in done.stdout
    assert host.snapshot() == before


@pytest.mark.parametrize("state", ["standby", "complete", "cancelled", "error"])
def test_allowed_when_idle(
    host: Host, credentials: list[str], moonraker_that_says: PortOf, state: str
) -> None:
    host.set_port(moonraker_that_says(200, state, False))
    done = host.install("host", *credentials)
    assert done.returncode == 0, done.stdout


def test_one_printing_instance_stops_all(
    host: Host, credentials: list[str], moonraker_that_says: PortOf
) -> None:
    host.add_instance("printer_1_data", "-1", moonraker_that_says(200, "printing", True))
    host.give_to_user()
    before = host.snapshot()
    done = host.install("host", *credentials)
    assert done.returncode == 1
    assert "printer_1_data is printing" in done.stdout
    assert host.snapshot() == before


@pytest.mark.parametrize("command", ["host", "coordinator", "uninstall"])
def test_root_is_refused(host: Host, stub_path: Path, command: str) -> None:
    answer = stub_path / "id"
    answer.write_text("#!/bin/sh\necho 0\n")
    answer.chmod(0o755)
    before = host.snapshot()

    done = host.install(command, environment={"PATH": f"{stub_path}:/usr/sbin:/usr/bin:/bin"})

    assert done.returncode == 1
    assert "not as root" in done.stdout
    assert host.snapshot() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--printer-id", "a/b"], "--printer-id"),
        (["--printer-id", "a.b"], "--printer-id"),
        (["--mqtt-port", "70000"], "--mqtt-port"),
        (["--mqtt-port", "abc"], "--mqtt-port"),
        (["--mqtt-host", "a b"], "--mqtt-host"),
        (["--mqtt-user", "a b"], "--mqtt-user"),
        (["--mqtt-password-file", "/nowhere"], "--mqtt-password-file"),
        (["--mqtt-tls-ca", "/nowhere"], "--mqtt-tls-ca"),
        (["--frobnicate"], "--frobnicate"),
        (["--frobnicate", "1"], "--frobnicate"),
        (["stray"], "stray"),
        ([], "--code are needed"),
        (["--mqtt-host", "127.0.0.1"], "--mqtt-password-file is needed"),
        (["--mqtt-host", "farm.local"], "needs --mqtt-tls-ca"),
        (["--code", "ABCDE"], "--code needs --coordinator"),
        (["--coordinator", "https://farm.local:8443"], "--coordinator needs --code"),
    ],
)
def test_bad_option_is_named(host: Host, arguments: list[str], said: str) -> None:
    before = host.snapshot()
    done = host.install("host", *arguments)
    assert done.returncode == 2
    assert said in done.stdout
    assert host.snapshot() == before


def test_password_with_a_space_is_refused(host: Host) -> None:
    done = host.install(
        "host", "--mqtt-host", "farm", environment={"MOONFLEET_MQTT_PASSWORD": "two words"}
    )
    assert done.returncode == 2
    assert "two words" not in done.stdout


def test_one_id_for_several_printers_is_refused(host: Host, credentials: list[str]) -> None:
    host.add_instance("printer_1_data", "-1")
    host.give_to_user()
    done = host.install("host", "--printer-id", "both", *credentials)
    assert done.returncode == 2
    assert "--instance" in done.stdout


def test_a_real_folder_is_not_replaced(host: Host, credentials: list[str]) -> None:
    (host.components / "moonfleet").mkdir()
    host.give_to_user()
    done = host.install("host", *credentials)
    assert done.returncode == 1
    assert "move it away" in done.stdout
    assert "[include moonfleet.conf]" not in (host.config() / "moonraker.conf").read_text()


def test_host_without_moonraker_is_told_so(empty_host: Host, credentials: list[str]) -> None:
    done = empty_host.install("host", *credentials)
    assert done.returncode == 1
    assert "no Moonraker found" in done.stdout


def test_missing_configuration_is_named(host: Host, credentials: list[str]) -> None:
    (host.config() / "moonraker.conf").unlink()
    done = host.install("host", *credentials)
    assert done.returncode == 1
    assert "moonraker.conf" in done.stdout
