"""The live feed: one snapshot for whoever joins, then only what changed.

Owns what is sent when: changes are gathered, encoded once and sent to all; a client that does not
read is dropped. Sends levels, not edges: every message holds
whole views, so one that comes twice or is merged with a later one changes nothing. Must not know
sockets; a client is something with a bounded queue.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from coordinator.core.farm import Now, Plan
from coordinator.http import readings
from coordinator.http.farm_view import FarmView, farm_view
from coordinator.http.job_view import AttemptView, JobView, attempt_view, job_view, live_counts
from coordinator.http.printer_view import PrinterView, Readings, printer_view
from coordinator.http.services import Services
from moonraker_component.wire import Telemetry

GATHER_S = 0.2
LOOK_S = 1.0
"""Time alone changes printers too (a host falls silent): everything is looked at this often."""

QUEUE_MAX = 64
CLIENTS_MAX = 200
OWNER_CLIENTS_MAX = 20
"""Listeners in all, and of one user: a page opens one."""

FINISHED_MAX = 50


class Snapshot(Struct, frozen=True, kw_only=True, tag="snapshot", tag_field="type"):
    """Everything, as of `sequence`. Of finished jobs the last ones of this reign."""

    sequence: int
    at: float
    farm: FarmView
    jobs: list[JobView]
    printers: list[PrinterView]
    attempts: list[AttemptView]
    readings: list[Readings]


class Change(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="change", tag_field="type"):
    """What differs from the message before. What is not in it is as it was.

    `sequence` is one more than that of the message before: a gap means that one was missed.
    """

    sequence: int
    at: float
    farm: FarmView | None = None
    jobs: list[JobView] = []
    printers: list[PrinterView] = []
    attempts: list[AttemptView] = []
    readings: list[Readings] = []


class Client:
    """One listener: messages wait in a bounded queue; `dropped` is set when it overflows."""

    def __init__(self, owner: str = "") -> None:
        self.owner = owner
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=QUEUE_MAX)
        self.dropped = asyncio.Event()

    def put(self, message: bytes) -> None:
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.dropped.set()


class Live:
    """Listens to the engine from its making on; runs only while there are clients."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sequence = 0
        self._clients: set[Client] = set()
        self._jobs: dict[str, JobView | None] = {}
        self._finished: dict[str, JobView] = {}
        self._attempts: dict[str, AttemptView] = {}
        self._printers: set[str] = set()
        self._told: dict[str, PrinterView] = {}
        self._told_farm: FarmView | None = None
        self._readings: dict[str, Readings] = {}
        self._shown: dict[str, Readings] = {}
        self._fresh: set[str] = set()
        self._sent_s: dict[str, float] = {}
        self._looked_s = float("-inf")
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        services.engine.listeners.append(self._note)
        services.engine.telemetry_listeners.append(self._note_telemetry)

    def is_full_for(self, owner: str) -> bool:
        """Whether this user may not have one more listener."""
        theirs = sum(client.owner == owner for client in self._clients)
        return len(self._clients) >= CLIENTS_MAX or theirs >= OWNER_CLIENTS_MAX

    def join(self, owner: str = "") -> Client:
        """A new listener, whose queue begins with a snapshot."""
        if self._clients:
            self._send(self._gathered())  # what waits belongs before the snapshot
        client = Client(owner)
        client.put(msgspec.json.encode(self.snapshot()))
        self._clients.add(client)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="live")
        return client

    def leave(self, client: Client) -> None:
        """Forget a listener; the last one ends the feed."""
        self._clients.discard(client)
        if not self._clients and self._task is not None:
            self._task.cancel()
            self._task = None

    def readings_of(self, printer_id: str) -> Readings | None:
        """The last telemetry of a printer, with its time."""
        return self._readings.get(printer_id)

    def snapshot(self) -> Snapshot:
        """Everything as it is now; what is told after it is told against it."""
        farm, now = self._services.engine.farm, self._now()
        known = {job.id: job_view(job, live_counts(farm, job.id)) for job in farm.jobs.values()}
        finished = {**self._finished, **{j.id: j for j in known.values() if j.finished_at}}
        last = sorted(finished.values(), key=lambda job: job.finished_at or 0.0)[-FINISHED_MAX:]
        self._told = {p.id: printer_view(farm, p, now) for p in farm.printers.values()}
        self._told_farm = farm_view(self._services, self._told.values())
        return Snapshot(
            sequence=self._sequence,
            at=now.wall_s,
            farm=self._told_farm,
            jobs=[job for job in known.values() if not job.finished_at] + last,
            printers=list(self._told.values()),
            attempts=[self._attempt(id_) for id_ in farm.live_on.values()],
            readings=[readings.shown(told) for told in self._readings.values()],
        )

    def _note(self, plan: Plan) -> None:
        """A round was committed: remember which views it may have changed.

        Finished jobs and attempts are looked at now, for the farm may forget them right after.
        """
        farm = self._services.engine.farm
        touched = {copy.job for copy in plan.copies.values()}
        touched.update(attempt.job for attempt in plan.attempts.values())
        jobs: dict[str, JobView | None] = dict.fromkeys(touched.union(plan.jobs))
        for job_id in jobs:
            if farm.jobs[job_id].finished:
                view = job_view(farm.jobs[job_id], live_counts(farm, job_id))
                self._finished.pop(job_id, None)
                self._finished[job_id] = jobs[job_id] = view
        while len(self._finished) > FINISHED_MAX:
            del self._finished[next(iter(self._finished))]
        if not self._clients:
            return
        self._jobs.update(jobs)
        self._attempts.update({id_: self._attempt(id_) for id_ in plan.attempts})
        self._printers.update(attempt.printer for attempt in plan.attempts.values())
        self._printers.update(plan.printers, plan.contacts)
        if plan.durable:
            self._wake.set()

    def _note_telemetry(self, printer_id: str, telemetry: Telemetry) -> None:
        at = self._now().wall_s
        self._readings[printer_id] = Readings(printer_id, round(at, 2), telemetry)
        if self._clients:
            self._fresh.add(printer_id)
            self._wake.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            self._wake.clear()
            self._send(self._gathered())

    def _gathered(self) -> Change | None:
        """What has changed since the last message; None if nothing has."""
        farm, now = self._services.engine.farm, self._now()
        jobs = [
            view or job_view(farm.jobs[job_id], live_counts(farm, job_id))
            for job_id, view in sorted(self._jobs.items())
        ]
        attempts = [view for _, view in sorted(self._attempts.items())]
        printers = self._changed_printers(now)
        fresh = self._due_readings(now)
        told = farm_view(self._services, self._told.values())
        changed_farm = told if told != self._told_farm else None
        self._told_farm = told
        self._jobs.clear()
        self._attempts.clear()
        self._printers.clear()
        if not (jobs or attempts or printers or fresh or changed_farm):
            return None
        self._sequence += 1
        return Change(
            sequence=self._sequence,
            at=now.wall_s,
            farm=changed_farm,
            jobs=jobs,
            printers=printers,
            attempts=attempts,
            readings=fresh,
        )

    def _changed_printers(self, now: Now) -> list[PrinterView]:
        """Views that differ: of printers that were touched, and now and then of all of them."""
        farm = self._services.engine.farm
        looked_at = self._printers
        if now.boot_s - self._looked_s >= LOOK_S:
            self._looked_s = now.boot_s
            looked_at = set(farm.printers)
        changed = []
        for printer_id in sorted(looked_at & farm.printers.keys()):
            view = printer_view(farm, farm.printers[printer_id], now)
            told = self._told.get(printer_id)
            self._told[printer_id] = view
            # That it was heard again is no news: `heard_at` goes along when something else is.
            if told is None or replace(told, heard_at=view.heard_at) != view:
                changed.append(view)
        return changed

    def _due_readings(self, now: Now) -> list[Readings]:
        """What a page would show differently; the other fresh ones are done with."""
        due = []
        for printer_id in sorted(self._fresh):
            if now.boot_s - self._sent_s.get(printer_id, float("-inf")) < readings.TOLD_S:
                continue
            self._fresh.discard(printer_id)
            told = readings.shown(self._readings[printer_id])
            if readings.worth_sending(self._shown.get(printer_id), told):
                self._shown[printer_id], self._sent_s[printer_id] = told, now.boot_s
                due.append(told)
        return due

    def _attempt(self, attempt_id: str) -> AttemptView:
        farm = self._services.engine.farm
        attempt = farm.attempts[attempt_id]
        copy = farm.copies[attempt.copy]
        return attempt_view(attempt, farm.jobs[attempt.job].title, copy.number)

    def _send(self, change: Change | None) -> None:
        if change is None or not self._clients:
            return
        message = msgspec.json.encode(change)
        for client in self._clients:
            client.put(message)

    def _now(self) -> Now:
        return self._services.clock.now()
