"""A TCP proxy that can be cut: takes a host off the network while it goes on printing.

Owns one listening port on loopback and the connections through it. It forwards bytes and knows
no protocol. It needs no root: what is to be cut off is simply told the proxy's address.
"""

from __future__ import annotations

import asyncio
import errno
from typing import Literal, get_args

CHUNK_BYTES = 65_536
CONNECT_DEADLINE_S = 10.0
CutMode = Literal["refuse", "blackhole", "up", "down"]
_MODES: tuple[CutMode, ...] = get_args(CutMode)


class CutProxy:
    """`async with CutProxy("127.0.0.1", 1883) as proxy:` listens on `proxy.port`.

    cut("refuse") resets connections and closes new ones at once, as a host that is there with
    the program gone. cut("blackhole") lets nothing through and closes nothing, as a pulled
    cable: peers learn of it only by their own time-outs; connections of before never wake up.
    cut("up") and cut("down") lose one direction alone: what those who connect here send, or what
    they would hear. Nobody new gets through then either, as a handshake needs both.
    """

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self.upstream_host, self.upstream_port = upstream_host, upstream_port
        self.delay_s = 0.0
        """Added to every chunk, in each direction."""
        self.bytes_per_s: float | None = None
        """Bandwidth of each connection and direction; None is unlimited."""
        self.port = 0
        """The port that it listens on, after start()."""
        self.forwarded_bytes = 0
        """Sum of both directions."""
        self._mode: CutMode | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._severed: set[asyncio.Task[None]] = set()

    @property
    def is_cut(self) -> bool:
        """Whether it is cut at the moment, in one direction at least."""
        return self._mode is not None

    @property
    def connections(self) -> int:
        """Connections that are open on the listening side, also those without a future."""
        return len(self._connections)

    async def __aenter__(self) -> CutProxy:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1, on a free port unless one is given."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._server:
            self._server.close()
        await self._drop_all()
        if self._server:
            await self._server.wait_closed()
            self._server = None

    async def cut(self, mode: CutMode = "blackhole") -> None:
        """Let nothing pass from now on; see the class for the modes."""
        if mode not in _MODES:
            raise ValueError(f"mode {mode!r}: allowed are {', '.join(_MODES)}")
        self._mode = mode
        if mode == "refuse":
            await self._drop_all()
        else:
            self._severed.update(self._connections)

    async def heal(self) -> None:
        """Let new connections pass; those of before the cut are reset, as their state is gone."""
        self._mode = None
        await self._drop(self._severed & set(self._connections))
        self._severed.clear()

    async def _drop_all(self) -> None:
        await self._drop(set(self._connections))

    async def _drop(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            self._connections[task].transport.abort()
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            if self._mode == "refuse":
                writer.transport.abort()
            elif self._mode is not None:
                self._severed.add(task)
                await asyncio.Event().wait()  # until heal or stop drops it
            else:
                await self._forward_both(reader, writer)
        except asyncio.CancelledError:
            pass  # dropped: the end that _drop asked for, not a failure to pass on
        finally:
            writer.transport.abort()
            self._connections.pop(task, None)

    async def _forward_both(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.wait_for(
                asyncio.open_connection(self.upstream_host, self.upstream_port),
                CONNECT_DEADLINE_S,
            )
        except OSError:
            return  # nobody listens upstream: the peer sees its connection end
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, upstream_writer, "up"))
                group.create_task(self._forward(upstream_reader, writer, "down"))
        except* ConnectionError:
            pass  # one side reset the connection: so the other is reset, too
        finally:
            upstream_writer.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: CutMode
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.bytes_per_s:
                await asyncio.sleep(len(data) / self.bytes_per_s)
            if self._mode in ("refuse", "blackhole", direction):
                await asyncio.Event().wait()  # what was under way when it was cut is lost
            writer.write(data)
            await writer.drain()
            self.forwarded_bytes += len(data)
        if not writer.can_write_eof():
            return
        try:
            writer.write_eof()
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            raise ConnectionResetError(errno.ECONNRESET, "the other side is gone") from error
