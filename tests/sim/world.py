"""A whole farm in one process under one seed: the product's own decisions, simulated surroundings.

Owns the simulated clock, the list of what is there, how faults are carried out and healed. What is
decided comes from the product: the coordinator's engine and core, moonraker_component's host
decisions, klipper_extras' rules. The history it records is what invariants.py judges.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from coordinator.ports import StoreError
from tests.sim.coordinators import SETTINGS, SimCoordinator, SimStore
from tests.sim.history import Entry, History
from tests.sim.hosts import SimHost
from tests.sim.network import Network
from tests.sim.people import People
from tests.sim.scenario import FAULTY_S, Fault, Scenario

HEALED_S = 4_000.0
AFTER_S = 150.0
"""What still prints when the last job ends (a surplus copy) may come to its end."""


class World:
    """Plays one scenario. `healed`: the faults are over, and everything has to come to its end.

    `restored`: an older database has been put back; `beside`: another one has reigned beside.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.lease_s = SETTINGS.lease_s
        self.fence_s = SETTINGS.fence_s
        self.now_s = self.begun_s = 1_000.0
        self.wall_offset_s = 0.0
        self.healed = False
        self.restored = False
        self.beside = False
        self.backup: SimStore | None = None
        self.history = History()
        self.errors: list[str] = []
        self.asked: list[asyncio.Future[Any]] = []
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self.rng = random.Random(f"{scenario.seed}/world")
        self.network = Network(self)
        self.hosts = {
            f"p{n}": SimHost(
                self,
                f"p{n}",
                section=scenario.kind.sections or n % 2 == 0,
                rate=1.0 + self.rng.uniform(-1.0, 1.0) * scenario.drift,
            )
            for n in range(scenario.hosts)
        }
        self.clones: list[SimHost] = []
        self.store = SimStore("main")
        self.coordinators = [SimCoordinator(self, "c0", self.store)]
        self._started = 1
        self.people = People(self)

    # ---- time -----------------------------------------------------------------------------------

    def at(self, delay_s: float, act: Callable[[], object]) -> None:
        """Let something happen so much later."""
        self._count += 1
        heapq.heappush(self._heap, (self.now_s + delay_s, self._count, act))

    def run(self, until_s: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let things happen until this time, or until it is done (looked at once a second)."""
        look_s = self.now_s
        while self._heap and self._heap[0][0] <= until_s:
            if self.now_s >= look_s:
                if done():
                    return
                look_s = self.now_s + 1.0
            self.now_s, _, act = heapq.heappop(self._heap)
            act()
        self.now_s = until_s

    def tell(self, kind: str, **words: Any) -> None:
        """Record a fact at this time; the words are the fields of an Entry."""
        self.history.add(Entry(self.now_s, kind, **words))

    # ---- what is there --------------------------------------------------------------------------

    def all_hosts(self) -> list[SimHost]:
        """Every host with a printer, clones as well."""
        return [*self.hosts.values(), *self.clones]

    def reigning(self) -> SimCoordinator | None:
        """The coordinator whose dashboard people look at."""
        return next((c for c in self.coordinators if c.up and not c.late_s()), None)

    # ---- the play -------------------------------------------------------------------------------

    def play(self) -> None:
        """Faults, healing one by one, the end. What breaks is kept in `errors`."""
        with self._listening():
            asyncio.run(self._play())

    async def _play(self) -> None:
        """The engine's futures want a running loop; it never gets to turn."""
        try:
            self._play_all()
        except Exception:
            self.errors.append(traceback.format_exc(limit=-4))
        for asked in self.asked:
            error = asked.exception() if asked.done() else None
            if error is not None and not isinstance(error, StoreError):
                self.errors.append(f"a person got an error: {error!r}")

    def _play_all(self) -> None:
        self.coordinators[0].start()
        for host in self.hosts.values():
            host.boot()
        for fault in self.scenario.faults:
            self.at(fault.at_s, partial(self._strike, fault))
        self.run(self.begun_s + FAULTY_S)
        self.run(self.now_s + self._swizzle())
        self._heal()
        self.run(self.now_s + HEALED_S, self._is_over)
        self.run(self.now_s + AFTER_S, self._is_quiet)

    def _is_quiet(self) -> bool:
        return not any(host.klipper.printing for host in self.all_hosts())

    def _is_over(self) -> bool:
        store = self.store
        return self.people.all_submitted() and not any(
            not job.finished for job in store.jobs.values()
        )

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """What the product logs as an error is one; the rest would drown the tests' output."""
        product, errors = logging.getLogger("moonfleet"), self.errors

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                errors.append(logging.Formatter().format(record))

        handler = Keep(logging.ERROR)
        level, propagate = product.level, product.propagate
        product.addHandler(handler)
        product.setLevel(logging.ERROR)
        product.propagate = False
        try:
            yield
        finally:
            product.removeHandler(handler)
            product.setLevel(level)
            product.propagate = propagate

    # ---- faults ---------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        self.tell("fault", host=fault.host, text=f"{fault.kind} {fault.length_s:g}")
        if fault.kind in COORDINATOR_ACTS:
            COORDINATOR_ACTS[fault.kind](self, fault)
        elif fault.kind in HOST_ACTS:
            HOST_ACTS[fault.kind](self, self.hosts[fault.host], fault)
        else:
            self.people.meddle(fault)

    def start_coordinator(self, store: SimStore) -> SimCoordinator:
        """One more; whether it may stay is between it and the others."""
        coordinator = SimCoordinator(self, f"c{self._started}", store)
        self._started += 1
        self.coordinators = [*(c for c in self.coordinators if not c.dead), coordinator]
        coordinator.start()
        return coordinator

    def note_end(self, coordinator: SimCoordinator) -> None:
        """Of two databases the farm goes on with the one whose coordinator is left."""
        left = [c for c in self.coordinators if not c.dead]
        if left and all(c.store is not self.store for c in left):
            self.store = left[0].store

    def keep_backup(self) -> None:
        self.backup = self.store.copy("backup")

    # ---- healing --------------------------------------------------------------------------------

    def _swizzle(self) -> float:
        """Heal one by one, in random order with gaps; some are cut once more on the way.

        Returns how long this takes, in seconds.
        """
        rng = random.Random(f"{self.scenario.seed}/healing")
        ends: list[SimHost | SimCoordinator] = [*self.hosts.values(), *self.coordinators]
        rng.shuffle(ends)
        after_s = 0.0
        for end in ends:
            after_s += rng.uniform(0.0, 12.0)
            self.at(after_s, partial(self._heal_one, end))
            if rng.random() < 0.3 and isinstance(end, SimHost):
                again_s = after_s + rng.uniform(0.5, 6.0)
                self.at(again_s, partial(self.network.cut.add, end.key))
                self.at(again_s + rng.uniform(0.5, 15.0), partial(self._heal_one, end))
        return after_s + 5.0

    def _heal_one(self, end: SimHost | SimCoordinator) -> None:
        self.tell("heal", host=end.key if isinstance(end, SimHost) else end.name)
        end.heal()
        if isinstance(end, SimHost):
            self.network.held_until_s.pop(end.key, None)
            self.network.reconnect(end)

    def _heal(self) -> None:
        """End every fault; from here on everything must come to its end."""
        self.tell("heal", text="all")
        self.healed = True
        for clone in self.clones:
            clone.host = None  # somebody has found the second card
            clone.powered = False
            clone.klipper.die("found")
            clone.come_back = lambda: None  # type: ignore[method-assign]
        ends: list[SimHost | SimCoordinator] = [*self.hosts.values(), *self.coordinators]
        for end in ends:
            self._heal_one(end)
        self.coordinators = [c for c in self.coordinators if not c.dead]
        if not self.coordinators:
            self.start_coordinator(self.store)


# ---- what each fault does -----------------------------------------------------------------------


def _cut(world: World, host: SimHost, fault: Fault) -> None:
    world.network.cut_off(host)
    world.at(fault.length_s, lambda: world.network.reconnect(host))


def _hold(world: World, host: SimHost, fault: Fault) -> None:
    world.network.held_until_s[host.key] = world.now_s + fault.length_s


def _forget(world: World, host: SimHost, fault: Fault) -> None:
    host.rows.clear()
    host.die(fault.length_s, "forgets all")


def _crash_step(world: World, host: SimHost, fault: Fault) -> None:
    host.crash_in, host.crash_s = int(fault.pick * 6), fault.length_s


def _crash_start(world: World, host: SimHost, fault: Fault) -> None:
    host.crash_at_start, host.crash_s = "before" if fault.pick < 0.5 else "after", fault.length_s


def _klipper(world: World, host: SimHost, fault: Fault) -> None:
    host.klipper.die("klipper")
    world.at(fault.length_s, host.klipper_comes_back)


def _macro(world: World, host: SimHost, fault: Fault) -> None:
    host.klipper.macro_until_s = world.now_s + fault.length_s


def _disk_full(world: World, host: SimHost, fault: Fault) -> None:
    host.disk_full_until_s = world.now_s + fault.length_s


def _mute(world: World, host: SimHost, fault: Fault) -> None:
    host.mute_until_s = world.now_s + fault.length_s


def _print_error(world: World, host: SimHost, fault: Fault) -> None:
    if host.klipper.state == "printing":
        host.klipper.end("error", "error")


def _person_pause(world: World, host: SimHost, fault: Fault) -> None:
    if host.klipper.pause("person"):
        world.at(fault.length_s, partial(host.klipper.resume, "person"))


def _person_cancel(world: World, host: SimHost, fault: Fault) -> None:
    if host.klipper.printed is not None:
        host.klipper.end("cancelled", "person")


def _stale_clear(world: World, host: SimHost, fault: Fault) -> None:
    """A prompt of an earlier bed is clicked."""
    if host.section:
        host.klipper.clear(host.klipper.last_token)


def _local_print(world: World, host: SimHost, fault: Fault) -> None:
    """Somebody who stands before it prints a file of their own, past the farm."""
    host.klipper.print_own(fault.length_s)


def _clone(world: World, host: SimHost, fault: Fault) -> None:
    """The card of a host, copied, wakes in another computer with a printer of its own."""
    key = f"clone{len(world.clones)}"
    clone = SimHost(world, host.name, host.section, host.rate, f"machine-{key}", key)
    clone.rows = dict(host.rows)
    world.clones.append(clone)
    clone.boot()


HOST_ACTS: dict[str, Callable[[World, SimHost, Fault], None]] = {
    "cut": _cut,
    "hold": _hold,
    "moonraker": lambda world, host, fault: host.die(fault.length_s, "moonraker"),
    "forget": _forget,
    "crash_step": _crash_step,
    "crash_start": _crash_start,
    "power": lambda world, host, fault: host.lose_power(fault.length_s),
    "klipper": _klipper,
    "macro": _macro,
    "stall": lambda world, host, fault: host.stand_still(fault.length_s, asleep=False),
    "suspend": lambda world, host, fault: host.stand_still(fault.length_s, asleep=True),
    "disk_full": _disk_full,
    "mute_answers": _mute,
    "print_error": _print_error,
    "person_pause": _person_pause,
    "person_cancel": _person_cancel,
    "stale_clear": _stale_clear,
    "local_print": _local_print,
    "clone": _clone,
}


def _crash(world: World, fault: Fault) -> None:
    for coordinator in world.coordinators:
        coordinator.crash(fault.length_s)


def _crash_publish(world: World, fault: Fault) -> None:
    for coordinator in world.coordinators:
        coordinator.crash_in, coordinator.crash_s = int(fault.pick * 5), fault.length_s


def _stall_coordinator(world: World, fault: Fault) -> None:
    for coordinator in world.coordinators:
        coordinator.stall_next_s = fault.length_s


def _deafen(world: World, fault: Fault) -> None:
    for coordinator in world.coordinators:
        coordinator.lose_connection(noticed=fault.pick < 0.5)
        world.at(fault.length_s, coordinator.find_connection)


def _fill_store(world: World, fault: Fault) -> None:
    for coordinator in world.coordinators:
        coordinator.full_until_s = world.now_s + fault.length_s


def _jump_wall(world: World, fault: Fault) -> None:
    world.wall_offset_s = (-1e8, -3600.0, 0.0, 3600.0, 1e8)[int(fault.pick * 5)]


def _rival(world: World, fault: Fault) -> None:
    """Somebody starts a second one on the same database."""
    if fault.kind == "rival_asleep":
        _stall_coordinator(world, fault)
    world.at(1.0, lambda: world.start_coordinator(world.store))


def _restore(world: World, fault: Fault) -> None:
    """The database of some time ago is put back; the next start takes the next term of it."""
    if world.backup is None:
        return
    for coordinator in world.coordinators:
        coordinator.crash(fault.length_s)
    world.restored = True
    world.store.__dict__.update(world.backup.copy("main").__dict__)
    world.tell("restored", text="main")


def _twin(world: World, fault: Fault) -> None:
    """A restored copy is started beside the original."""
    if world.backup is None:
        return
    world.restored = world.beside = True
    world.start_coordinator(world.backup.copy(f"twin{len(world.coordinators)}"))


COORDINATOR_ACTS: dict[str, Callable[[World, Fault], None]] = {
    "coordinator": _crash,
    "crash_publish": _crash_publish,
    "coordinator_stall": _stall_coordinator,
    "deaf": _deafen,
    "broker": lambda world, fault: world.network.retained.clear(),
    "store_full": _fill_store,
    "wall_clock": _jump_wall,
    "rival": _rival,
    "rival_asleep": _rival,
    "backup": lambda world, fault: world.keep_backup() if world.people.all_submitted() else None,
    "restore": _restore,
    "twin": _twin,
}
