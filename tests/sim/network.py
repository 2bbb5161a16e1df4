"""The broker and the ways to it: drops, doubles, delays, reorders, cuts, holds back, forgets.

Owns delivery. Each end has a stream of random numbers of its own, so that what happens to one
changes as little as possible for the others. Must not know what messages mean.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from moonraker_component import wire
from moonraker_component.wire import Beacon, Command, Online, Topics

if TYPE_CHECKING:
    from tests.sim.coordinators import SimCoordinator
    from tests.sim.hosts import SimHost
    from tests.sim.world import World

HEALED_DELAY_S = 0.05
TOPICS = Topics()


class Network:
    """`cut`: ends whose connection is gone. `held_until_s`: ends whose messages wait."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cut: set[str] = set()
        self.held_until_s: dict[str, float] = {}
        self.retained: dict[str, bytes] = {}
        self._rngs: dict[str, random.Random] = {}

    # ---- from and to hosts ----------------------------------------------------------------------

    def from_host(self, host: SimHost, payload: bytes) -> None:
        """A report, to every coordinator that listens."""
        for coordinator in self.world.coordinators:
            if coordinator.up:
                self._carry(host.key, coordinator, payload, coordinator.hear_report, host.name)

    def desired(self, coordinator: SimCoordinator, printer: str, payload: bytes) -> None:
        """Retained by the broker, and sent to whoever is that printer."""
        if coordinator.name in self.cut:
            return
        late_s = coordinator.late_s()
        if late_s:
            self.world.at(late_s, lambda: self._distribute(printer, payload))
        else:
            self._distribute(printer, payload)

    def _distribute(self, printer: str, payload: bytes) -> None:
        self.retained[printer] = payload
        for host in self.world.all_hosts():
            if host.name == printer:
                self._send(host.key, partial(host.hear, payload, retained=False))

    def command(
        self, coordinator: SimCoordinator, printer: str, command: Command, queued_s: float
    ) -> None:
        """`queued_s`: how long it lies in a queue on its way."""
        if coordinator.name in self.cut:
            return
        for host in self.world.all_hosts():
            if host.name == printer:
                hear = partial(host.hear_command, command)
                late_s = queued_s + coordinator.late_s()
                self.world.at(late_s, partial(self._send, host.key, hear))

    def subscribe(self, host: SimHost) -> None:
        """Connected (again): the retained desired comes at once."""
        payload = self.retained.get(host.name)
        if payload is not None and host.key not in self.cut:
            host.hear(payload, retained=True)

    def will(self, host: SimHost, after_s: float) -> None:
        """What the broker says for a connection that it misses, when it has noticed."""
        topic, payload = TOPICS.online(host.name), wire.encode(Online(online=False))
        for coordinator in self.world.coordinators:
            if coordinator.up:
                self.world.at(after_s, partial(self._tell, coordinator, topic, payload))

    def _tell(self, coordinator: SimCoordinator, topic: str, payload: bytes) -> None:
        if coordinator.name not in self.cut:
            coordinator.hear_will(topic, payload)

    def cut_off(self, host: SimHost) -> None:
        """Nothing passes any more; the broker notices when the keepalive has run out."""
        self.cut.add(host.key)
        self.will(host, 15.0)

    def reconnect(self, host: SimHost) -> None:
        self.cut.discard(host.key)
        self.subscribe(host)

    # ---- between coordinators -------------------------------------------------------------------

    def beacon(self, coordinator: SimCoordinator, beacon: Beacon) -> None:
        """To every coordinator, the one that sent it too."""
        if coordinator.name in self.cut:
            return
        late_s = coordinator.late_s()
        payload = wire.encode(beacon)
        for other in self.world.coordinators:
            if other.up:
                hear = partial(self._carry, coordinator.name, other, payload, other.hear_beacon)
                self.world.at(late_s, hear)

    # ---- delivery -------------------------------------------------------------------------------

    def _carry(
        self,
        end: str,
        coordinator: SimCoordinator,
        payload: bytes,
        hear: Callable[..., None],
        *more: str,
    ) -> None:
        if coordinator.name in self.cut:
            return
        self._send(end, lambda: None if coordinator.name in self.cut else hear(*more, payload))

    def _send(self, end: str, act: Callable[[], None]) -> None:
        """Deliver once, twice, late or never; nothing passes a cut."""
        if end in self.cut:
            return
        rng = self._rngs.get(end)
        if rng is None:
            rng = self._rngs[end] = random.Random(f"{self.world.scenario.seed}/net/{end}")
        kind, healed = self.world.scenario, self.world.healed
        times = 1
        if not healed:
            draw = rng.random()
            times = 0 if draw < kind.drop else (2 if draw > 1.0 - kind.double else 1)
        held_s = max(self.held_until_s.get(end, 0.0) - self.world.now_s, 0.0)
        for _ in range(times):
            delay_s = rng.uniform(0.0, HEALED_DELAY_S if healed else kind.delay_max_s)
            self.world.at(held_s + delay_s, lambda: None if end in self.cut else act())
