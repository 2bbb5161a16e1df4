"""A whole farm with no hardware: a real coordinator, virtual printers, and what can be cut.

Owns the coordinator's process, two cutting proxies per printer (to broker and coordinator), and the
joining of printers to the farm. It judges nothing: see verdict.py. Everything listens on
loopback, on free ports unless one is given. `get` and `post` ask as the farm's admin; whoever asks
by other means takes `headers`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from demo import hosts
from demo.cut import CutProxy
from demo.hosts import REPO
from demo.login import Login, LoginError, bearer
from demo.printer import VirtualPrinter, free_port
from demo.processes import Child
from demo.profile import Profile

API_DEADLINE_S = 60.0
POLL_S = 0.1


class FarmError(RuntimeError):
    """The farm did not do what was waited for; the message tells what was seen last."""


class ApiError(RuntimeError):
    """The coordinator refused: `status` and its text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def is_online(printer: dict[str, Any]) -> bool:
    """Whether the coordinator hears this printer now, by its own answer."""
    codes = {reason["code"] for reason in printer.get("reasons", [])}
    return printer.get("heard_at") is not None and "offline" not in codes


class DemoFarm:
    """`async with DemoFarm(run_dir, profiles, options) as farm: ...`

    `options` are `section.option=value` texts for the coordinator, as its `--set` takes them.
    """

    def __init__(
        self,
        run_dir: Path,
        profiles: Sequence[Profile],
        options: Sequence[str] = (),
        *,
        http_port: int | None = None,
        klipper: str = "kalico",
        with_section: bool = True,
    ) -> None:
        self.run_dir = run_dir.resolve()
        self.profiles = list(profiles)
        self.http_port = http_port or free_port()
        self.mqtt_port = free_port()
        self.data_dir = self.run_dir / "coordinator"
        self.login = Login(self.run_dir)
        self.headers: dict[str, str] = {}
        self.printers: dict[str, VirtualPrinter] = {}
        self.proxies: dict[str, CutProxy] = {}
        """Between each printer and the broker."""
        self.http_proxies: dict[str, CutProxy] = {}
        """Between each printer and the coordinator, for its downloads."""
        self._klipper, self._with_section = klipper, with_section
        self._stack = AsyncExitStack()
        settings = [
            f"server.port={self.http_port}",
            f"mqtt.port={self.mqtt_port}",
            "files.disk_reserve_mb=20",
            *options,
        ]
        command = [sys.executable, "-m", "coordinator", "serve", "--data-dir", str(self.data_dir)]
        for setting in settings:
            command += ["--set", setting]
        self.coordinator = Child("coordinator", command, self.run_dir / "coordinator.log", {}, REPO)

    @property
    def url(self) -> str:
        """The coordinator's address, without a slash at its end."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def database(self) -> Path:
        return self.data_dir / "moonfleet.db"

    async def __aenter__(self) -> DemoFarm:
        try:
            await self.start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self) -> None:
        """Coordinator first, then one printer after the other: a burst disturbs clock syncs."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        for port in (self.http_port, self.mqtt_port):
            if not is_free(port):  # what answers there is somebody else's farm
                raise FarmError(f"port {port} of 127.0.0.1 is in use: give another one")
        # First, so that Ctrl-C before it answers does not leave it behind.
        self._stack.push_async_callback(self.coordinator.stop)
        await self.start_coordinator()
        hosts.link_component(hosts.venvs() / "moonraker")
        for profile in self.profiles:
            await self._join(profile)

    async def start_coordinator(self) -> None:
        """Start it (again) and wait until it answers."""
        await self.coordinator.start()

        async def answers() -> bool:
            if not self.coordinator.running:
                raise FarmError(f"the coordinator ended:\n{self.coordinator.tail()}")
            try:
                self.headers = bearer(await asyncio.to_thread(self.login.key, self.url))
            except LoginError as error:
                raise FarmError(f"{error}\nforget the farm of the last demo: --fresh") from error
            except OSError:
                return False
            return True

        await self.until(answers, "the coordinator to answer")

    # ---- what a person does -------------------------------------------------------------------

    async def get(self, path: str) -> Any:
        """GET below /api/v1."""
        return await asyncio.to_thread(self._request, "GET", path, None)

    async def post(self, path: str, body: dict[str, object] | None = None) -> Any:
        """POST JSON below /api/v1."""
        data = json.dumps(body or {}).encode()
        return await asyncio.to_thread(self._request, "POST", path, data)

    async def upload(self, file: Path) -> str:
        """Upload a G-code file; return its sha256."""
        data = await asyncio.to_thread(file.read_bytes)
        answer = await asyncio.to_thread(self._request, "POST", f"/files?name={file.name}", data)
        return str(answer["file"]["sha256"])

    async def submit(self, file: Path, **wishes: object) -> str:
        """Upload a file and order copies of it; return the job's id."""
        sha256 = await self.upload(file)
        answer = await self.post("/jobs", {"file": sha256, **wishes})
        return str(answer["job"]["id"])

    async def job(self, job_id: str) -> dict[str, Any]:
        """A job with its copies and attempts."""
        answer: dict[str, Any] = await self.get(f"/jobs/{job_id}")
        return answer

    async def printer(self, name: str) -> dict[str, Any]:
        """A printer as the coordinator sees it."""
        answer: dict[str, Any] = await self.get(f"/printers/{name}")
        return dict(answer["printer"])

    async def clear_bed(self, name: str) -> None:
        """A person takes off what lies there and says so to the coordinator."""
        self.printers[name].ctl.clear_bed()

        async def cleared() -> bool:
            bed = (await self.printer(name)).get("bed")
            if bed and bed.get("clear"):
                return True
            try:
                await self.post(f"/printers/{name}/bed-clear")
            except ApiError as error:
                if error.status != 409:
                    raise
            return False

        await self.until(cleared, f"the bed of {name} to be reported clear", every_s=0.5)

    # ---- waiting --------------------------------------------------------------------------------

    async def until(
        self,
        holds: Callable[[], Any],
        what: str,
        deadline_s: float = API_DEADLINE_S,
        every_s: float = POLL_S,
    ) -> None:
        """Wait until the (async) condition holds; FarmError names `what` when it does not."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + deadline_s
        while not await holds():
            if loop.time() > end_s:
                tail = self.coordinator.tail(30)
                raise FarmError(f"waited {deadline_s:g} s for {what}\n--- coordinator\n{tail}")
            await asyncio.sleep(every_s)

    async def until_attempt(
        self,
        job_id: str,
        holds: Callable[[dict[str, Any]], bool],
        what: str,
        deadline_s: float = API_DEADLINE_S,
    ) -> dict[str, Any]:
        """Wait for an attempt of the job for which `holds`; return it."""
        found: list[dict[str, Any]] = []

        async def seen() -> bool:
            found[:] = [a for a in (await self.job(job_id))["attempts"] if holds(a)]
            return bool(found)

        await self.until(seen, what, deadline_s)
        return found[0]

    async def until_online(self, name: str, deadline_s: float = API_DEADLINE_S) -> None:
        """Wait until the coordinator hears this printer."""

        async def heard() -> bool:
            return is_online(await self.printer(name))

        await self.until(heard, f"{name} to be heard", deadline_s)

    # ---- inside ---------------------------------------------------------------------------------

    async def _join(self, profile: Profile) -> None:
        """Add a printer to the farm and start it with the credentials it was given."""
        name = profile.name
        proxy = CutProxy("127.0.0.1", self.mqtt_port)
        http_proxy = CutProxy("127.0.0.1", self.http_port)
        await self._stack.enter_async_context(proxy)
        await self._stack.enter_async_context(http_proxy)
        login = await self._login(name)
        section = "\n".join(
            [
                "[moonfleet]",
                f"printer_id: {name}",
                "mqtt_address: 127.0.0.1",
                f"mqtt_port: {proxy.port}",
                f"mqtt_username: {login['username']}",
                f"mqtt_password: {login['password']}",
                f"coordinator_url: http://127.0.0.1:{http_proxy.port}",
                f"material: {profile.material}",
                f"color: {profile.color}",
            ]
        )
        printer = VirtualPrinter(
            profile,
            self.run_dir / "printers",
            klipper=self._klipper,
            moonraker_section=section,
            with_section=self._with_section,
        )
        self.printers[name], self.proxies[name] = printer, proxy
        self.http_proxies[name] = http_proxy
        await self._stack.enter_async_context(printer)
        await self.until_online(name)

    async def _login(self, name: str) -> dict[str, str]:
        """Credentials of a new printer, or new ones when the farm of the last demo knows it."""
        try:
            added = await self.post("/printers", {"id": name, "name": name})
        except ApiError as error:
            if error.status != 409:
                raise
            added = await self.post(f"/printers/{name}/credentials")
        return dict(added["credentials"])

    def _request(self, method: str, path: str, data: bytes | None) -> Any:
        url = f"{self.url}/api/v1{path}"
        request = urllib.request.Request(url, data, self.headers, method=method)
        json_body = data is not None and data[:1] == b"{"
        request.add_header(
            "Content-Type", "application/json" if json_body else "application/octet-stream"
        )
        try:
            with urllib.request.urlopen(request, timeout=API_DEADLINE_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, error.read().decode(errors="replace")[:500]) from error
