"""Does faults to a farm of real processes, and undoes them.

Owns how each kind of fault is begun and ended, and the record of when that was. Must not know
the seed or the judging.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from demo.cut import CutMode, CutProxy
from demo.farm import DemoFarm
from demo.printer import VirtualPrinter
from demo.processes import pids_of
from tests.chaos.evidence import Done
from tests.chaos.schedule import Fault, Kind, Lane

STARTS_AT_ONCE = 2
NURSE_POLL_S = 0.5
BROKEN_STATES = ("shutdown", "error")
CUT_MODES: dict[Kind, CutMode] = {
    Kind.CUT: "blackhole",
    Kind.CUT_UP: "up",
    Kind.CUT_DOWN: "down",
    Kind.REFUSE: "refuse",
}


class Hands:
    """Those of one farm; everything that is done is told to `tell`."""

    def __init__(self, farm: DemoFarm, tell: Callable[[str], None]) -> None:
        self._farm, self._tell = farm, tell
        self._starting = asyncio.Semaphore(STARTS_AT_ONCE)
        self._healing = asyncio.Event()
        self._disturbed: set[str] = set()
        self.done: list[Done] = []

    def is_disturbed(self, printer: str) -> bool:
        """Whether something is being done to its processes: nobody else touches it then."""
        return printer in self._disturbed

    async def carry_out(self, faults: Sequence[Fault]) -> None:
        """Do all faults, each at its time from now and for its length."""
        begun_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._one(fault, begun_s + fault.at_s))

    def heal(self) -> None:
        """End every fault now, in random order, and begin no other."""
        self._healing.set()

    async def _one(self, fault: Fault, at_s: float) -> None:
        if await self._healed_within(at_s - time.monotonic()):
            return
        if fault.lane is Lane.PROCESSES:
            self._disturbed.add(fault.printer)
        self._tell(f"FAULT {fault.number} {fault.kind} {fault.printer} for {fault.lasts_s:g} s")
        begun_s = time.time()
        try:
            await self._begin(fault)
            if await self._healed_within(fault.lasts_s):
                await asyncio.sleep(random.uniform(0.0, 5.0))
        finally:
            await self._end(fault)
            self._disturbed.discard(fault.printer)
            self.done.append(Done(fault, begun_s, time.time()))
            self._tell(f"ended {fault.number} {fault.kind} {fault.printer}")

    async def _healed_within(self, time_s: float) -> bool:
        """Wait for the time or the healing, whichever is first; tell whether it is the healing."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._healing.wait(), max(0.0, time_s))
        return self._healing.is_set()

    # ---- one kind each -----------------------------------------------------------------------

    async def _begin(self, fault: Fault) -> None:
        if fault.lane is Lane.CENTRE:
            await self._strike_centre(fault.kind)
        elif fault.lane is Lane.NETWORK:
            for proxy in self._links(fault):
                await _disturb(proxy, fault)
        elif fault.lane is Lane.DISK:
            self._farm.printers[fault.printer].disk.fill()
        else:
            await _PROCESS_FAULTS[fault.kind](self._farm.printers[fault.printer])

    async def _end(self, fault: Fault) -> None:
        if fault.lane is Lane.CENTRE:
            if fault.kind is Kind.FREEZE_COORDINATOR:
                os.kill(self._farm.coordinator.pid, signal.SIGCONT)
            await self._farm.start_coordinator()
        elif fault.lane is Lane.NETWORK:
            for proxy in self._links(fault):
                await _undisturb(proxy)
        elif fault.lane is Lane.DISK:
            self._farm.printers[fault.printer].disk.free()
        elif fault.kind is Kind.STUCK_EJECTOR:
            self._farm.printers[fault.printer].ctl.ejector(False)
        else:
            await self._bring_back(self._farm.printers[fault.printer])

    def _links(self, fault: Fault) -> list[CutProxy]:
        """A cable carries both; a port that is closed, or a slow download, is one of them alone."""
        mqtt, http = self._farm.proxies[fault.printer], self._farm.http_proxies[fault.printer]
        if fault.kind is Kind.REFUSE:
            return [mqtt]
        return [http] if fault.kind in (Kind.CUT_HTTP, Kind.SLOW_HTTP) else [mqtt, http]

    async def _strike_centre(self, kind: Kind) -> None:
        # By their own ids: they share a process group.
        coordinator = self._farm.coordinator
        brokers = pids_of("mosquitto", str(self._farm.data_dir / "broker"))
        if kind is Kind.FREEZE_COORDINATOR:
            os.kill(coordinator.pid, signal.SIGSTOP)
        if kind in (Kind.KILL_COORDINATOR, Kind.KILL_BOTH):
            os.kill(coordinator.pid, signal.SIGKILL)
            await coordinator.wait()
        if kind in (Kind.KILL_BROKER, Kind.KILL_BOTH):
            for pid in brokers:
                with contextlib.suppress(ProcessLookupError):  # it went with its coordinator
                    os.kill(pid, signal.SIGKILL)

    async def _bring_back(self, printer: VirtualPrinter) -> None:
        for child in (printer.mcu, printer.klippy, printer.moonraker):
            child.signal(signal.SIGCONT)
        async with self._starting:
            nurse = asyncio.create_task(_restart_if_shut_down(printer))
            try:
                await printer.start()
            finally:
                nurse.cancel()
                await asyncio.gather(nurse, return_exceptions=True)


async def _restart_if_shut_down(printer: VirtualPrinter) -> None:
    """What a person does at a printer whose Klipper says so; until cancelled."""
    while True:
        with contextlib.suppress(OSError):  # Moonraker or Klipper is still starting
            if (await printer.get("/printer/info"))["state"] in BROKEN_STATES:
                await printer.post("/printer/firmware_restart")
        await asyncio.sleep(NURSE_POLL_S)


async def _suspend(printer: VirtualPrinter) -> None:
    for child in (printer.moonraker, printer.klippy, printer.mcu):
        child.signal(signal.SIGSTOP)


async def _freeze(printer: VirtualPrinter) -> None:
    printer.moonraker.signal(signal.SIGSTOP)


async def _stick(printer: VirtualPrinter) -> None:
    printer.ctl.ejector(True)


_PROCESS_FAULTS: dict[Kind, Callable[[VirtualPrinter], Awaitable[None]]] = {
    Kind.KILL_MOONRAKER: VirtualPrinter.kill_moonraker,
    Kind.KILL_KLIPPER: VirtualPrinter.kill_klippy,
    Kind.KILL_HOST: VirtualPrinter.kill_host,
    Kind.SUSPEND_HOST: _suspend,
    Kind.FREEZE_MOONRAKER: _freeze,
    Kind.STUCK_EJECTOR: _stick,
}


async def _disturb(proxy: CutProxy, fault: Fault) -> None:
    if fault.kind in CUT_MODES:
        await proxy.cut(CUT_MODES[fault.kind])
    elif fault.kind is Kind.CUT_HTTP:
        await proxy.cut("blackhole")
    else:
        proxy.delay_s, proxy.bytes_per_s = fault.delay_s, fault.bytes_per_s


async def _undisturb(proxy: CutProxy) -> None:
    proxy.delay_s, proxy.bytes_per_s = 0.0, None
    if proxy.is_cut:
        await proxy.heal()
