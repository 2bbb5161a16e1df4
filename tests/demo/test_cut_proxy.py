"""The proxy that cuts a host off, between real sockets."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from demo.cut import CutProxy
from demo.waiting import until

DEADLINE_S = 20.0


class Echo:
    """A server that sends back what it gets."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while data := await reader.read(1000):
                writer.write(data)
        except ConnectionError:
            pass  # the proxy cut it: what these tests are about
        finally:
            self.connections -= 1
            writer.close()


class Peer:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Peer":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def echoed(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), DEADLINE_S)

    async def ended(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(), DEADLINE_S) == b""
        except ConnectionResetError:
            return True
        finally:
            self.close()

    def close(self) -> None:
        self.writer.transport.abort()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    server = Echo()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[CutProxy]:
    async with CutProxy("127.0.0.1", echo.port) as proxy:
        yield proxy


async def test_passes_both_ways(proxy: CutProxy) -> None:
    peer = await Peer.connect(proxy.port)
    assert await peer.echoed(b"x" * 200_000) == b"x" * 200_000
    assert proxy.forwarded_bytes == 400_000
    peer.close()


async def test_the_end_of_one_side_reaches_the_other(proxy: CutProxy, echo: Echo) -> None:
    peer = await Peer.connect(proxy.port)
    assert await peer.echoed(b"hello") == b"hello"
    peer.writer.write_eof()
    assert await peer.ended()
    await until("the server's connection ends", lambda: echo.connections == 0, DEADLINE_S)
    await until("the proxy's connection ends", lambda: proxy.connections == 0, DEADLINE_S)
    peer.close()


async def test_refusing_ends_old_and_new_connections(proxy: CutProxy) -> None:
    old = await Peer.connect(proxy.port)
    await old.echoed(b"hello")
    await proxy.cut("refuse")
    assert proxy.is_cut
    assert await old.ended()
    new = await Peer.connect(proxy.port)
    assert await new.ended()
    await proxy.heal()
    healed = await Peer.connect(proxy.port)
    assert await healed.echoed(b"again") == b"again"
    healed.close()


async def test_a_black_hole_keeps_connections_open_and_lets_nothing_through(
    proxy: CutProxy, echo: Echo
) -> None:
    old = await Peer.connect(proxy.port)
    await old.echoed(b"hello")
    before = proxy.forwarded_bytes
    await proxy.cut("blackhole")
    old.writer.write(b"lost")
    new = await Peer.connect(proxy.port)  # the handshake is the kernel's and goes through
    new.writer.write(b"lost, too")
    await until("the proxy has taken the new connection", lambda: proxy.connections == 2)
    assert proxy.forwarded_bytes == before
    assert echo.connections == 1
    assert not old.reader.at_eof()
    await proxy.heal()
    assert await old.ended()
    assert await new.ended()
    healed = await Peer.connect(proxy.port)
    assert await healed.echoed(b"again") == b"again"
    healed.close()


async def test_one_direction_is_lost_and_the_other_passes(proxy: CutProxy, echo: Echo) -> None:
    """ "down": what is sent arrives, and no answer comes back. "up": nothing arrives."""
    old = await Peer.connect(proxy.port)
    await old.echoed(b"hello")
    await proxy.cut("down")
    before = proxy.forwarded_bytes
    old.writer.write(b"heard")
    await until("the words reach the server", lambda: proxy.forwarded_bytes == before + 5)
    new = await Peer.connect(proxy.port)
    new.writer.write(b"nobody new gets through")
    await until("the proxy has taken the new connection", lambda: proxy.connections == 2)
    assert echo.connections == 1
    await proxy.heal()
    assert await old.ended()
    assert await new.ended()
    healed = await Peer.connect(proxy.port)
    await healed.echoed(b"again")
    await proxy.cut("up")
    before = proxy.forwarded_bytes
    healed.writer.write(b"lost")
    await proxy.heal()
    assert await healed.ended()
    assert proxy.forwarded_bytes == before


async def test_nobody_upstream_ends_the_connection() -> None:
    silent = Echo()
    await silent.start()
    await silent.stop()
    async with CutProxy("127.0.0.1", silent.port) as proxy:
        peer = await Peer.connect(proxy.port)
        assert await peer.ended()


async def test_an_unknown_mode_is_refused(proxy: CutProxy) -> None:
    with pytest.raises(ValueError, match="sever"):
        await proxy.cut("sever")  # type: ignore[arg-type]


async def test_stop_ends_everything(echo: Echo) -> None:
    proxy = CutProxy("127.0.0.1", echo.port)
    await proxy.start()
    peer = await Peer.connect(proxy.port)
    await peer.echoed(b"hello")
    await proxy.stop()
    assert await peer.ended()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await Peer.connect(proxy.port)


async def test_a_side_that_is_gone_when_the_other_ends_counts_as_reset(
    echo: Echo, proxy: CutProxy
) -> None:
    """Its socket then refuses the half-close with an error that is no ConnectionError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
    beneath = socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))
    beneath.shutdown(socket.SHUT_WR)
    beneath.close()
    assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
    with pytest.raises(ConnectionResetError):
        await proxy._forward(reader, writer, "up")
    writer.transport.abort()
