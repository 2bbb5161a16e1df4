"""Simulated coordinators: the product's engine on a store in memory, and what may happen to it.

Owns the process around an engine (it dies, stands still, is cut off, meets another one) and the
store below it, with the term as its fence. What is decided is the engine's and the core's.

The engine is the real one. Its store and bus answer at once, so that one step of its coroutines is
all of them: no event loop turns, and the simulation stays the only clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import Draft, History, Now, Plan, Settings
from coordinator.core.jobs import Copy, Job
from coordinator.core.printers import Printer
from coordinator.engine import Engine, StoodDown
from coordinator.hearing import hand_over
from coordinator.ports import StoreError, TermLost
from moonraker_component import wire
from moonraker_component.wire import Beacon, Command, Desired, JobEvent, Link, Topics

if TYPE_CHECKING:
    from tests.sim.world import World

T = TypeVar("T")
TURN_S = 0.5
TOPICS = Topics()
SETTINGS = Settings(
    lease_s=10.0,
    fence_s=20.0,
    fence_margin_s=5.0,
    offline_grace_s=40.0,
    express_patience_s=1e9,
    rest_s=3.0,
)


class Crashed(Exception):
    """The coordinator's process ends here, in the middle of whatever it did."""


def step(coroutine: Coroutine[Any, Any, T]) -> T:
    """All of a coroutine in which nothing has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("the engine waits for something that the simulation answers at once")


@dataclass
class SimStore:
    """What is committed. `term` is whose word counts."""

    name: str
    term: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    copies: dict[str, Copy] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    printers: dict[str, Printer] = field(default_factory=dict)

    def copy(self, name: str) -> SimStore:
        """A backup."""
        return SimStore(
            name, self.term, dict(self.jobs), dict(self.copies), dict(self.attempts),
            dict(self.printers),
        )  # fmt: skip

    def check(self, term: int) -> None:
        if term != self.term:
            raise TermLost(f"term {term} is over: term {self.term} reigns")

    def write(self, plan: Plan) -> None:
        self.jobs.update(plan.jobs)
        self.copies.update(plan.copies)
        self.attempts.update(plan.attempts)
        self.printers.update(plan.printers)


@dataclass
class Loaded:
    """What a start reads: finished jobs stay in the store, unless a printer is held by them."""

    jobs: list[Job]
    copies: list[Copy]
    attempts: list[Attempt]
    printers: list[Printer]


def load(store: SimStore) -> Loaded:
    held = {attempt.job for attempt in store.attempts.values() if attempt.live}
    jobs = [job for job in store.jobs.values() if not job.finished or job.id in held]
    ids = {job.id for job in jobs}
    return Loaded(
        jobs,
        [copy for copy in store.copies.values() if copy.job in ids],
        [attempt for attempt in store.attempts.values() if attempt.job in ids],
        list(store.printers.values()),
    )


def _holds(attempt: Attempt) -> bool:
    """Whether it is not over, whatever the product makes of that."""
    return attempt.state is not State.ENDED


class SimCoordinator:
    """One coordinator process: engine, store and bus of it. `engine` is None while it is down."""

    def __init__(self, world: World, name: str, store: SimStore) -> None:
        self.world = world
        self.name = name
        self.store = store
        self.rng = random.Random(f"{world.scenario.seed}/{name}")
        self.rate = 1.0 + self.rng.uniform(-1.0, 1.0) * world.scenario.drift
        self.offset_s = 0.0
        self.engine: Engine | None = None
        self.dead = False
        self.stalled_until_s = 0.0
        self.stall_next_s = 0.0
        self.full_until_s = 0.0
        self.crash_in: int | None = None
        self.crash_s = 0.0
        self.queued_s = 0.0
        self.heard: dict[tuple[str, str], tuple[int, float]] = {}
        self.said_id = ""
        self.own_s = float("-inf")
        self.present_s = float("inf")
        self._socket: list[Callable[[], None]] = []
        world.at(0.0, self.tick)

    @property
    def up(self) -> bool:
        return self.engine is not None

    # ---- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """A process begins: it takes a term and loads; its clock is that of a new boot."""
        if self.dead or self.engine is not None:
            return
        self.offset_s = self.rng.uniform(0.0, 1e6)
        self.heard.clear()
        self.said_id, self.own_s, self.present_s = "", float("-inf"), float("inf")
        self._socket.clear()
        self.stalled_until_s, self.stall_next_s, self.crash_in = 0.0, 0.0, None
        engine = Engine(self, self, self, SETTINGS, self._ids())
        try:
            step(engine.start())
        except StoreError:
            self.world.at(2.0, self.start)
            return
        self.engine = engine
        self.world.tell("reign", host=self.name, text=self.store.name, value=self.store.term)

    def _ids(self) -> Iterator[str]:
        while True:
            yield f"{self.rng.getrandbits(64):016x}"

    def crash(self, for_s: float) -> None:
        """Memory is gone; whoever watches over it starts it again."""
        if self.engine is not None:
            self.world.tell("crash", host=self.name)
        self.engine = None
        self.world.at(for_s, self.start)

    def end(self, why: str) -> None:
        """It has stood down, and is not started again by itself."""
        self.world.tell("stood_down", host=self.name, text=why)
        self.engine = None
        self.dead = True
        self.world.note_end(self)

    def heal(self) -> None:
        self.stalled_until_s = self.stall_next_s = self.full_until_s = 0.0
        self.crash_in = None
        self.world.network.cut.discard(self.name)
        self.start()

    def lose_connection(self, noticed: bool) -> None:
        self.world.network.cut.add(self.name)
        if noticed and self.engine is not None:
            self.engine.hear_disconnected()

    def find_connection(self) -> None:
        self.world.network.cut.discard(self.name)
        if self.engine is not None:
            self.engine.hear_connected()

    # ---- time -----------------------------------------------------------------------------------

    def now(self) -> Now:
        boot_s = self.world.now_s * self.rate + self.offset_s
        return Now(boot_s, 1e6 + self.world.now_s + self.world.wall_offset_s)

    def late_s(self) -> float:
        """How much later what it says now is said: it was stopped between commit and publish."""
        return max(self.stalled_until_s - self.world.now_s, 0.0)

    def tick(self) -> None:
        if self.dead:
            return
        self.world.at(TURN_S, self.tick)
        if self.engine is None or self.late_s():
            return
        waiting, self._socket = self._socket, []
        for hear in waiting:
            hear()
        if self.stall_next_s:
            self.stalled_until_s = self.world.now_s + self.stall_next_s
            self.stall_next_s = 0.0
        try:
            step(self.engine.turn())
        except (StoodDown, TermLost) as error:
            self.end(str(error))
        except Crashed:
            self.crash(self.crash_s)
        except StoreError:
            pass  # as in the engine's own loop: the next turn tries again

    # ---- what it hears --------------------------------------------------------------------------

    def hear_report(self, printer: str, payload: bytes) -> None:
        self._hear(lambda: self._take_report(printer, payload))

    def _take_report(self, printer: str, payload: bytes) -> None:
        if self.engine is None:
            return
        report = wire.decode(wire.Report, payload)
        newest, heard_s = self.heard.get((printer, report.session), (0, 0.0))
        if report.sequence > newest:
            if report.klipper.link is not Link.DISCONNECTED:
                heard_s = self.world.now_s
            self.heard[printer, report.session] = (report.sequence, heard_s)
        self.engine.hear_report(printer, report)

    def hear_beacon(self, payload: bytes) -> None:
        self._hear(lambda: self._take_beacon(payload))

    def _take_beacon(self, payload: bytes) -> None:
        if self.engine is None:
            return
        beacon = wire.decode(Beacon, payload)
        if beacon.id == self.said_id:
            if self.world.now_s - self.own_s > self.world.lease_s * 1.02:
                self.present_s = self.world.now_s
            self.own_s = self.world.now_s
        self.engine.hear_beacon(beacon)

    def hear_will(self, topic: str, payload: bytes) -> None:
        """The presence of a host: it comes in by the door that is there for it, or by none."""
        self._hear(lambda: self._take_will(topic, payload))

    def _take_will(self, topic: str, payload: bytes) -> None:
        if self.engine is not None:
            hand_over(self.engine, TOPICS, topic, payload)

    def _hear(self, act: Callable[[], None]) -> None:
        if self.late_s():
            self._socket.append(act)
        elif self.engine is not None:
            act()

    def ask(self, act: Callable[[Draft, Now], Any]) -> None:
        """A person asks for something; what they get for an answer they forget."""
        if self.engine is None:
            return
        coroutine = self.engine.ask(act)
        asked = coroutine.send(None)
        coroutine.close()
        self.world.asked.append(asked)

    # ---- the engine's store ---------------------------------------------------------------------

    def _check_disk(self) -> None:
        if self.world.now_s < self.full_until_s:
            raise StoreError("the disk is full")

    async def take_term(self, above: int = 0) -> int:
        self._check_disk()
        self.store.term = max(self.store.term, above) + 1
        return self.store.term

    async def load(self) -> Loaded:
        return load(self.store)

    async def commit(self, term: int, plan: Plan) -> None:
        self._check_disk()
        self.store.check(term)
        self._record(plan)
        self.store.write(plan)

    async def confirm(self, term: int) -> None:
        self.store.check(term)

    async def history(
        self, *, job: str = "", printer: str = "", attempt: str = "", limit: int = 100
    ) -> list[History]:
        return []

    def _record(self, plan: Plan) -> None:
        tell, store = self.world.tell, self.store
        for line in plan.history:
            silence_s = present_s = 0.0
            if line.kind == "attempt_lost":
                session = store.printers[line.printer].session
                _, heard_s = self.heard.get((line.printer, session), (0, 0.0))
                silence_s = self.world.now_s - heard_s
                present_s = self.world.now_s - self.present_s
            tell(
                line.kind, host=line.printer, attempt=line.attempt, copy=line.copy, job=line.job,
                text=f"{line.who}: {line.text}", value=silence_s, more=present_s,
            )  # fmt: skip
        for attempt in sorted(plan.attempts.values(), key=_holds):
            old = store.attempts.get(attempt.id)
            held = old is not None and _holds(old)
            words = {"attempt": attempt.id, "copy": attempt.copy, "job": attempt.job}
            if _holds(attempt) and not held:
                tell("live", host=attempt.printer, text=store.name, **words)
            if not _holds(attempt) and (old is None or held or old.outcome != attempt.outcome):
                tell("over", host=attempt.printer, text=attempt.outcome.value, **words)
            if attempt.accepted and (old is None or not old.accepted):
                tell("accepted", host=attempt.printer, text=store.name, **words)

    # ---- the engine's bus -----------------------------------------------------------------------

    def _crash_here(self) -> None:
        if self.crash_in is None:
            return
        self.crash_in -= 1
        if self.crash_in < 0:
            self.crash_in = None
            raise Crashed

    async def publish_desired(self, printer_id: str, desired: Desired) -> None:
        self._crash_here()
        if desired.term != self.store.term:
            self.world.tell("spoke", host=self.name, value=desired.term, good=False)
        self.world.network.desired(self, printer_id, wire.encode(desired))

    async def publish_command(self, printer_id: str, command: Command) -> None:
        self.world.network.command(self, printer_id, command, self.queued_s)

    async def publish_job_event(self, event: JobEvent) -> None:
        self._crash_here()

    async def publish_beacon(self, beacon: Beacon) -> None:
        self._crash_here()
        self.said_id = beacon.id
        self.world.network.beacon(self, beacon)
