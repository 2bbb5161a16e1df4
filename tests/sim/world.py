"""A whole farm in one process under one seed: the product's own decisions, simulated surroundings.

Owns the simulated clock, network, disks, Klippers and people. What is decided comes from the
product: moonraker_component's host decisions, klipper_extras' rules, the coordinator's core. The
history it records is what invariants.py judges.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from coordinator.core import printer_requests, reports, requests
from coordinator.core.attempts import Attempt
from coordinator.core.desired import desired_of
from coordinator.core.farm import Draft, Farm, Now, Reign, Settings
from coordinator.core.jobs import Copy, Job, JobFile, Policy
from coordinator.core.printers import Contact, Printer
from coordinator.core.reconcile import reconcile
from moonraker_component import wire
from tests.sim.hosts import SimHost

Rows = tuple[dict[str, Job], dict[str, Copy], dict[str, Attempt], dict[str, Printer]]
LEASE_S = 10.0
SETTINGS = Settings(
    lease_s=LEASE_S,
    fence_s=20.0,
    fence_margin_s=5.0,
    offline_grace_s=40.0,
    express_patience_s=1e9,
    rest_s=3.0,
)


@dataclass(frozen=True)
class Faults:
    """How unkind the world is: probabilities per message, and mean seconds between mishaps."""

    drop: float = 0.1
    double: float = 0.1
    delay_max_s: float = 3.0
    mishap_every_s: float = 60.0
    kinds: tuple[str, ...] = (
        "cut", "moonraker", "power", "klipper", "forget", "coordinator", "macro", "person_pause",
        "person_cancel", "print_error", "broker", "forget_all", "stall", "suspend", "disk_full",
        "mute_answers", "wall_clock", "job_pause", "settle",
    )  # fmt: skip


@dataclass
class World:
    """Runs until `end_s`, then heals everything and runs until every job has ended."""

    seed: int
    hosts_n: int = 3
    policy: Policy = Policy(offline_grace_s=40.0, retries=50)  # noqa: RUF009 - frozen
    faults: Faults = Faults()
    copies: int = 6
    now_s: float = 1_000.0
    sections: bool = True
    rng: random.Random = field(init=False)
    wall_offset_s: float = 0.0
    healed: bool = False
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.cut: set[str] = set()
        self.retained: dict[str, bytes] = {}
        # Without sections every second host has none: both kinds in one farm.
        self.hosts = {
            f"p{n}": SimHost(self, f"p{n}", section=self.sections or n % 2 == 0)
            for n in range(self.hosts_n)
        }
        self.clones: list[SimHost] = []
        self.restored = False
        self.coordinator = SimCoordinator(self)
        self.job: Job = self.coordinator.submit(self.copies, self.policy)

    # ---- time ---------------------------------------------------------------------------------

    def at(self, delay_s: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now_s + delay_s, self._count, act))

    def run(self, until_s: float, done: Callable[[], bool] = lambda: False) -> None:
        while self._heap and self._heap[0][0] <= until_s and not done():
            self.now_s, _, act = heapq.heappop(self._heap)
            act()
        self.now_s = max(self.now_s, until_s) if not done() else self.now_s

    def note(self, text: str) -> None:
        self.log.append(f"{self.now_s:9.2f} {text}")

    def fresh_ids(self) -> Iterator[str]:
        while True:
            yield f"{self.rng.getrandbits(64):016x}"

    # ---- network --------------------------------------------------------------------------------

    def all_hosts(self) -> list[SimHost]:
        """Every host with a printer, clones as well."""
        return [*self.hosts.values(), *self.clones]

    def send(self, end: SimHost, act: Callable[[], None]) -> None:
        """Deliver once, twice, late or never; nothing passes a cut."""
        host = end.key
        if host in self.cut:
            return
        times = 1
        if not self.healed:
            draw = self.rng.random()
            times = 0 if draw < self.faults.drop else (2 if draw > 1 - self.faults.double else 1)
        for _ in range(times):
            delay_s = self.rng.uniform(0.0, 0.05 if self.healed else self.faults.delay_max_s)
            self.at(delay_s, lambda: act() if host not in self.cut else None)

    def publish_desired(self, host: str, payload: bytes) -> None:
        self.retained[host] = payload
        for target in self.all_hosts():
            if target.name == host:
                self._hand(target, payload)

    def _hand(self, target: SimHost, payload: bytes) -> None:
        self.send(target, lambda: target.hear(payload, retained=False))

    def resubscribe(self, end: SimHost) -> None:
        payload = self.retained.get(end.name)
        if payload is not None and end.key not in self.cut:
            end.hear(payload, retained=True)

    # ---- mishaps --------------------------------------------------------------------------------

    def start(self) -> None:
        self.coordinator.tick()
        for host in self.hosts.values():
            host.boot(fresh_machine=True)
        self._next_mishap()

    def _next_mishap(self) -> None:
        delay_s = self.rng.expovariate(1.0 / self.faults.mishap_every_s)
        self.at(delay_s, self._mishap)

    def _mishap(self) -> None:
        if self.healed:
            return
        kind = self.rng.choice(self.faults.kinds)
        host = self.hosts[self.rng.choice(sorted(self.hosts))]
        length_s = self.rng.choice((2.0, 15.0, 60.0, 150.0))
        self.note(f"MISHAP {kind} {host.name} {length_s}")
        if kind == "cut":
            self.cut.add(host.name)
            self.at(length_s, lambda: self._reconnect(host.name))
        elif kind == "coordinator":
            self.coordinator.crash(length_s)
        elif kind == "restore":
            self.coordinator.restore()
        elif kind == "clone":
            self._clone(host)
        elif kind == "wall_clock":
            self.wall_offset_s = self.rng.choice((-1e8, -3600.0, 0.0, 3600.0, 1e8))
        elif kind in ("job_pause", "settle"):
            self.coordinator.person = kind
            self.at(length_s, self.coordinator.person_is_back)
        elif kind == "broker":
            self.retained.clear()
        else:
            host.suffer(kind, length_s)
        self._next_mishap()

    def _reconnect(self, host: str) -> None:
        self.cut.discard(host)
        self.resubscribe(self.hosts[host])

    def _clone(self, host: SimHost) -> None:
        """The card of a host, copied, wakes in another computer with a printer of its own."""
        key = f"clone{len(self.clones)}"
        clone = SimHost(self, host.name, host.section, machine=f"machine-{key}", key=key)
        clone.rows = dict(host.rows)
        self.clones.append(clone)
        clone.boot()

    def heal(self) -> None:
        """End every fault; from here on everything must come to its end."""
        self.healed = True
        self.note("HEAL")
        self.cut.clear()
        for host in self.hosts.values():
            host.heal()
        for clone in self.clones:
            clone.host = None  # somebody has found the second card
            clone.powered = False
        self.coordinator.heal()


class SimCoordinator:
    """The engine's round over the product's core; `stored` is what survives a crash."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ids = world.fresh_ids()
        self.term = 1
        self.farm = Farm(SETTINGS, Reign(term=1, connected_s=world.now_s))
        self.inbox: list[tuple[str, bytes]] = []
        self.down_until_s = 0.0
        self.person = ""
        self.outranked: tuple[int, float] | None = None
        draft = Draft(self.farm)
        for name in world.hosts:
            printer_requests.add_printer(draft, name, name, (), requests.Who(), self.now())
        self.farm.apply(draft)

    def now(self) -> Now:
        return Now(self.world.now_s, self.world.now_s + self.world.wall_offset_s)

    def submit(self, copies: int, policy: Policy) -> Job:
        draft = Draft(self.farm)
        wish = requests.Submission(
            file=JobFile("0" * 64, "part.gcode", "part", 10), copies=copies, policy=policy
        )
        job = requests.submit(draft, wish, requests.Who(), self.now(), self.ids)
        self.farm.apply(draft)
        self.keep_backup()
        return job

    def hear(self, host: str, payload: bytes) -> None:
        if self.world.now_s >= self.down_until_s:
            self.inbox.append((host, payload))

    def tick(self) -> None:
        self.world.at(0.5, self.tick)
        if self.world.now_s >= self.down_until_s:
            self.round()
        if self.world.rng.random() < 0.005:
            self.keep_backup()

    def round(self) -> None:
        now = self.now()
        self._rise_above(now)
        draft = Draft(self.farm)
        inbox, self.inbox = self.inbox, []
        for host, payload in inbox:
            reports.fold(draft, host, wire.decode(wire.Report, payload), now)
        self._person(draft, now)
        reconcile(draft, now, self.ids)
        if draft.outranked:
            above, since_s = self.outranked or (0, now.boot_s)
            self.outranked = (max(above, draft.outranked), since_s)
            self.farm.reign = Reign(term=self.term, connected_s=None)
        self.farm.apply(draft)
        for line in draft.history:
            self.world.note(
                f"C {line.kind} {line.printer} a={line.attempt[:6]} c={line.copy[:4]} {line.text}"
            )
        # Committed; a crash between commit and publish loses what would have been said.
        if not self.world.healed and self.world.rng.random() < 0.001:
            self.crash(5.0)
            return
        for name, printer in self.farm.printers.items():
            contact = self.farm.contacts.get(name)
            desired = desired_of(printer, contact, self.farm.reign.term, LEASE_S)
            if name in draft.printers.changed or self.world.rng.random() < 0.25:
                self.world.publish_desired(name, wire.encode(desired))

    def _person(self, draft: Draft, now: Now) -> None:
        """After the healing a person looks at what asks for one."""
        who = requests.Who("person")
        if not self.world.healed:
            self._meddle(draft, who, now)
            return
        for printer in list(draft.printers.values()):
            if printer.hold:
                printer_requests.release_printer(draft, printer.id, who, now)
        job = draft.jobs[self.world.job.id]
        if job.reason and not job.finished:
            requests.release(draft, job.id, who, now)
        stands = [a for a in draft.live_attempts() if a.pause and a.resume != a.pause]
        if stands and not job.finished:
            requests.resume(draft, job.id, who, now)

    def _meddle(self, draft: Draft, who: requests.Who, now: Now) -> None:
        """A person pauses, resumes, or tells the truth about what a silent printer has done."""
        doing, self.person = self.person, ""
        job = draft.jobs[self.world.job.id]
        if job.finished:
            return
        if doing == "job_pause":
            requests.pause(draft, job.id, who, now)
        elif doing == "back":
            requests.resume(draft, job.id, who, now)
        elif doing == "settle":
            ended = {p.attempt: p for h in self.world.all_hosts() for p in h.prints if p.how}
            for attempt in draft.live_attempts():
                silent_s = now.boot_s - draft.contacts.get(attempt.printer, Contact()).heard_s
                if attempt.id in ended and silent_s > LEASE_S:
                    seen = "complete" if ended[attempt.id].how == "complete" else "failed"
                    requests.settle(draft, attempt.id, requests.Settlement(seen), who, now)

    def person_is_back(self) -> None:
        self.person = "back"

    def restore(self) -> None:
        """The database of some time ago is put back; the next start takes the next term of it."""
        self.world.restored = True
        self.inbox.clear()
        self.outranked = None
        self.term, rows = self.backup_rows
        self._begin(rows)

    def keep_backup(self) -> None:
        farm = self.farm
        rows = (dict(farm.jobs), dict(farm.copies), dict(farm.attempts), dict(farm.printers))
        self.backup_rows = (self.term, rows)

    def _rise_above(self, now: Now) -> None:
        """Rule 13, as the engine does it: nobody else reigns here."""
        if self.outranked is None or now.boot_s - self.outranked[1] < LEASE_S:
            return
        self.term = max(self.term, self.outranked[0]) + 1
        self.outranked = None
        self.farm.contacts.clear()
        self.farm.reign = Reign(term=self.term, connected_s=now.boot_s)

    def crash(self, length_s: float) -> None:
        """Memory is gone; rows are kept. The next reign starts all timers anew."""
        if self.world.now_s < self.down_until_s:
            return
        self.down_until_s = self.world.now_s + length_s
        self.inbox.clear()
        self.world.at(length_s, self._rise)

    def _rise(self) -> None:
        old = self.farm
        self._begin((old.jobs, old.copies, old.attempts, old.printers))

    def _begin(self, rows: Rows) -> None:
        """A start: the next term, what is stored, nothing of what was known beside it."""
        jobs, copies, attempts, printers = rows
        self.term += 1
        self.outranked = None
        self.farm = Farm(SETTINGS, Reign(term=self.term, connected_s=self.world.now_s))
        self.farm.load(
            list(jobs.values()),
            list(copies.values()),
            list(attempts.values()),
            list(printers.values()),
        )
        self.down_until_s = 0.0

    def heal(self) -> None:
        if self.world.now_s < self.down_until_s:
            self.down_until_s = 0.0
