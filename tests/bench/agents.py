"""Idle printers: the component's own agent, each on a stub of Moonraker, all in this process.

Owns joining them to a farm and the time of each start that was asked of a (stub) Klipper. Real
are the agent, MQTT, HTTP, the files and the SQLite file of each host. Must not know what a job is.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from demo.waiting import until
from tests.bench.coordinator import CoordinatorProcess
from tests.component.stub_moonraker import StubServer, make_agent

PRINT_S = 3600.0
"""No print ends while starts are waited for."""

IDLE_MAX_S = 120.0


class Agents:
    """`async with Agents(coordinator, folder, 50) as agents: ...`; all are idle and clear then."""

    def __init__(self, coordinator: CoordinatorProcess, folder: Path, count: int) -> None:
        self._coordinator = coordinator
        self._folder = folder
        self._count = count
        self._servers: list[StubServer] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Agents:
        try:
            for number in range(self._count):
                await self._join(f"bench-{number:03d}")
            await until("all printers are idle", self._all_idle, IDLE_MAX_S)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def starts_s(self) -> list[float]:
        """When each Klipper was asked to start, by time.monotonic, the first one first."""
        return sorted(
            at_s for server in self._servers for at_s in server.klipper.started_s.values()
        )

    async def _join(self, name: str) -> None:
        added = await self._coordinator.post("/printers", {"id": name})
        login = added["credentials"]
        folder = self._folder / name
        server = StubServer(folder, print_s=PRINT_S, database=folder.with_suffix(".db"))
        agent = make_agent(
            server,
            name,
            port=self._coordinator.mqtt_port,
            username=login["username"],
            password=login["password"],
        )
        self._servers.append(server)
        self._stack.push_async_callback(server.stop, agent)
        await server.start(agent)

    async def _all_idle(self) -> bool:
        printers: list[dict[str, Any]] = (await self._coordinator.get("/printers"))["printers"]
        return [one["state"] for one in printers] == ["idle"] * self._count
