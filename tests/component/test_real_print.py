"""One print on real Klipper (Kalico) and real Moonraker, told and judged from outside.

The coordinator is played by hand over a real Mosquitto; the file comes over real HTTP.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from demo import hosts
from demo.extrusion import expected_extrusion_mm
from demo.mcu.ledger import is_finished
from demo.printer import VirtualPrinter
from demo.profile import Profile
from demo.waiting import until
from moonraker_component.wire import FileRef, Outcome, Phase, Want
from tests.component.hand import Hand, file_ref
from tests.component.mosquitto import PASSWORD, USER, Mosquitto
from tests.component.web import FileServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GCODE = Path(__file__).parents[2] / "demo" / "gcode"
SPEED = 15.0
DEADLINE_S = 180.0
ATTEMPT = "attempt-0001"


class Farm:
    """One virtual printer with the component, one coordinator by hand."""

    def __init__(self, printer: VirtualPrinter, hand: Hand, web: FileServer) -> None:
        self.printer = printer
        self.hand = hand
        self._web = web

    def serve(self, name: str) -> FileRef:
        """Offer one of the demo's files."""
        shutil.copy(GCODE / name, self._web.behaviour.folder / name)
        return file_ref(GCODE / name, self._web.url(name))

    async def clear(self) -> None:
        """Say that the bed is clear, as a person at the panel does, once Klipper is seen."""
        await until(
            "Klipper is ready",
            lambda: self.hand.reports[-1].klipper.link.value == "ready",
            DEADLINE_S,
        )
        await self.printer.post("/server/moonfleet/clear")
        await self.hand.ready(DEADLINE_S)

    async def start(self, file: FileRef) -> None:
        """Prepare and start; the print is seen when this returns."""
        self.hand.want(Want.PREPARE, ATTEMPT, file)
        await self.hand.phase(ATTEMPT, Phase.PREPARED, DEADLINE_S)
        self.hand.want(Want.START, ATTEMPT, file)
        await self.hand.phase(ATTEMPT, Phase.PRINTING, DEADLINE_S)


Make = Callable[[bool], Awaitable[Farm]]


def section(port: int) -> str:
    """The component's section of moonraker.conf."""
    return f"""[moonfleet]
printer_id: p1
mqtt_address: 127.0.0.1
mqtt_port: {port}
mqtt_username: {USER}
mqtt_password: {PASSWORD}
material: PLA
color: black
disk_reserve_mb: 0
"""


@pytest.fixture
async def make(tmp_path: Path, broker: Mosquitto, web: FileServer) -> AsyncIterator[Make]:
    hosts.link_component(hosts.venvs() / "moonraker")
    async with AsyncExitStack() as stack:

        async def build(with_section: bool) -> Farm:
            printer = VirtualPrinter(
                Profile("a", speed=SPEED),
                tmp_path,
                with_section=with_section,
                moonraker_section=section(broker.port),
            )
            hand = await stack.enter_async_context(Hand(broker.port, "p1", lease_s=10.0))
            await stack.enter_async_context(printer)
            await hand.heard(DEADLINE_S)
            return Farm(printer, hand, web)

        yield build


@pytest.mark.parametrize("with_section", [True, False])
async def test_a_print_from_prepare_to_complete(make: Make, with_section: bool) -> None:
    farm = await make(with_section)
    file = farm.serve("tile_pla.gcode")
    await farm.clear()
    report = farm.hand.reports[-1]
    assert report.section is with_section
    assert report.profile.nozzle_mm == 0.4
    assert report.profile.size_max_mm[:2] == (220.0, 220.0)
    assert report.machine
    await farm.start(file)
    path = f"moonfleet/{ATTEMPT}/{file.name}"
    assert farm.hand.reports[-1].klipper.filename == path
    # Metadata is there while it prints: the file went through Moonraker's own entrance.
    metadata = await farm.printer.get(f"/server/files/metadata?filename={path}")
    assert metadata["layer_height"]
    ended = await farm.hand.phase(ATTEMPT, Phase.ENDED, DEADLINE_S)
    assert ended.outcome is Outcome.COMPLETE
    # Klipper says complete when the last line is read; the machine is a little behind.
    await until("the ledger sees the end", lambda: farm.printer.ledger().starts[-1].outcome)
    start = farm.printer.ledger().starts[-1]
    assert is_finished(start, expected_extrusion_mm(GCODE / file.name))
    assert start.dirty_on is None
    assert max(t.progress or 0.0 for t in farm.hand.telemetry) > 0.5
    assert any(t.layer for t in farm.hand.telemetry)
    await until("its files are gone", lambda: not list(farm.printer.gcodes_dir.glob("moonfleet/*")))


async def test_moonraker_killed_in_mid_print_follows_on(make: Make) -> None:
    farm = await make(True)
    file = farm.serve("cube20_pla.gcode")
    await farm.clear()
    await farm.start(file)
    session = farm.hand.reports[-1].session
    await farm.printer.kill_moonraker()
    await farm.printer.start_moonraker()
    await until(
        "a new session tells the print",
        lambda: (
            farm.hand.reports[-1].session != session
            and [a.phase for a in farm.hand.reports[-1].attempts] == [Phase.PRINTING]
        ),
        DEADLINE_S,
    )
    farm.hand.want(Want.CANCEL, ATTEMPT, file)
    ended = await farm.hand.phase(ATTEMPT, Phase.ENDED, DEADLINE_S)
    assert (ended.outcome, ended.cause) == (Outcome.CANCELLED, "cancelled")
    assert len(farm.printer.ledger().starts) == 1


async def test_pause_and_run_and_a_thermistor_fault(make: Make) -> None:
    farm = await make(True)
    file = farm.serve("cube20_pla.gcode")
    await farm.clear()
    await farm.start(file)
    farm.hand.want(Want.PAUSE, ATTEMPT, file)
    paused = await farm.hand.phase(ATTEMPT, Phase.PAUSED, DEADLINE_S)
    farm.hand.want(Want.RUN, ATTEMPT, file, resume=paused.pause)
    await farm.hand.phase(ATTEMPT, Phase.PRINTING, DEADLINE_S)
    farm.printer.ctl.thermistor("extruder", "open")
    ended = await farm.hand.phase(ATTEMPT, Phase.ENDED, DEADLINE_S)
    assert (ended.outcome, ended.cause) == (Outcome.FAILED, "klipper_shutdown")
    assert "ADC out of range" in ended.message
    await until("the event", lambda: [e for e in farm.hand.events if e.kind == "klipper_shutdown"])
