"""The HTTP doors: who takes all places, who never finishes a request, who has no login at all."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from coordinator.http import server as limits
from coordinator.http.server import Server, make_server

from .conftest import DEADLINE_S, Farm, until

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Hello(RequestHandler):
    def get(self) -> None:
        self.finish("hello")


class Door:
    """A server with the limits of the real one, on a free port."""

    def __init__(self) -> None:
        self.server: Server = make_server(Application([("/", Hello)]), 1000)
        sockets = bind_sockets(0, "127.0.0.1")
        self.port: int = sockets[0].getsockname()[1]
        self.server.add_sockets(sockets)
        self.open: list[asyncio.StreamWriter] = []

    async def connect(self, say: bytes = b"") -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.open.append(writer)
        writer.write(say)
        return reader

    async def answers(self) -> bool:
        """Whether one more connection is served."""
        reader = await self.connect(REQUEST)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return (await reader.read(12)).startswith(b"HTTP/1.1 200")
        except ConnectionResetError:
            return False


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    yield door
    for writer in door.open:
        writer.close()
    door.server.stop()
    await door.server.close_all_connections()


async def test_there_is_a_last_connection_and_it_comes_free(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS_MAX", 3)
    for _ in range(3):
        assert await door.answers()
    assert not await door.answers()
    door.open[0].close()
    await until(lambda: len(door.server._addresses) < 3, "a place comes free")
    assert await door.answers()


async def test_one_address_does_not_take_the_places_of_all(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ADDRESS_CONNECTIONS_MAX", 2)
    for _ in range(4):  # from this machine as many as there are
        assert await door.answers()
    monkeypatch.setattr(limits, "_is_here", lambda peer: False)
    assert not await door.answers()


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_who_never_ends_a_header_is_shown_out(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(limits, "IDLE_S", 0.2)
    door = Door()
    reader = await door.connect(said)
    async with asyncio.timeout(DEADLINE_S):
        assert await reader.read() == b""
    door.open[0].close()
    door.server.stop()
    await door.server.close_all_connections()


async def test_a_header_has_a_largest_size(door: Door) -> None:
    reader = await door.connect(REQUEST[:-2] + b"X: " + b"x" * limits.HEADER_BYTES_MAX + b"\r\n")
    async with asyncio.timeout(DEADLINE_S):
        assert b"200" not in await reader.read()


@pytest.mark.asyncio(loop_scope="module")
async def test_without_a_login_every_door_opens_only_what_is_open(farm: Farm) -> None:
    document = json.loads((await farm.ask("GET", "/openapi.json")).body)
    asked = 0
    for base in (farm.url, f"https://127.0.0.1:{farm.it.https_port}"):
        for path, methods in document["paths"].items():
            for method, told in methods.items():
                if told["x-role"] == "nobody":
                    continue
                named = path.replace("{sha256}", "0" * 64).replace("{number}", "0")
                answer = await farm.web.fetch(
                    base + re.sub(r"{\w+}", "x", named),
                    method=method.upper(),
                    body=b"{}" if method in ("post", "put", "patch") else None,
                    raise_error=False,
                    validate_cert=False,
                    allow_nonstandard_methods=True,
                    request_timeout=DEADLINE_S,
                )
                assert answer.code == 401, (base, method, path)
                asked += 1
    assert asked > 40
