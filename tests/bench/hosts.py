"""`python -m tests.bench.hosts FILE`: many hosts in one process of its own, each on a stub.

Owns what a Klipper sends while it prints: four times a second temperatures that waver, a position
that moves, a file position, a layer now and then. Real is the component's agent, one for each
printer of FILE (JSON of `HostsSpec`). Runs until it is ended. Must not know the coordinator.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from tests.component.stub_moonraker import StubServer, make_agent

UPDATE_S = 0.25
PRINT_S = 3600.0
LAYERS = 200


class Login(msgspec.Struct):
    """A printer and its MQTT login."""

    name: str
    username: str
    password: str


class HostsSpec(msgspec.Struct):
    """Which hosts, where their files go, and where their broker is."""

    mqtt_port: int
    folder: str
    logins: list[Login]
    print_s: float = PRINT_S


class PrintingHost:
    """One stub whose Klipper works through a print; no two are at the same place of theirs."""

    def __init__(self, spec: HostsSpec, login: Login) -> None:
        folder = Path(spec.folder) / login.name
        self.server = StubServer(folder, print_s=PRINT_S, database=folder.with_suffix(".db"))
        self.agent = make_agent(
            self.server,
            login.name,
            port=spec.mqtt_port,
            username=login.username,
            password=login.password,
        )
        self._chance = random.Random(login.name)
        self._done_s = self._chance.uniform(0.05, 0.7) * PRINT_S
        klipper = self.server.klipper
        klipper.status["heater_bed"] = {"temperature": 21.0, "target": 0.0}
        klipper.status["heaters"] = {"available_sensors": ["extruder", "heater_bed"]}

    def update(self) -> None:
        """What Klipper tells in a quarter of a second of printing; of an idle one, its warmth."""
        chance, klipper = self._chance, self.server.klipper
        printing = klipper.status["print_stats"]["state"] == "printing"
        nozzle_c, bed_c = (215.0, 60.0) if printing else (23.0, 22.0)
        heat = {
            "extruder": {"temperature": round(nozzle_c + chance.gauss(0, 0.25), 2)},
            "heater_bed": {"temperature": round(bed_c + chance.gauss(0, 0.08), 2)},
        }
        if not printing:
            klipper.change(**heat)
            return
        self._done_s += UPDATE_S
        progress = self._done_s / PRINT_S
        layer = 1 + int(progress * LAYERS)
        around = self._done_s * 1.7
        position = [
            round(110 + 40 * math.cos(around), 3), round(110 + 40 * math.sin(around), 3),
            round(layer * 0.2, 3), round(self._done_s * 1.9, 3),
        ]  # fmt: skip
        klipper.change(
            extruder={**heat["extruder"], "target": 215.0},
            heater_bed={**heat["heater_bed"], "target": 60.0},
            gcode_move={"gcode_position": position},
            virtual_sdcard={"progress": progress, "file_position": int(progress * 4e7)},
            display_status={"progress": progress},
            print_stats={
                "print_duration": self._done_s,
                "filament_used": self._done_s * 1.9,
                "info": {"current_layer": layer, "total_layer": LAYERS},
            },
        )


async def serve(spec: HostsSpec) -> None:
    """Start all hosts, then let their Klippers talk, evenly over each quarter of a second."""
    async with AsyncExitStack() as stack:
        hosts = []
        for login in spec.logins:
            host = PrintingHost(spec, login)
            stack.push_async_callback(host.server.stop, host.agent)
            await host.server.start(host.agent)
            hosts.append(host)
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            for host in hosts:
                due_s += UPDATE_S / len(hosts)
                if due_s > loop.time():
                    await asyncio.sleep(due_s - loop.time())
                host.update()
            due_s = max(due_s, loop.time() - UPDATE_S)  # who cannot keep up sends less


def main() -> None:
    """Run until a signal ends it."""
    asyncio.run(serve(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=HostsSpec)))


if __name__ == "__main__":
    main()
