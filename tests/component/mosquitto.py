"""A real Mosquitto with one password, in a folder of its own."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
from pathlib import Path

USER, PASSWORD = "farm", "right-password"


def find_program(name: str) -> str:
    """Debian keeps daemons out of a user's PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    assert found is not None, f"{name} is not installed"
    return found


def free_port() -> int:
    """A TCP port on loopback that nothing listens on at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Mosquitto:
    """The broker. `start` and `kill` may be called again and again; the port stays."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._passwords = folder / "passwords"
        self.set_password(PASSWORD)
        self._conf = folder / "mosquitto.conf"
        self._conf.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\n"
            f"password_file {self._passwords}\nset_tcp_nodelay true\nuser root\n"
        )
        self._process: asyncio.subprocess.Process | None = None

    def set_password(self, password: str) -> None:
        """The one user's password, from the next start on."""
        subprocess.run(
            [find_program("mosquitto_passwd"), "-b", "-c", self._passwords, USER, password],
            check=True,
            capture_output=True,
        )
        self._passwords.chmod(0o644)

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            find_program("mosquitto"),
            "-c",
            str(self._conf),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(30.0):
            while True:
                assert self._process.returncode is None, "mosquitto ended at once"
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                await writer.wait_closed()
                return

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP: a broker that hangs."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL: it forgets every retained message."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            self._process = None
