"""Carrying out what takes long: downloads, G-code, look-ups.

Owns the effects that run as tasks of their own. Each has a deadline of its own, and one that has
passed means unknown, never failed. What they find comes back as a decision. What it must not
know: the rules, the order of effects, MQTT.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Callable, Union

from . import decisions
from .attempt import (
    RUNNING,
    Cancel,
    CleanUp,
    Feed,
    Fetch,
    LookUp,
    Pause,
    Relink,
    Resume,
    Start,
)
from .files import Stopped, TransferError
from .wire import Order, Phase

if TYPE_CHECKING:
    from .agent import Agent

ASK_MAX_S = 3600.0
"""A start may wait this long behind somebody's macro; after that its answer is not waited for."""

STEER_MAX_S = 900.0
LOOK_UP_TRIES = 5
LOOK_UP_AGAIN_S = 2.0


Request = Callable[[], Awaitable[None]]
Slow = Union[Fetch, Relink, Start, Pause, Resume, Cancel, Feed, LookUp, CleanUp]


class Performer:
    """Carries out effects of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def begin(self, effect: Slow) -> None:
        """Begin it in a task of its own."""
        if isinstance(effect, Fetch):
            self._agent.tasks.start(self._fetch(effect.order))
            return
        if isinstance(effect, Relink):
            self._agent.files.relink(effect.attempt, effect.url)
            return
        printer, attempt = self._agent.printer, effect.attempt
        if isinstance(effect, Start):
            self._agent.tasks.start(self._start(effect))
        elif isinstance(effect, Pause):
            self._steer("pause", attempt, printer.pause)
        elif isinstance(effect, Resume):
            self._steer("resume", attempt, partial(printer.resume, attempt, effect.lift))
        elif isinstance(effect, Cancel):
            self._steer("cancel", attempt, partial(printer.cancel, effect.path))
        elif isinstance(effect, Feed):
            self._steer("fence", attempt, partial(printer.feed, attempt, effect.until_s))
        elif isinstance(effect, LookUp):
            self._agent.tasks.start(self._look_up(effect))
        else:
            self._agent.tasks.start(self._clean_up(attempt))

    async def _fetch(self, order: Order) -> None:
        cause = message = ""
        keep = frozenset(
            a.order.file.sha256 for a in self._agent.host.attempts if a.phase is not Phase.ENDED
        )
        try:
            await self._agent.files.fetch(order.attempt, order.file, keep)
        except Stopped:
            cause, message = "stopped", "no longer wanted"
        except TransferError as error:
            cause, message = error.cause, error.message
            logging.warning("moonfleet: file of attempt %s: %s", order.attempt, message)
        except Exception as error:
            logging.exception("moonfleet: file of attempt %s", order.attempt)
            cause, message = "fetch", repr(error)
        await self._agent.answer(
            "fetched",
            lambda h, now_s: decisions.on_fetched(h, order.attempt, cause, message, now_s),
        )

    async def _start(self, start: Start) -> None:
        section = self._agent.host.view.section
        try:
            if not section:
                if self._agent.boottime_s() >= start.deadline_s:
                    # Refused before the latch is dropped: the bed stays clear for the next one.
                    await self._asked(start.attempt, "deadline", "the permission to start ended")
                    return
                await self._agent.bed.drop()
            answer = await asyncio.wait_for(self._agent.printer.start(start, section), ASK_MAX_S)
        except asyncio.TimeoutError:
            return  # unknown, never failed
        except (sqlite3.Error, OSError) as error:
            await self._asked(start.attempt, "not_saved", f"the latch was not dropped: {error}")
            return
        if answer is not None:
            logging.info("moonfleet: attempt %s: %s", start.attempt, answer.refused or "started")
            await self._asked(start.attempt, answer.refused, answer.message)

    async def _asked(self, attempt: str, refused: str, message: str) -> None:
        await self._agent.answer(
            "asked", lambda h, now_s: decisions.on_asked(h, attempt, refused, message, now_s)
        )

    def _steer(self, name: str, attempt: str, request: Request) -> None:
        self._agent.tasks.start(self.ask_klipper(name, attempt, request))

    async def ask_klipper(self, name: str, attempt: str, request: Request) -> None:
        """What Klipper does about it shows in its status; its answer is only for the log."""
        try:
            await asyncio.wait_for(request(), STEER_MAX_S)
        except asyncio.TimeoutError:
            logging.warning("moonfleet: %s of attempt %s: no answer yet", name, attempt)
        except self._agent.server.error as error:
            logging.warning("moonfleet: %s of attempt %s: %s", name, attempt, error)

    async def _look_up(self, effect: LookUp) -> None:
        status = ""
        for _ in range(LOOK_UP_TRIES):
            try:
                status = await self._agent.printer.history(effect.path)
                break
            except (sqlite3.Error, self._agent.server.error) as error:
                logging.warning("moonfleet: history of %s: %s", effect.path, error)
                await asyncio.sleep(LOOK_UP_AGAIN_S)
        await self._agent.answer(
            "history", lambda h, now_s: decisions.on_history(h, effect.attempt, status, now_s)
        )

    async def _clean_up(self, attempt: str) -> None:
        found = self._agent.host.attempt(attempt)
        if found is None or found.phase not in RUNNING:
            await self._agent.files.remove(attempt)
