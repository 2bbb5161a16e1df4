"""The coordinator as a bench runs it: a process of its own with its defaults, asked over HTTP.

Owns its process, its free ports, its login, and how its API is spoken. Must not know what is
measured. Whoever needs the API by other means asks with `headers()`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from demo.login import Login, bearer
from demo.processes import Child
from demo.waiting import until
from tests.component.mosquitto import free_port

REPO = Path(__file__).parents[2]
ANSWER_MAX_S = 60.0
START_MAX_S = 60.0
POLL_S = 0.005


class BenchFailed(RuntimeError):
    """What was to be measured did not come about; the message holds the end of the log."""


class CoordinatorProcess:
    """`async with CoordinatorProcess(folder) as coordinator: ...`; it runs and answers then.

    A folder that was used before is an existing farm. `options`: more of its `--set`.
    """

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self.mqtt_port, self.http_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.base = f"{self.url}/api/v1"
        self.login = Login(folder)
        self._key = ""
        self._logging_in = asyncio.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "coordinator", "serve", "--data-dir", str(folder)]
        ports = (f"server.port={self.http_port}", f"mqtt.port={self.mqtt_port}")
        for option in (*ports, *options):
            command += ["--set", option]
        self.process = Child("coordinator", command, folder / "log", {}, REPO)

    async def __aenter__(self) -> CoordinatorProcess:
        await self.process.start()
        try:
            await until("the coordinator answers", self._answers, START_MAX_S, POLL_S)
        except BaseException:
            await self.process.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.stop()

    async def headers(self) -> dict[str, str]:
        """What proves who asks. The first call sets the farm up, and costs a password's hash."""
        async with self._logging_in:
            self._key = self._key or await asyncio.to_thread(self.login.key, self.url)
        return bearer(self._key)

    async def get(self, path: str) -> Any:
        """GET below /api/v1."""
        return await self._ask("GET", path, None, "")

    async def post(self, path: str, body: dict[str, object]) -> Any:
        """POST JSON below /api/v1."""
        data = json.dumps(body).encode()
        return await self._ask("POST", path, data, "application/json")

    async def upload(self, file: Path) -> str:
        """Upload a G-code file; return its sha256."""
        data = await asyncio.to_thread(file.read_bytes)
        kind = "application/octet-stream"
        answer = await self._ask("POST", f"/files?name={file.name}", data, kind)
        return str(answer["file"]["sha256"])

    def failure(self, text: str) -> BenchFailed:
        """An error with the end of the coordinator's log."""
        return BenchFailed(f"{text}\n--- the coordinator's log\n{self.process.tail()}")

    async def _answers(self) -> bool:
        if not self.process.running:
            raise self.failure("the coordinator ended")
        try:
            await asyncio.to_thread(self._front_page)
        except urllib.error.HTTPError:
            raise
        except OSError:
            return False
        return True

    def _front_page(self) -> None:
        """Fetch what anybody may see: the login, or the set-up of a new farm."""
        with urllib.request.urlopen(f"{self.url}/login", timeout=ANSWER_MAX_S) as response:
            response.read()

    async def _ask(self, method: str, path: str, data: bytes | None, kind: str) -> Any:
        headers = await self.headers()
        return await asyncio.to_thread(self._request, method, path, data, kind, headers)

    def _request(
        self, method: str, path: str, data: bytes | None, kind: str, headers: dict[str, str]
    ) -> Any:
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        if kind:
            request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_MAX_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise self.failure(f"{method} {path}: {error.code} {error.read()[:500]!r}") from error
