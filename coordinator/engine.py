"""The only loop and the only writer: drain the inbox, reconcile, commit, then publish.

Owns the farm in memory and the round. Who reigns is decided in core/presence.py.
Must not know SQL, sockets or HTTP: store, bus and clock come in as ports.

    inbox -> draft -> fold reports, apply requests -> reconcile -> commit -> apply -> publish

A round that cannot be committed changes nothing: reports come again by themselves, and whoever
asked for something gets the error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from coordinator.core import presence, reports
from coordinator.core.desired import desired_of
from coordinator.core.farm import Draft, Farm, Now, Plan, Settings
from coordinator.core.presence import Presence
from coordinator.core.reconcile import reconcile
from coordinator.core.requests import Conflict, NotFound, Who
from coordinator.events import job_event
from coordinator.ports import Bus, Clock, Store, StoreError, TermLost
from moonraker_component.wire import (
    Beacon,
    Command,
    CommandKind,
    Event,
    Report,
    Telemetry,
)

log = logging.getLogger("moonfleet.engine")

T = TypeVar("T")
INBOX_MAX = 10_000
ROUND_MAX = 500
"""Inbox items folded in one round, so that one flood cannot starve the publishing."""

EVENT_KIND_MAX = 64
EVENT_TEXT_MAX = 1_000
"""Characters kept of what a host tells: the history is for ever, and a host may be broken."""

ROUND_SPACING_S = 0.01
TICK_S = 1.0
HEARTBEATS_PER_LEASE = 3


class StoodDown(Exception):
    """Another coordinator reigns: this one has stopped deciding and must end."""


class EngineBusy(Exception):
    """The inbox is full; nothing was taken, try again later."""


class _Request(Struct):
    """Something a person asked for, with the future that answers it after the commit."""

    act: Callable[[Draft, Now], Any]
    answer: asyncio.Future[Any]


class _Heard(Struct):
    """A report as it came in."""

    printer: str
    report: Report


Listener = Callable[[Plan], None]

FLEETING_EVENTS = frozenset({"layer"})
"""Events that telemetry tells as well, and that are not worth a row of history each."""

NOTES_KEPT = 200
"""Notes that are logged once as long as they keep coming, not with every report."""

NOTES_EACH_S = 60.0
NOTES_MAX = 60
NOTE_TEXT_MAX = 400
"""At most so many notes in so many seconds, and so many characters of each."""


def _log_unkept(kept: asyncio.Future[Any]) -> None:
    """An event that could not be stored is lost to the history, and to nothing else."""
    if not kept.cancelled() and kept.exception() is not None:
        log.warning("an event of a host was not stored: %s", kept.exception())


class Engine:
    """Runs the farm. `start()` takes a term and loads; `run()` is the loop, until it is cancelled.

    Raises from `run()`: StoodDown or TermLost when another coordinator reigns.
    """

    def __init__(
        self, store: Store, bus: Bus, clock: Clock, settings: Settings, ids: Iterator[str]
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._ids = ids
        self._presence = Presence(id=next(ids), lease_s=settings.lease_s)
        self.farm = Farm(settings, self._presence.reign())
        self.telemetry: dict[str, Telemetry] = {}
        self.events: list[tuple[str, Event]] = []
        self.listeners: list[Listener] = []
        self.telemetry_listeners: list[Callable[[str, Telemetry], None]] = []
        self._inbox: asyncio.Queue[_Request | _Heard] = asyncio.Queue(maxsize=INBOX_MAX)
        self._wake = asyncio.Event()
        self._wake_s: float | None = None
        self._beat_s = 0.0
        self._dropped = 0
        self._noted: list[str] = []
        self._notes_since_s = 0.0
        self._notes_logged = 0

    # ---- what comes in --------------------------------------------------------------------

    def hear_report(self, printer_id: str, report: Report) -> None:
        """A host's report; dropped when the inbox is full, for hosts report again."""
        try:
            self._inbox.put_nowait(_Heard(printer_id, report))
        except asyncio.QueueFull:
            self._dropped += 1
            return
        self._wake.set()

    def hear_telemetry(self, printer_id: str, telemetry: Telemetry) -> None:
        """Kept in memory only; the time left decides between two prints of one copy."""
        if printer_id not in self.farm.printers:
            return
        self.telemetry[printer_id] = telemetry
        contact = self.farm.contacts.get(printer_id)
        if contact is not None and contact.left_s != telemetry.left_s:
            self.farm.contacts[printer_id] = replace(contact, left_s=telemetry.left_s)
        for listener in self.telemetry_listeners:
            listener(printer_id, telemetry)

    def hear_event(self, printer_id: str, event: Event) -> None:
        """One fact of a host: kept, once, in the history of its printer.

        Its kind is kept as `host_KIND`, so that a host cannot make others believe that the farm
        decided something.
        """
        if printer_id not in self.farm.printers or event.kind in FLEETING_EVENTS:
            return
        if any((owner, known.id) == (printer_id, event.id) for owner, known in self.events):
            return

        def record(draft: Draft, now: Now) -> None:
            attempt = draft.attempts.get(event.attempt)
            mine = attempt if attempt is not None and attempt.printer == printer_id else None
            kind, text = f"host_{event.kind}"[:EVENT_KIND_MAX], event.text[:EVENT_TEXT_MAX]
            draft.tell(now, kind, mine, who=printer_id, printer=printer_id, text=text)

        kept = self._submit(record)
        if kept is None:
            log.warning("inbox was full: event %s of %s dropped", event.kind, printer_id)
            return
        self.events = [*self.events[-199:], (printer_id, event)]
        kept.add_done_callback(_log_unkept)

    def hear_flood(self, printer_id: str, shown_s: float) -> None:
        """A host says more than is taken: shown on its printer for so long, in memory only."""

        def note(draft: Draft, now: Now) -> None:
            contact = draft.contacts.get(printer_id)
            if contact is not None:
                until_s = now.boot_s + shown_s
                draft.put_contact(printer_id, replace(contact, flood_until_s=until_s))

        if self._submit(note) is None:
            log.warning("inbox was full: the flood of %s is not shown", printer_id)

    def hear_beacon(self, beacon: Beacon) -> None:
        """Our own beacon proves our connection; another's may mean standing down."""
        now_s = self._clock.now().boot_s
        was_connected_s = self._presence.connected_s
        self._know(presence.hear(self._presence, beacon, now_s))
        if self._presence.connected_s not in (None, was_connected_s):
            log.info("own beacon heard: connected")
            self._wake.set()

    def hear_disconnected(self) -> None:
        """The MQTT connection is gone: silence proves nothing from here on."""
        self._know(presence.disconnect(self._presence))
        self._wake.set()

    def hear_connected(self) -> None:
        """The MQTT connection stands (again): say everything once more."""
        self._beat_s = 0.0
        self._wake.set()

    async def ask(self, act: Callable[[Draft, Now], T]) -> T:
        """Apply an act in the next round; returns its result once it is committed.

        Raises what the act raises (RequestError, NotFound, Conflict), StoreError when it could
        not be stored, EngineBusy when too much is waiting.
        """
        answer = self._submit(act)
        if answer is None:
            raise EngineBusy("the coordinator has too much to do; try again in a moment")
        result: T = await answer
        return result

    async def command(
        self, printer_id: str, kind: CommandKind, who: Who, token: str = ""
    ) -> Command:
        """Send what cannot wait. Names session and report, so that it expires on the host alone."""
        printer = self.farm.printers.get(printer_id)
        if printer is None:
            raise NotFound(f"printer {printer_id!r}: there is none of this id")
        contact = self.farm.contacts.get(printer_id)
        now_s = self._clock.now().boot_s
        lease_s = self.farm.settings.lease_s
        if contact is None or now_s - contact.heard_s > lease_s:
            raise Conflict(f"printer {printer_id} is offline: the command would not arrive in time")
        live = self.farm.live_on.get(printer_id, "")
        command = Command(
            id=next(self._ids),
            kind=kind,
            session=contact.session,
            sequence=contact.sequence,
            attempt=live,
            token=token,
        )

        def record(draft: Draft, now: Now) -> None:
            draft.tell(
                now, f"command_{kind.value}", None,
                who=who.name, origin=who.origin, printer=printer_id,
            )  # fmt: skip

        await self._bus.publish_command(printer_id, command)
        await self.ask(record)
        return command

    # ---- the loop ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Take a term, load the farm; all timers of this reign begin now."""
        term = await self._store.take_term()
        loaded = await self._store.load()
        self._know(presence.take(self._presence, term))
        self.farm.load(loaded.jobs, loaded.copies, loaded.attempts, loaded.printers)
        log.info("term %d, %d printers, %d jobs", term, len(loaded.printers), len(loaded.jobs))

    async def run(self) -> None:
        """Rounds, until cancelled or until another coordinator reigns."""
        while True:
            await self._wait()
            self._wake.clear()
            try:
                await self.turn()
            except TermLost:
                raise
            except StoreError as error:
                log.error("round not stored: %s", error)
                await asyncio.sleep(TICK_S)  # the disk may be full: no reason to spin
            await asyncio.sleep(ROUND_SPACING_S)

    async def turn(self) -> None:
        """Once around: who reigns, then one round. Raises as `run` does, and StoreError."""
        now = self._clock.now()
        if presence.is_deaf(self._presence, now.boot_s):
            log.warning("own beacon not heard for a lease: nothing is concluded from silence")
            self.hear_disconnected()
        try:
            await self._stand_or_rise(now)
            await self._round(now)
        except StoreError:
            # What was reported in this round is gone: our silence, not that of those who spoke.
            self.hear_disconnected()
            self._beat_s = 0.0
            raise

    async def _wait(self) -> None:
        now_s = self._clock.now().boot_s
        due_s = min(self._beat_s, now_s + TICK_S)
        if self._wake_s is not None:
            due_s = min(due_s, self._wake_s)
        if self._inbox.empty() and due_s > now_s:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with
            # the wake-up, and a coordinator that was told to stop would run on.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due_s - now_s):
                    await self._wake.wait()

    async def _round(self, now: Now) -> None:
        draft = Draft(self.farm)
        answers = self._drain(draft, now)
        wake_s = reconcile(draft, now, self._ids)
        self._wake_s = wake_s if wake_s != float("inf") else None
        plan = draft.plan(self._wake_s)
        try:
            if plan.durable:
                await self._store.commit(self.farm.reign.term, plan)
            else:
                await self._store.confirm(self.farm.reign.term)
        except StoreError as error:
            for answer, _ in answers:
                if not answer.done():
                    answer.set_exception(error)
            raise
        self._note_outranked(plan, now)
        self.farm.apply(draft)
        self._log_notes(plan.notes, now.boot_s)
        for answer, result in answers:
            if not answer.done():
                answer.set_result(result)
        await self._publish(plan, now)
        for listener in self.listeners:
            listener(plan)
        self.farm.forget_finished(plan)

    def _log_notes(self, notes: tuple[str, ...], now_s: float) -> None:
        """Each once as long as it keeps coming, and a few a minute: hosts may invent new ones."""
        if now_s - self._notes_since_s >= NOTES_EACH_S:
            if self._notes_logged > NOTES_MAX:
                log.warning("%d more notes were not logged", self._notes_logged - NOTES_MAX)
            self._notes_since_s, self._notes_logged = now_s, 0
        for note in notes:
            if note in self._noted:
                continue
            self._noted = [*self._noted[1 - NOTES_KEPT :], note]
            self._notes_logged += 1
            if self._notes_logged <= NOTES_MAX:
                log.warning("%s", note[:NOTE_TEXT_MAX])

    def _drain(self, draft: Draft, now: Now) -> list[tuple[asyncio.Future[Any], Any]]:
        """Fold what waits, in order; each item on a draft of its own, all or nothing."""
        answers: list[tuple[asyncio.Future[Any], Any]] = []
        if self._dropped:
            log.warning("inbox was full: %d reports dropped, hosts repeat them", self._dropped)
            self._dropped = 0
        for _ in range(min(self._inbox.qsize(), ROUND_MAX)):
            item = self._inbox.get_nowait()
            child = Draft(draft)
            if isinstance(item, _Heard):
                try:
                    reports.fold(child, item.printer, item.report, now)
                except Exception:
                    # One host's report must not stop the farm; it is neither kept nor echoed.
                    log.exception("report of %s changed nothing", item.printer)
                    continue
                draft.absorb(child)
                continue
            try:
                result = item.act(child, now)
            except Exception as error:  # whatever it is, it belongs to whoever asked
                if not item.answer.done():
                    item.answer.set_exception(error)
                continue
            draft.absorb(child)
            answers.append((item.answer, result))
        return answers

    def _submit(self, act: Callable[[Draft, Now], T]) -> asyncio.Future[T] | None:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            self._inbox.put_nowait(_Request(act, answer))
        except asyncio.QueueFull:
            return None
        self._wake.set()
        return answer

    # ---- presence and term (rules 2, 9, 13) ---------------------------------------------------

    def _know(self, known: Presence) -> None:
        self._presence = known
        self.farm.reign = known.reign()

    def _note_outranked(self, plan: Plan, now: Now) -> None:
        if not plan.outranked:
            return
        if not self._presence.above:
            hosts = ", ".join(sorted(plan.outranked_by))
            log.warning("more than was issued, in term %d, observed by %s", plan.outranked, hosts)
        self._know(presence.doubt(self._presence, plan.outranked, plan.outranked_by, now.boot_s))

    async def _stand_or_rise(self, now: Now) -> None:
        """Rule 13: stand down for another coordinator, else take a term above what was observed.

        What was assigned is treated as armed since the round that learnt of it, and committed so.
        """
        why = presence.why_stand_down(self._presence, now.boot_s)
        if why:
            raise StoodDown(why)
        above = presence.rises_above(self._presence, now.boot_s)
        if not above:
            return
        term = await self._store.take_term(above)
        log.warning("took term %d above %d: another database has been at work", term, above)
        self.farm.contacts.clear()
        self._know(presence.take(self._presence, term))
        self._beat_s = 0.0

    # ---- what goes out ------------------------------------------------------------------------

    async def _publish(self, plan: Plan, now: Now) -> None:
        """Say what was committed: to printers whose desired changed, and to all on the beat.

        While it is open who reigns, nothing is said to printers: a number that is issued now would
        outrun the other coordinator, which may be the one whose database is newer.
        """
        term, lease_s = self.farm.reign.term, self.farm.settings.lease_s
        beat = now.boot_s >= self._beat_s
        if beat:
            self._beat_s = now.boot_s + lease_s / HEARTBEATS_PER_LEASE
            self._presence = presence.say(self._presence)
            await self._bus.publish_beacon(self._presence.beacon())
        spoken_to = () if self._presence.in_doubt(now.boot_s) else self.farm.printers.values()
        for printer in spoken_to:
            changed = plan.printers.get(printer.id)
            if beat or changed is not None:
                contact = self.farm.contacts.get(printer.id)
                await self._bus.publish_desired(
                    printer.id, desired_of(printer, contact, term, lease_s)
                )
        for line in plan.history:
            event = job_event(line, next(self._ids))
            if event is not None:
                await self._bus.publish_job_event(event)
