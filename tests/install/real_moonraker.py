"""A real Moonraker without a Klipper, for as long as a test needs it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_WAIT_S = 90.0


def free_port() -> int:
    """Return a TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configure(data: Path, options: str = "") -> Path:
    """Write moonraker.conf below `data`, with a free port; returns its path.

    `options` are added to its [authorization].
    """
    conf = data / "config/moonraker.conf"
    conf.parent.mkdir(parents=True, exist_ok=True)
    (data / "logs").mkdir(exist_ok=True)
    conf.write_text(
        f"[server]\nhost: 127.0.0.1\nport: {free_port()}\n\n"
        "[machine]\nprovider: none\nvalidate_service: False\n\n"
        f"[authorization]\ntrusted_clients:\n    127.0.0.1\n{options}"
    )
    return conf


def url_of(conf: Path) -> str:
    """Return the address of the Moonraker whose configuration is `conf`."""
    (port,) = re.findall(r"^port: (\d+)$", conf.read_text(), re.MULTILINE)
    return f"http://127.0.0.1:{port}"


@contextmanager
def running(command: list[str], conf: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run the Moonraker that `command` starts, with the output beside its data; yields its URL."""
    data = conf.parent.parent
    with (data / "out").open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=data, env=environment
        )
    try:
        _wait_for(url_of(conf), process, data / "out")
        yield url_of(conf)
    finally:
        process.terminate()
        process.wait(timeout=START_WAIT_S)


@contextmanager
def running_moonraker(data: Path, environment: Path, options: str = "") -> Iterator[Path]:
    """Run Moonraker of `environment` on `data`; yields its configuration's path."""
    conf = configure(data, options)
    command = [str(environment / "bin/python"), "-m", "moonraker", "-d", str(data)]
    with running(command, conf, dict(os.environ)):
        yield conf


def _wait_for(url: str, process: subprocess.Popen[bytes], out: Path) -> None:
    end = time.monotonic() + START_WAIT_S
    port = int(url.rpartition(":")[2])
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, out.read_text()
        assert time.monotonic() < end, out.read_text()
        time.sleep(0.1)
