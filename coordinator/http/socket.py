"""The WebSocket of the live feed.

Owns one connection each: who may open it, writing at the client's pace, dropping the one that
does not read, ending it with the session or the key that opened it. What is sent is live.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from coordinator.http.base import LOOPBACK_NAMES, Parts, host_name_of
from coordinator.http.errors import ApiError
from coordinator.http.headers import API_POLICY, secure
from coordinator.http.identity import CHALLENGE, Caller, caller_of, check_role, has_own_origin
from coordinator.http.live import Client
from coordinator.http.operations import operation, operation_of, role_needed
from coordinator.ports import StoreError

log = logging.getLogger("moonfleet.http")

PING_S = 20.0
WRITE_S = 10.0
"""A message that is not taken within this time is the last one."""

CLOSE_TOO_SLOW = 1008
CLOSE_TRY_LATER = 1013
CLOSE_LOGGED_OUT = 4401
LOOK_S = 30.0
"""A session that ends by time alone, or in the database, is noticed within this time."""


class LiveHandler(WebSocketHandler):
    """/live. Nothing that a client sends is read for meaning."""

    def initialize(self, parts: Parts) -> None:
        self.services = parts.services
        self.live = parts.live
        self._client: Client | None = None
        self._caller: Caller | None = None
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def set_default_headers(self) -> None:
        secure(self, API_POLICY)

    @operation(status=101)
    async def get(self, *args: str, **kwargs: str) -> None:
        """Open the live feed: a snapshot first, then changes (see "Live feed")."""
        try:
            self._caller = await self._checked()
        except ApiError as error:
            self.set_status(error.status)
            if error.status == 401:
                self.set_header("WWW-Authenticate", CHALLENGE)
            self.finish(str(error))
            return
        await super().get(*args, **kwargs)

    async def _checked(self) -> Caller:
        """Who may listen; raises ApiError. What a page may read, its origin tells alone: no CORS
        holds for WebSockets, and the cookie comes along."""
        name = host_name_of(self.request.host)
        if name not in LOOPBACK_NAMES and name not in self.services.allowed_hosts:
            raise ApiError(403, "this server does not answer to this Host")
        if "Origin" in self.request.headers and not has_own_origin(self.request):
            raise ApiError(403, "Origin: only this server's own pages may listen")
        logins = self.services.people.logins
        caller = await caller_of(self.request, logins)
        await check_role(caller, role_needed("GET", operation_of(self.get)), logins)
        if caller is None or (caller.token and not has_own_origin(self.request)):
            raise ApiError(403, "Origin: a session listens for this server's own pages only")
        return caller

    def check_origin(self, origin: str) -> bool:
        """Whatever comes here was checked."""
        return True

    def open(self, *args: str, **kwargs: str) -> None:
        assert self._caller is not None
        owner = self._caller.identity.user
        if self.live.is_full_for(owner):
            self.close(CLOSE_TRY_LATER, "too many listeners")
            return
        self.set_nodelay(True)
        self._client = self.live.join(owner)
        self.services.people.listeners.add(self._ended.set)
        self._tasks = [
            asyncio.create_task(self._write(self._client), name="live-client"),
            asyncio.create_task(self._watch(), name="live-caller"),
        ]

    def on_message(self, message: str | bytes) -> None:
        """Ignored: the feed goes one way."""

    def on_close(self) -> None:
        if self._client is not None:
            self.live.leave(self._client)
        self.services.people.listeners.discard(self._ended.set)
        for task in self._tasks:
            task.cancel()

    async def _watch(self) -> None:
        """Until the session or key that opened it is no longer good."""
        assert self._caller is not None
        identity = self._caller.identity
        while True:
            self._ended.clear()
            try:
                still = await self.services.people.logins.still(identity)
            except StoreError as error:
                log.warning("whether a live client may still listen: %s", error)
            else:
                if still is None:
                    self.close(CLOSE_LOGGED_OUT, "logged out")
                    return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._ended.wait()

    async def _write(self, client: Client) -> None:
        try:
            while not client.dropped.is_set():
                message = await client.queue.get()
                async with asyncio.timeout(WRITE_S):
                    await self.write_message(message.decode())
        except TimeoutError:
            client.dropped.set()
        except WebSocketClosedError:
            return
        if client.dropped.is_set():
            log.info("live client %s does not read: dropped", self.request.remote_ip)
            self.live.leave(client)
            self.close(CLOSE_TOO_SLOW, "too slow")
