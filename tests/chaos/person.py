"""The people of the farm: one orders, one walks around and does what a printer waits for.

Owns what people do and what they may believe: a person looks at the bed itself before saying that
it is clear, and at the part before saying what it is. Must not know the faults, beyond keeping
off a printer whose processes are being killed or started.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from demo.farm import ApiError, DemoFarm
from demo.mcu.control import ControlError
from demo.mcu.ledger import is_finished
from tests.chaos.evidence import Act
from tests.chaos.schedule import Order

ROUND_S = 1.0
PAUSE_EVERY_S = 20.0
PAUSED_S = 4.0
"""How long the person lets a pause be, whoever made it."""
BROKEN_STATES = ("shutdown", "error")

View = dict[str, Any]


class Orders:
    """Keeps work in the queue: about one waiting copy for each two printers."""

    def __init__(self, farm: DemoFarm, orders: Iterator[Order], folder: Path) -> None:
        self._farm, self._orders, self._folder = farm, orders, folder
        self._next = next(orders)
        self.confirmed: dict[str, int] = {}
        """Jobs whose submission was answered, with their copies."""

    async def keep_coming(self) -> None:
        """Submit whenever little waits; until cancelled."""
        while True:
            try:
                if await self._open_copies() < 1.5 * len(self._farm.printers):
                    order = self._next
                    job = await self._farm.submit(self._folder / order.file, **order.wishes)
                    self.confirmed[job] = order.copies
                    self._next = next(self._orders)
            except (OSError, ApiError):
                pass  # nobody answers: the same order is tried again in the next round
            await asyncio.sleep(ROUND_S)

    async def _open_copies(self) -> int:
        jobs = await unfinished(self._farm)
        return sum(
            count
            for job in jobs
            for standing, count in job["counts"].items()
            if standing not in ("done", "dropped")
        )


async def unfinished(farm: DemoFarm) -> list[View]:
    """The jobs that have not ended."""
    answer = await farm.get("/jobs?state=active,held&limit=500")
    return list(answer["jobs"])


class Person:
    """Walks around until cancelled.

    `keep_off(printer)` says where not to go at the moment; `expected_mm` is what each file asks
    for, by its sha256.
    """

    def __init__(
        self,
        farm: DemoFarm,
        dice: random.Random,
        keep_off: Callable[[str], bool],
        tell: Callable[[str], None],
        expected_mm: Mapping[str, float],
    ) -> None:
        self._farm, self._dice, self._keep_off, self._tell = farm, dice, keep_off, tell
        self._expected_mm = expected_mm
        self._paused_since: dict[str, float] = {}
        self._not_clear_since: dict[str, float] = {}
        self._next_pause_s = time.monotonic() + PAUSE_EVERY_S
        self.may_pause = True
        self.acts: list[Act] = []

    async def walk_around(self) -> None:
        """One round after the other. What does not answer is looked at again in the next."""
        told = ""
        while True:
            trouble = ""
            for visit in (self._visit_printers, self._visit_jobs):
                try:
                    await visit()
                except (OSError, ApiError, ControlError) as error:
                    trouble = str(error)[:160]
            if trouble and trouble != told:
                self._tell(f"person: {trouble}")
            told = trouble
            await asyncio.sleep(ROUND_S)

    # ---- printers ------------------------------------------------------------------------------

    async def _visit_printers(self) -> None:
        for view in (await self._farm.get("/printers"))["printers"]:
            name = view["id"]
            if view["hold"]:
                self._tell(f"person releases {name}: {view['hold']}")
                await self._farm.post(f"/printers/{name}/release")
            if not self._keep_off(name):
                await self._visit_printer(name, view)

    async def _visit_printer(self, name: str, view: View) -> None:
        printer = self._farm.printers[name]
        if (view["klipper"] or {}).get("link") in BROKEN_STATES:
            info = await printer.get("/printer/info")
            if info["state"] in BROKEN_STATES:
                self._tell(f"person restarts the firmware of {name}: {info['state_message'][:80]}")
                await printer.post("/printer/firmware_restart")
                return
        bed = view["bed"]
        if not bed or bed["clear"] or view["current"] or bed.get("ejecting"):
            self._not_clear_since.pop(name, None)
            return
        since_s = self._not_clear_since.setdefault(name, time.monotonic())
        if time.monotonic() - since_s > 2 * ROUND_S:
            await self._clear_bed(name, bed["token"])

    async def _clear_bed(self, name: str, token: str) -> None:
        """The token was read before the bed is looked at: a bed printed on since is not meant."""
        control = self._farm.printers[name].ctl
        if (await asyncio.to_thread(control.status))["file"]:
            return  # it prints: nobody reaches into that
        await asyncio.to_thread(control.clear_bed)
        self._tell(f"person clears the bed of {name}")
        await self._farm.post(f"/printers/{name}/bed-clear", {"token": token})

    # ---- jobs ------------------------------------------------------------------------------------

    async def _visit_jobs(self) -> None:
        jobs = await unfinished(self._farm)
        for job in jobs:
            await self._visit_job(job)
        if self.may_pause and time.monotonic() > self._next_pause_s:
            self._next_pause_s = time.monotonic() + PAUSE_EVERY_S * self._dice.uniform(0.5, 1.5)
            printing = [job["id"] for job in jobs if job["counts"]["printing"]]
            if printing:
                await self._do("pause", self._dice.choice(printing))

    async def _visit_job(self, job: View) -> None:
        detail = await self._farm.job(job["id"])
        if job["counts"]["held"]:
            await self._settle(detail)
        paused = any(a["state"] == "started" and a["phase"] == "paused" for a in detail["attempts"])
        if not paused and job["state"] != "held" and not job["counts"]["held"]:
            self._paused_since.pop(job["id"], None)
            return
        since_s = self._paused_since.setdefault(job["id"], time.monotonic())
        if time.monotonic() - since_s > PAUSED_S:
            self._paused_since.pop(job["id"])
            await self._do("resume" if paused else "release", job["id"])

    async def _settle(self, detail: View) -> None:
        """A copy of which nobody knows whether it was printed: look at the part, and say."""
        held = {copy["id"] for copy in detail["copies"] if copy["state"] == "held"}
        for attempt in detail["attempts"]:
            name = attempt["printer"]
            if attempt["copy"] not in held or attempt["outcome"] != "unknown":
                continue
            if self._keep_off(name):
                return
            seen = self._look_at_part(name, attempt["id"], detail["job"]["file"]["sha256"])
            if seen:
                self._tell(f"person says that {attempt['id']} on {name} is {seen}")
                await self._farm.post(f"/attempts/{attempt['id']}/settle", {"outcome": seen})

    def _look_at_part(self, name: str, attempt: str, sha256: str) -> str:
        """What lies there: complete, failed or not_started; "" while it is still being printed."""
        expected_mm = self._expected_mm[sha256]
        starts = [
            start
            for start in self._farm.printers[name].ledger().starts
            if f"/{attempt}/" in start.path
        ]
        if not starts:
            return "not_started"
        if any(start.outcome is None for start in starts):
            return ""
        done = any(is_finished(start, expected_mm) for start in starts)
        return "complete" if done else "failed"

    async def _do(self, what: str, job: str) -> None:
        self._tell(f"person does {what} to job {job}")
        self.acts.append(Act(time.time(), what, job))
        await self._farm.post(f"/jobs/{job}/{what}")
