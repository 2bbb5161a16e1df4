"""Virtual printers whole: real Klipper and real Moonraker, judged by the ledger.

The files are real prints. Where a fault is to come in mid-print the cube is used, which takes
19 simulated minutes; the tile takes 43 seconds and heating up.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from demo.extrusion import expected_extrusion_mm
from demo.hosts import KLIPPY_2023
from demo.mcu.control import ControlError
from demo.mcu.ledger import CUT_OFF, Start, is_finished
from demo.printer import VirtualPrinter
from demo.profile import Profile
from demo.together import together
from demo.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GCODE = Path(__file__).parents[2] / "demo" / "gcode"
TILE, CUBE = GCODE / "tile_pla.gcode", GCODE / "cube20_pla.gcode"
SPEED = 15.0
DEADLINE_S = 120.0

Make = Callable[..., Awaitable[VirtualPrinter]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Starts virtual printers and ends them with the test."""
    async with AsyncExitStack() as stack:

        async def start(profile: Profile | None = None, **options: Any) -> VirtualPrinter:
            printer = VirtualPrinter(profile or Profile("a", speed=SPEED), tmp_path, **options)
            return await stack.enter_async_context(printer)

        yield start


async def state_of(printer: VirtualPrinter) -> str:
    """print_stats.state."""
    state: str = (await printer.query("print_stats"))["print_stats"]["state"]
    return state


async def in_mid_print(printer: VirtualPrinter, file: Path = CUBE, mm: float = 5.0) -> Start:
    """Start `file` and wait until it has extruded."""
    await printer.start_print(printer.put_file(file))

    def extruding() -> Start | None:
        start = printer.ledger().open
        return start if start and start.extruded_mm > mm else None

    found = await until(f"{file.name} extrudes", extruding, DEADLINE_S)
    assert found is not None
    return found


async def ended(printer: VirtualPrinter, number: int = 0) -> Start:
    """Wait until start `number` has ended in the ledger."""

    def last() -> Start | None:
        starts = printer.ledger().starts
        return starts[number] if len(starts) > number and starts[number].outcome else None

    found = await until("the ledger sees the end", last, DEADLINE_S)
    assert found is not None
    return found


async def shut_down(printer: VirtualPrinter) -> str:
    """Wait until Klipper says shutdown; return its message."""

    async def message() -> str:
        hooks = (await printer.query("webhooks"))["webhooks"]
        return str(hooks["state_message"]) if hooks["state"] == "shutdown" else ""

    return await until("Klipper shuts down", message, DEADLINE_S)


async def recover(printer: VirtualPrinter) -> None:
    """FIRMWARE_RESTART, as a person would after a fault."""
    await printer.post("/printer/firmware_restart")
    await printer.wait_ready()


async def prints_a_tile(printer: VirtualPrinter) -> Start:
    """Print the tile to its end and hold it against its file."""
    before = len(printer.ledger().starts)
    await printer.start_print(printer.put_file(TILE))
    start = await ended(printer, before)
    assert is_finished(start, expected_extrusion_mm(TILE))
    assert await state_of(printer) == "complete"
    return start


@pytest.mark.parametrize("kinematics", ["cartesian", "corexy"])
async def test_a_print_extrudes_what_its_file_asks_for(make: Make, kinematics: str) -> None:
    profile = Profile(
        "a", speed=SPEED, kinematics="corexy" if kinematics == "corexy" else "cartesian"
    )
    printer = await make(profile)
    assert await printer.clock_is_true()
    start = await prints_a_tile(printer)
    assert start.dirty_on is None
    status = printer.ctl.status()
    assert status["bed"]["path"] == TILE.name
    # G28 must have found the switches exactly: the file ends near the tile's middle.
    x_mm, y_mm, z_mm = status["position_mm"]
    toolhead = (await printer.query("toolhead"))["toolhead"]["position"]
    assert [x_mm, y_mm, z_mm] == pytest.approx(toolhead[:3], abs=0.1)


async def test_klipper_of_2023_prints_too(make: Make) -> None:
    await prints_a_tile(await make(klipper=KLIPPY_2023))


async def test_a_runout_pauses_and_the_print_completes_after_new_filament(make: Make) -> None:
    printer = await make(Profile("a", speed=8.0))
    await in_mid_print(printer, TILE, mm=1.0)
    printer.ctl.filament(False)
    await until("the print pauses", lambda: paused(printer), DEADLINE_S)
    await until("the pause is in the ledger", lambda: printer.ledger().starts[0].pauses)
    printer.ctl.filament(True)
    await until("the switch sees filament", lambda: filament_seen(printer), DEADLINE_S)
    await printer.post("/printer/print/resume")
    start = await ended(printer)
    assert is_finished(start, expected_extrusion_mm(TILE))


async def paused(printer: VirtualPrinter) -> bool:
    """Whether Klipper says so."""
    return bool((await printer.query("pause_resume"))["pause_resume"]["is_paused"])


async def filament_seen(printer: VirtualPrinter) -> bool:
    """Whether Klipper's sensor says so."""
    name = "filament_switch_sensor runout"
    return bool((await printer.query(name))[name]["filament_detected"])


@pytest.mark.parametrize("state", ["open", "short"])
async def test_a_broken_thermistor_shuts_klipper_down(make: Make, state: str) -> None:
    printer = await make()
    await in_mid_print(printer)
    printer.ctl.thermistor("bed", "open" if state == "open" else "short")
    assert "ADC out of range" in await shut_down(printer)
    # A reading may also fail the print first ("extrude below minimum temp").
    assert (await ended(printer)).outcome in ("shutdown", "error")
    printer.ctl.thermistor("bed", "ok")
    await recover(printer)
    printer.ctl.clear_bed()
    await prints_a_tile(printer)


async def test_a_heater_that_does_not_heat_shuts_klipper_down(make: Make) -> None:
    printer = await make()
    printer.ctl.heating("extruder", False)
    await printer.start_print(printer.put_file(TILE))
    assert "not heating at expected rate" in await shut_down(printer)
    assert (await ended(printer)).extruded_mm == 0


async def test_an_unplugged_board_is_lost_and_comes_back(make: Make) -> None:
    printer = await make()
    await in_mid_print(printer)
    printer.ctl.unplug()
    assert "Lost communication" in await shut_down(printer)
    printer.ctl.replug()
    await recover(printer)
    printer.ctl.clear_bed()
    assert (await prints_a_tile(printer)).dirty_on is None


async def test_a_board_that_shuts_down_by_itself(make: Make) -> None:
    printer = await make()
    await in_mid_print(printer)
    printer.ctl.shutdown()
    assert "Timer too close" in await shut_down(printer)
    assert (await ended(printer)).outcome == "shutdown"
    await recover(printer)


async def test_a_power_cut_leaves_the_part_and_the_next_start_is_dirty(make: Make) -> None:
    printer = await make()
    await in_mid_print(printer)
    await printer.kill_host()
    cut = printer.ledger().starts[0]
    assert cut.extruded_mm > 5
    await printer.start()
    assert printer.ledger().starts[0].outcome == CUT_OFF
    assert printer.ledger().starts[0].extruded_mm == cut.extruded_mm
    assert (await prints_a_tile(printer)).dirty_on == CUBE.name
    printer.ctl.clear_bed()
    assert (await prints_a_tile(printer)).dirty_on is None


async def test_klippy_killed_in_mid_print_and_back(make: Make) -> None:
    printer = await make()
    await in_mid_print(printer)
    await printer.kill_klippy()
    await printer.start_klippy()
    await printer.wait_ready()
    assert (await ended(printer)).outcome == "reset"


async def test_the_print_goes_on_while_moonraker_is_dead(make: Make) -> None:
    printer = await make()
    start = await in_mid_print(printer)
    await printer.kill_moonraker()
    await until(
        "more is extruded",
        lambda: printer.ledger().starts[0].extruded_mm > start.extruded_mm + 20,
        DEADLINE_S,
    )
    await printer.start_moonraker()
    await printer.wait_ready()
    assert await state_of(printer) == "printing"
    await printer.post("/printer/print/cancel")
    assert (await ended(printer)).outcome == "cancelled"


async def test_the_ejector_clears_the_bed_unless_it_is_stuck(make: Make) -> None:
    printer = await make()
    await prints_a_tile(printer)
    printer.ctl.ejector(True)
    with pytest.raises(OSError, match="still on the bed"):
        await printer.gcode("EJECT_PART")
    assert printer.ledger().part is not None
    assert printer.ledger().failed_ejections == 1
    printer.ctl.ejector(False)
    await printer.gcode("EJECT_PART")
    assert printer.ledger().part is None


async def test_the_products_section_ejects_after_a_complete_print(make: Make) -> None:
    printer = await make(with_section=True)
    await printer.gcode("MOONFLEET_BED_CLEAR")
    await prints_a_tile(printer)
    await until("the part is ejected", lambda: printer.ledger().part is None, DEADLINE_S)

    async def latched() -> bool:
        return bool((await printer.query("moonfleet"))["moonfleet"]["bed_clear"])

    await until("the latch is set", latched, DEADLINE_S)


async def test_printers_side_by_side_keep_their_own_ledgers(tmp_path: Path) -> None:
    profiles = [Profile(name, speed=10.0) for name in ("left", "middle", "right")]
    async with together([VirtualPrinter(profile, tmp_path) for profile in profiles]) as printers:
        for printer in printers:
            name = f"{printer.profile.name}/tile.gcode"
            await printer.start_print(printer.put_file(TILE, name))
        for printer in printers:
            assert is_finished(await ended(printer), expected_extrusion_mm(TILE))
            assert list(printer.ledger().totals) == [f"{printer.profile.name}/tile.gcode"]


async def test_bad_requests_are_refused_by_name(make: Make) -> None:
    printer = await make()
    with pytest.raises(ControlError, match=r"melt.*allowed are"):
        printer.ctl.ask("melt")
    with pytest.raises(ControlError, match=r"nozzle.*allowed are extruder, bed"):
        printer.ctl.ask("fault", fault="thermistor", heater="nozzle", state="open")
    with pytest.raises(ControlError, match="plugged in"):
        printer.ctl.replug()
    assert printer.ctl.status()["plugged_in"]
