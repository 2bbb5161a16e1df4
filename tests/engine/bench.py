"""The real engine on a real SQLite file, with a bus that writes down and a clock moved by hand.

Owns shortcuts only: reports are values, time moves in `turn`, and what the engine says is read
from `bus.said`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from coordinator.core import printer_requests, requests
from coordinator.core.attempts import Attempt
from coordinator.core.farm import Draft, Now, Settings
from coordinator.core.jobs import Job, JobFile, Policy
from coordinator.core.printers import Printer
from coordinator.engine import Engine
from coordinator.store.sql import SqlStore
from moonraker_component.wire import (
    AttemptReport,
    Beacon,
    Bed,
    Command,
    Desired,
    JobEvent,
    Klipper,
    Link,
    Message,
    Order,
    Phase,
    Reason,
    Report,
)

SETTINGS = Settings(lease_s=15.0, fence_s=120.0, offline_grace_s=300.0)
WHO = requests.Who("tester", "bench")
FILE = JobFile("0123456789abcdef" * 4, "part.gcode", "Part.gcode", 10)
DEADLINE_S = 60.0
STEP_S = SETTINGS.lease_s / 3
DEFAULT_POLICY = Policy()

T = TypeVar("T")


class HandClock:
    """Both clocks; they move only when told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def now(self) -> Now:
        return Now(boot_s=self.now_s, wall_s=self.now_s + 1.7e9)


class RecordingBus:
    """Writes down all that is said, in order. `loops`: the engine hears its own beacons."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Message]] = []
        self.loops = True
        self.hearer: Engine | None = None
        self.before: Callable[[str, Message], None] | None = None

    async def publish_desired(self, printer_id: str, desired: Desired) -> None:
        self._say(printer_id, desired)

    async def publish_command(self, printer_id: str, command: Command) -> None:
        self._say(printer_id, command)

    async def publish_job_event(self, event: JobEvent) -> None:
        self._say(event.job, event)

    async def publish_beacon(self, beacon: Beacon) -> None:
        self._say("", beacon)
        if self.loops and self.hearer is not None:
            self.hearer.hear_beacon(beacon)

    def _say(self, to: str, message: Message) -> None:
        if self.before is not None:
            self.before(to, message)
        self.said.append((to, message))

    def desired(self, printer_id: str) -> list[Desired]:
        return [m for to, m in self.said if to == printer_id and isinstance(m, Desired)]

    def orders(self, printer_id: str) -> list[Order]:
        """Every order that was ever sent to this printer."""
        return [m.order for m in self.desired(printer_id) if m.order is not None]

    def events(self) -> list[str]:
        return [m.kind for _, m in self.said if isinstance(m, JobEvent)]


class Bench:
    """`async with Bench(path) as bench`; another one on the same path is a restart."""

    def __init__(self, path: Path, clock: HandClock | None = None) -> None:
        self.path = path
        self.clock = clock or HandClock()
        self.bus = RecordingBus()
        self.store = SqlStore(f"sqlite+aiosqlite:///{path}")
        self.engine = Engine(self.store, self.bus, self.clock, SETTINGS, self._ids(path))
        self.bus.hearer = self.engine
        self.task: asyncio.Task[None]
        self._sequences: dict[str, int] = {}

    @staticmethod
    def _ids(path: Path) -> Iterator[str]:
        return (f"id-{id(path):x}-{n:06d}" for n in itertools.count(1))

    async def __aenter__(self) -> Bench:
        await self.store.open()
        await self.engine.start()
        self.task = asyncio.create_task(self.engine.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self.task  # what a test expects of it, it has seen
        await self.store.close()

    async def ask(self, act: Callable[[Draft, Now], T]) -> T:
        """As a person asks; fails at once if the engine has ended."""
        asked = asyncio.ensure_future(self.engine.ask(act))
        waiting: set[asyncio.Future[Any]] = {asked, self.task}
        await asyncio.wait(waiting, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            self.task.result()
        return asked.result()

    async def turn(self, wait_s: float = 0.0) -> None:
        """Let time pass in steps below a lease, each with a round that is committed and said."""
        end_s = self.clock.now_s + wait_s
        while True:
            self.clock.now_s = min(end_s, self.clock.now_s + STEP_S)
            await self.ask(_nothing)
            await self.ask(_nothing)  # the publishing of the round before is over
            if self.clock.now_s >= end_s:
                return

    async def ended(self) -> BaseException:
        """What the engine's loop ended with, within the deadline."""
        done, _ = await asyncio.wait({self.task}, timeout=DEADLINE_S)
        assert done, "the engine runs on"
        error = self.task.exception()
        assert error is not None
        return error

    # ---- what the world says ----------------------------------------------------------------

    async def add(self, *printers: str) -> None:
        """Make printers known and let a session of each prove itself."""
        for name in printers:
            await self.ask(adding(name))
        await self.hello(*printers)

    async def hello(self, *printers: str, session: str = "") -> None:
        for _ in range(2):
            for name in printers:
                self.report(name, session=session)
            await self.turn()

    async def submit(self, copies: int = 1, policy: Policy = DEFAULT_POLICY) -> Job:
        wish = requests.Submission(file=FILE, copies=copies, policy=policy)
        ids = (f"{name}-{self.clock.now_s:g}-{n}" for n in itertools.count() for name in ("j",))
        return await self.ask(lambda draft, now: requests.submit(draft, wish, WHO, now, ids))

    def report(
        self,
        name: str,
        *told: AttemptReport,
        session: str = "",
        sequence: int | None = None,
        observed: tuple[int, int] | None = None,
        refusals: tuple[Reason, ...] = (),
    ) -> Report:
        """A host's report, as it comes in; it has observed the newest desired unless told."""
        session = session or f"session-{name}"
        self._sequences[session] = self._sequences.get(session, 0) + 1
        newest = self.bus.desired(name)[-1:] or [Desired(0, 0)]
        seen = observed or (newest[0].term, newest[0].generation)
        report = Report(
            session=session,
            sequence=self._sequences[session] if sequence is None else sequence,
            observed_term=seen[0],
            observed_generation=seen[1],
            klipper=Klipper(Link.READY, "", "standby"),
            attempts=told,
            refusals=refusals,
            bed=Bed(True, "token"),
            section=True,
        )
        self.engine.hear_report(name, report)
        return report

    def tell(self, name: str, phase: Phase, attempt: Attempt, **words: Any) -> Report:
        """The host says where an attempt stands."""
        told = AttemptReport(attempt.id, attempt.copy, attempt.job, phase, **words)
        busy = phase not in (Phase.PREPARING, Phase.PREPARED, Phase.ENDED)
        return self.report(name, told, refusals=(Reason("printing"),) if busy else ())

    async def printing(self, name: str) -> Attempt:
        """Walk what lives on a printer from assigned to started."""
        for phase in (Phase.PREPARED, Phase.STARTING, Phase.PRINTING):
            self.tell(name, phase, self.live(name))
            await self.turn()
        return self.live(name)

    # ---- what is so ---------------------------------------------------------------------------

    def live(self, name: str) -> Attempt:
        attempt = Draft(self.engine.farm).attempt_on(name)
        assert attempt is not None, f"nothing lives on {name}"
        return attempt

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What another process reads in the database now."""
        return rows(self.path, sql, *values)


def adding(name: str) -> Callable[[Draft, Now], Printer]:
    """The request that makes a printer of this id and name known."""
    return lambda draft, now: printer_requests.add_printer(draft, name, name, (), WHO, now)


def rows(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """What a connection of its own reads in this file, or commits to it."""
    with contextlib.closing(sqlite3.connect(path, timeout=DEADLINE_S)) as connection:
        found = connection.execute(sql, values).fetchall()
        connection.commit()
        return found


def _nothing(_draft: Draft, _now: Now) -> None:
    """A request that changes nothing."""
