"""A real HTTP server for downloads, on a thread and loop of its own, that can misbehave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import tornado.http1connection
import tornado.httpserver
import tornado.iostream
import tornado.netutil
import tornado.web


class Behaviour:
    """What the server does wrong, and what it was asked. Change it between requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cut_after_bytes: list[int] = []
        """One entry per answer: close the connection after so many bytes."""
        self.statuses: list[int] = []
        """One entry per answer: answer with this status instead."""
        self.ignore_ranges = False
        self.ranges: list[str] = []
        """The Range header of each request, or an empty text."""
        self.on_ask: Callable[[], None] = lambda: None
        """Called at each request, after its range was noted."""


class _Handler(tornado.web.RequestHandler):
    async def get(self, name: str) -> None:
        behaviour: Behaviour = self.application.settings["behaviour"]
        wanted = self.request.headers.get("Range", "")
        behaviour.ranges.append(wanted)
        behaviour.on_ask()
        if behaviour.statuses:
            raise tornado.web.HTTPError(behaviour.statuses.pop(0))
        path = behaviour.folder / name
        size = path.stat().st_size
        first = 0
        if wanted and not behaviour.ignore_ranges:
            first = int(wanted.removeprefix("bytes=").partition("-")[0])
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.set_header("Content-Length", str(size - first))
        cut = behaviour.cut_after_bytes.pop(0) if behaviour.cut_after_bytes else None
        await self._send(path, first, cut)

    async def _send(self, path: Path, first: int, cut: int | None) -> None:
        sent = 0
        with path.open("rb") as file:
            file.seek(first)
            while chunk := file.read(1024 * 1024):
                if cut is not None and sent + len(chunk) > cut:
                    self.write(chunk[: cut - sent])
                    await self.flush()
                    connection = self.request.connection
                    assert isinstance(connection, tornado.http1connection.HTTP1Connection)
                    connection.detach().close()
                    return
                sent += len(chunk)
                try:
                    self.write(chunk)
                    await self.flush()
                except tornado.iostream.StreamClosedError:
                    return


class FileServer:
    """`with FileServer(folder) as server:` serves what lies in `folder` at `server.url(name)`."""

    def __init__(self, folder: Path) -> None:
        self.behaviour = Behaviour(folder)
        sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
        self.port: int = sockets[0].getsockname()[1]
        self._sockets = sockets
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}?signature=secret"

    def __enter__(self) -> FileServer:
        self._thread.start()
        assert self._up.wait(30.0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._ended is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        app = tornado.web.Application([(r"/(.+)", _Handler)], behaviour=self.behaviour)
        server = tornado.httpserver.HTTPServer(app)
        server.add_sockets(self._sockets)
        self._up.set()
        await self._ended.wait()
        server.stop()
        await server.close_all_connections()
