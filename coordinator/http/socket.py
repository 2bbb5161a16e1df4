"""The WebSocket of the live feed.

Owns one connection each: who may open it, writing at the client's pace, dropping the one that
does not read. What is sent is live.py's.
"""

from __future__ import annotations

import asyncio
import logging

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from coordinator.http.base import LOOPBACK_NAMES, Parts, host_name_of
from coordinator.http.live import Client
from coordinator.http.operations import operation

log = logging.getLogger("moonfleet.http")

PING_S = 20.0
WRITE_S = 10.0
"""A message that is not taken within this time is the last one."""

CLOSE_TOO_SLOW = 1008
CLOSE_TRY_LATER = 1013


class LiveHandler(WebSocketHandler):
    """/live. Nothing that a client sends is read for meaning."""

    def initialize(self, parts: Parts) -> None:
        self.services = parts.services
        self.live = parts.live
        self._client: Client | None = None
        self._writer: asyncio.Task[None] | None = None

    @operation(status=101)
    async def get(self, *args: str, **kwargs: str) -> None:
        """Open the live feed: a snapshot first, then changes (see "Live feed")."""
        name = host_name_of(self.request.host)
        if name not in LOOPBACK_NAMES and name not in self.services.allowed_hosts:
            self.set_status(403)
            self.finish("this server does not answer to this Host")
            return
        await super().get(*args, **kwargs)

    def open(self, *args: str, **kwargs: str) -> None:
        if self.live.full:
            self.close(CLOSE_TRY_LATER, "too many listeners")
            return
        self.set_nodelay(True)
        self._client = self.live.join()
        self._writer = asyncio.create_task(self._write(self._client), name="live-client")

    def on_message(self, message: str | bytes) -> None:
        """Ignored: the feed goes one way."""

    def on_close(self) -> None:
        if self._client is not None:
            self.live.leave(self._client)
        if self._writer is not None:
            self._writer.cancel()

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
