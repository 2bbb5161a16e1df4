"""The adapter: Moonraker's events and the coordinator's messages in, effects out.

Owns the `Host` value and the one task that changes it. Everything that happens becomes a decision
in a bounded queue; the worker takes one after the other, applies the pure function, and carries
out the effects in order, awaiting each Save before what follows it. What takes long (downloads,
G-code, look-ups) runs in a task of its own and comes back as another decision. What it must not
know: the rules, which are all in decisions.py and what that imports.

Nothing here is global, so that many agents can live in one process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any, Callable

from . import decisions, wire
from .attempt import (
    UNSTARTED,
    Attempt,
    Effects,
    Forget,
    Save,
    Say,
)
from .bed import OwnBed
from .clock import boottime_s
from .files import HostFiles
from .host import Host
from .identity import computer_id, machine_id
from .klippy import Klippy
from .options import Options
from .performer import Performer
from .printer import Printer
from .reporter import Reporter
from .rows import MCUS, Rows
from .status import Endpoints
from .tasks import Tasks, log_failure
from .view import make_view, start_seen
from .wire import CommandKind, Filament, Phase

QUEUE_MAX = 512
"""Decisions that wait. Levels are told again, so what does not fit is no loss."""

TICK_MAX_S = 1.0
COMMANDS_KEPT = 64

Decision = Callable[[Host, float], tuple[Host, Effects]]


class Agent:
    """One host's component, as Moonraker holds it."""

    def __init__(
        self,
        server: Any,
        options: Options,
        data_path: Path,
        clock: Callable[[], float] = boottime_s,
    ) -> None:
        self.server = server
        self.options = options
        self.boottime_s = clock
        self.session = os.urandom(8).hex()
        self.host, _ = decisions.new_session(self.session, (), clock())
        self.tasks = Tasks()
        self.rows = Rows(server.lookup_component("database"))
        self.bed = OwnBed(self.rows)
        self.klippy = Klippy(server, options.model, self._note_change)
        self.printer = Printer(server, clock)
        self.files = HostFiles(
            server,
            data_path,
            options.cache_quota_mb,
            options.disk_reserve_mb,
            options.mqtt_tls_ca,
            options.coordinator_url,
        )
        self.performer = Performer(self)
        self.reporter = Reporter(self)
        self.problem = ""
        """Why the agent does not work, if it does not."""
        self._data_path = str(data_path)
        self._computer = computer_id()
        self._mcus = ""
        self._queue: asyncio.Queue[tuple[str, Decision]] = asyncio.Queue(QUEUE_MAX)
        self._owners: list[asyncio.Task[None]] = []
        self._view_due = False
        self._swept = False
        self._unsaved: dict[str, Attempt] = {}
        self._commands: list[str] = []
        Endpoints(self).register()
        server.register_event_handler("job_queue:job_queue_changed", self._handle_queue)

    # ---- Moonraker's life --------------------------------------------------------------------

    async def component_init(self) -> None:
        """Read what was left, then begin; Moonraker awaits this, so the network does not wait."""
        try:
            rows = await self.rows.attempts()
            self._mcus = await self.rows.note(MCUS)
            await self.bed.load()
        except (sqlite3.Error, OSError, ValueError) as error:
            # Without its rows a host could print something twice.
            self.problem = f"Moonraker's database cannot be read: {error}"
            self.server.add_warning(f"Moonfleet is off: {self.problem}", "moonfleet_off")
            return
        self.host, effects = decisions.new_session(self.session, rows, self.boottime_s())
        self._own(self._work(effects))
        self._own(self._tick())
        self.reporter.start()

    async def close(self) -> None:
        """Say farewell and end every task; a print goes on."""
        self.klippy.close()
        for task in self._owners:
            task.cancel()
        await asyncio.gather(*self._owners, return_exceptions=True)
        await self.reporter.close()
        await self.tasks.close()
        self.files.close()

    def _own(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        task.add_done_callback(log_failure)
        self._owners.append(task)

    # ---- what happens ------------------------------------------------------------------------

    @property
    def machine(self) -> str:
        """Names this machine, or empty while its MCUs were never seen."""
        return machine_id(self._computer, self._data_path, self._mcus)

    def decide(self, name: str, decision: Decision) -> bool:
        """Queue a decision about something that will be told again; False: the queue is full."""
        try:
            self._queue.put_nowait((name, decision))
        except asyncio.QueueFull:
            logging.warning("moonfleet: %d decisions wait, %s was dropped", QUEUE_MAX, name)
            return False
        return True

    async def answer(self, name: str, decision: Decision) -> None:
        """Queue a decision about something that comes once."""
        await self._queue.put((name, decision))

    def note_desired(self, desired: wire.Desired, retained: bool) -> None:
        """The coordinator spoke."""
        self.decide("desired", lambda h, now_s: decisions.on_desired(h, desired, now_s, retained))

    def note_command(self, command: wire.Command) -> None:
        """A command came: carried out at once, past the queue, or dropped."""
        refused = decisions.refuse_command(self.host, command, self.boottime_s())
        if command.id in self._commands:
            refused = "it was carried out before"
        if refused:
            logging.info("moonfleet: command %s dropped: %s", command.kind.value, refused)
            return
        self._commands = [*self._commands, command.id][-COMMANDS_KEPT:]
        logging.info("moonfleet: command %s", command.kind.value)
        self.tasks.start(self._carry_command(command))

    def _note_change(self) -> None:
        """Klipper changed: one view is made of however many changes came meanwhile."""
        if not self._view_due:
            self._view_due = self.decide("view", self._on_view)

    def _handle_queue(self, *_: Any) -> None:
        self._note_change()

    def _on_view(self, host: Host, now_s: float) -> tuple[Host, Effects]:
        self._view_due = False
        klippy, options = self.klippy, self.options
        view = make_view(
            klippy.status,
            klippy.link,
            klippy.message,
            klippy.boot,
            klippy.section,
            klippy.queue_state,
            self.bed.bed,
            Filament(options.material, options.color),
        )
        if view == host.view:
            return host, ()
        if not view.section and start_seen(host.view, view):
            self.tasks.start(self._drop_bed())
        self.reporter.note_view(host.view, view, host)
        if klippy.boot != host.view.boot:
            self.tasks.start(self._note_life())
        return decisions.on_view(host, view, now_s)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(min(TICK_MAX_S, self.host.lease_s / 6))
            if self._queue.empty():
                self.decide("tick", decisions.on_tick)
            await self.reporter.tick()

    # ---- deciding ----------------------------------------------------------------------------

    async def _work(self, effects: Effects) -> None:
        await self._carry_out(effects)
        while True:
            name, decision = await self._queue.get()
            try:
                self.host, effects = decision(self.host, self.boottime_s())
            except wire.WireError as error:
                logging.info("moonfleet: %s changed nothing: %s", name, error)
                continue
            except Exception:
                # A fault of ours stops farming for this event, never Moonraker, never a print.
                logging.exception("moonfleet: %s", name)
                continue
            await self._carry_out(effects)

    async def _carry_out(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Save):
                if not await self._save(effect.attempt):
                    return
            elif isinstance(effect, Say):
                self.reporter.say()
            elif isinstance(effect, Forget):
                await self._forget(effect.attempts)
            else:
                self.performer.begin(effect)

    async def _save(self, attempt: Attempt) -> bool:
        """False where the effects behind must not happen."""
        try:
            await self.rows.save(attempt)
        except (sqlite3.Error, OSError) as error:
            logging.error("moonfleet: attempt %s was not written down: %s", attempt.id, error)
            if attempt.phase in UNSTARTED or attempt.phase is Phase.STARTING:
                self.host, effects = decisions.on_save_failed(self.host, attempt.id, str(error))
                await self._carry_out(effects)
                return False
            # The print has begun or is over, whatever the disk says: go on, and write it later.
            self._unsaved[attempt.id] = attempt
            return True
        self._unsaved.pop(attempt.id, None)
        return True

    async def _forget(self, attempts: tuple[str, ...]) -> None:
        for attempt in attempts:
            self._unsaved.pop(attempt, None)
        try:
            await self.rows.forget(attempts)
        except (sqlite3.Error, OSError) as error:
            logging.warning("moonfleet: rows of ended attempts stay: %s", error)

    async def _drop_bed(self) -> None:
        try:
            await self.bed.drop()
        except (sqlite3.Error, OSError) as error:
            logging.error("moonfleet: the latch was dropped in memory only: %s", error)
        self._note_change()

    async def _note_life(self) -> None:
        """Once per life of Klipper: remember its MCUs; in the first, drop files left behind."""
        mcus = "\n".join(self.klippy.mcus)
        try:
            if mcus and mcus != self._mcus:
                await self.rows.set_note(MCUS, mcus)
                self._mcus = mcus
                self.reporter.say()
            for attempt in tuple(self._unsaved.values()):
                await self.rows.save(attempt)
                self._unsaved.pop(attempt.id, None)
        except (sqlite3.Error, OSError) as error:
            logging.warning("moonfleet: the database does not take everything: %s", error)
        if not self._swept:
            self._swept = True
            live = {a.id for a in self.host.attempts if a.phase is not Phase.ENDED}
            shown = self.host.view.path.split("/")
            keep = live | ({shown[1]} if len(shown) > 1 and shown[0] == wire.FOLDER else set())
            await self.files.sweep(frozenset(keep))

    async def _carry_command(self, command: wire.Command) -> None:
        async def act() -> None:
            if command.kind is CommandKind.EMERGENCY_STOP:
                await self.printer.emergency_stop()
            elif command.kind is CommandKind.FIRMWARE_RESTART:
                await self.printer.firmware_restart()
            else:
                await self.clear_bed(command.token)

        await self.performer.ask_klipper(command.kind.value, command.attempt, act)

    async def clear_bed(self, token: str) -> None:
        """Call the bed named by `token` clear; raises Moonraker's error when it is refused."""
        view = self.host.view
        if view.section:
            await self.printer.clear(token)
            return
        refused = self.bed.refuse_clear(token, view)
        if refused:
            raise self.server.error(refused, 400)
        try:
            await self.bed.clear()
        except (sqlite3.Error, OSError) as error:
            raise self.server.error(f"the latch cannot be written: {error}", 500) from error
        self._note_change()
