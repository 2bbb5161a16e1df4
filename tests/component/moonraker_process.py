"""A real Moonraker without a Klipper behind it, for tests of how the component loads."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from demo import hosts
from demo.waiting import until
from tests.component.mosquitto import free_port

COMPONENT = hosts.REPO / "moonraker_component"
DEADLINE_S = 120.0
VERSION = "0.11.0"


def checkout(folder: Path) -> Path:
    """Moonraker's published source, committed to a repository, with the component linked in."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
         "moonraker", "--dest", folder, f"moonraker=={VERSION}"],
        check=True,
    )  # fmt: skip
    source = folder / f"moonraker-{VERSION}"
    subprocess.run(["tar", "-C", folder, "-xzf", f"{source}.tar.gz"], check=True)
    git = ["git", "-C", str(source), "-c", "user.name=test", "-c", "user.email=test@invalid"]
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "as published"]):
        subprocess.run([*git, *command], check=True)
    (source / "moonraker" / "components" / "moonfleet").symlink_to(COMPONENT)
    return source


def installed_copy(folder: Path) -> Path:
    """What pip installed, copied, with the component behind its file shim."""
    (package,) = (hosts.venvs() / "moonraker").glob("lib/python3.*/site-packages/moonraker")
    shutil.copytree(package, folder / "moonraker", ignore=shutil.ignore_patterns("moonfleet*"))
    shim = (COMPONENT / "install" / "moonfleet_shim.py").read_text()
    target = folder / "moonraker" / "components" / "moonfleet.py"
    target.write_text(shim.replace("@PACKAGE_DIR@", str(COMPONENT)))
    return folder


class Moonraker:
    """`async with Moonraker(source, data, section) as moonraker:` runs it; `get` asks it."""

    def __init__(
        self, source: Path, data: Path, section: str, python_path: tuple[Path, ...] = ()
    ) -> None:
        self.port = free_port()
        self.log = data / "out"
        self._data = data
        self._section = section
        self._path = os.pathsep.join(str(path) for path in (*python_path, source))
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Moonraker:
        for name in ("config", "logs", "gcodes", "database", "comms"):
            (self._data / name).mkdir(parents=True, exist_ok=True)
        (self._data / "config" / "moonraker.conf").write_text(
            f"[server]\nhost: 127.0.0.1\nport: {self.port}\n"
            f"klippy_uds_address: {self._data}/comms/none.sock\n"
            "[machine]\nprovider: none\nvalidate_service: False\n"
            f"[authorization]\ntrusted_clients:\n    127.0.0.1\n[history]\n{self._section}"
        )
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                hosts.moonraker_python(), "-m", "moonraker", "-d", self._data,
                stdout=out, stderr=out, cwd=self._data,
                env={**os.environ, "PYTHONPATH": self._path},
            )  # fmt: skip
        await until("Moonraker answers", self._answers, DEADLINE_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        await asyncio.wait_for(self._process.wait(), DEADLINE_S)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.returncode is None

    async def get(self, path: str, method: str = "GET") -> Any:
        """Ask; returns the `result`. OSError if it fails."""

        def ask() -> Any:
            url = f"http://127.0.0.1:{self.port}{path}"
            request = urllib.request.Request(url, method=method)
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
                return json.load(response)["result"]

        return await asyncio.to_thread(ask)

    async def warnings(self) -> str:
        """All warnings that the user interfaces show, as one text."""
        return "\n".join((await self.get("/server/info"))["warnings"])

    async def _answers(self) -> bool:
        assert self.running, self.log.read_text()
        try:
            await self.get("/server/info")
        except OSError:
            return False
        return True
