"""A real Moonraker without a Klipper, for as long as a test needs it."""

from __future__ import annotations

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


@contextmanager
def running_moonraker(data: Path, environment: Path, options: str = "") -> Iterator[Path]:
    """Run Moonraker of `environment` on `data`; yields its configuration's path.

    `options` are added to its [authorization].
    """
    port = free_port()
    conf = data / "config/moonraker.conf"
    conf.parent.mkdir(parents=True)
    (data / "logs").mkdir()
    conf.write_text(
        f"[server]\nhost: 127.0.0.1\nport: {port}\n\n"
        "[machine]\nprovider: none\nvalidate_service: False\n\n"
        f"[authorization]\ntrusted_clients:\n    127.0.0.1\n{options}"
    )
    with (data / "out").open("wb") as out:
        process = subprocess.Popen(
            [environment / "bin/python", "-m", "moonraker", "-d", data],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=data,
        )
    try:
        _wait_for(port, process, data / "out")
        yield conf
    finally:
        process.terminate()
        process.wait(timeout=START_WAIT_S)


def _wait_for(port: int, process: subprocess.Popen[bytes], out: Path) -> None:
    end = time.monotonic() + START_WAIT_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, out.read_text()
        assert time.monotonic() < end, out.read_text()
        time.sleep(0.1)
