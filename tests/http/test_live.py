"""The live feed: a snapshot, then what changed, in sequence; who may listen, who is dropped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from coordinator.http import socket
from coordinator.http.live import OWNER_CLIENTS_MAX, QUEUE_MAX, Client
from moonraker_component.wire import Telemetry

from .browser import log_in
from .house import ADMIN, DEADLINE_S, PASSWORD, House, eventually, told

Message = dict[str, Any]


@asynccontextmanager
async def listening(house: House, **headers: str) -> AsyncIterator[WebSocketClientConnection]:
    address = house.url.replace("http", "ws") + "/api/v1/live"
    connection = await websocket_connect(HTTPRequest(address, headers=house.bearer | headers))
    try:
        yield connection
    finally:
        connection.close()


async def read(connection: WebSocketClientConnection) -> Message:
    async with asyncio.timeout(DEADLINE_S):
        raw = await connection.read_message()
    assert raw is not None
    message: Message = json.loads(raw)
    return message


async def until(connection: WebSocketClientConnection, key: str, **wanted: Any) -> Message:
    """Read on to the first change that holds such a thing; checks the sequence on the way."""
    last = None
    while True:
        message = await read(connection)
        assert last is None or message["sequence"] == last + 1
        last = message["sequence"]
        for found in message.get(key, []):
            if all(found.get(name) == value for name, value in wanted.items()):
                return dict(found)


async def test_a_snapshot_and_then_only_what_changed(house: House) -> None:
    host = await house.add_host("one")
    job = await house.submit(material="PETG")
    async with listening(house) as connection:
        snapshot = await read(connection)
        assert snapshot["type"] == "snapshot"
        assert [p["id"] for p in snapshot["printers"]] == ["one"]
        assert [j["id"] for j in snapshot["jobs"]] == [job["id"]]
        assert snapshot["farm"]["connected"] is True
        await house.post(f"/jobs/{job['id']}/hold")
        change = await read(connection)
        while not change.get("jobs"):
            change = await read(connection)
        assert change["type"] == "change"
        assert change["sequence"] > snapshot["sequence"]
        assert change["jobs"][0]["state"] == "held"
        assert "readings" not in change
        second = await house.submit()
        await until(connection, "printers", id="one", state="printing")
        host.finish()
        ended = await until(connection, "jobs", id=second["id"], state="completed")
        assert ended["counts"]["done"] == 1


async def test_silence_alone_shows_a_printer_offline(house: House) -> None:
    host = await house.add_host("one")
    async with listening(house) as connection:
        await read(connection)
        host.silent = True
        await until(connection, "printers", id="one", state="offline")


async def test_readings_come_at_most_once_a_second(house: House) -> None:
    await house.add_host("one")
    async with listening(house) as connection:
        await read(connection)
        told: list[Message] = []
        while len(told) < 3:
            house.engine.hear_telemetry("one", Telemetry(progress=len(told) / 10))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    told += json.loads(await connection.read_message() or "{}").get("readings", [])
        times = [reading["at"] for reading in told]
        assert all(later - sooner > 0.7 for sooner, later in pairwise(times))


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}]
)
async def test_pages_of_others_may_not_listen(house: House, headers: dict[str, str]) -> None:
    with pytest.raises(HTTPClientError) as refused:
        async with listening(house, **headers):
            pass
    assert refused.value.code == 403


async def test_nobody_may_not_listen(house: House) -> None:
    for proof in ("", "Bearer mf_no"):
        with pytest.raises(HTTPClientError) as refused:
            async with listening(house, Authorization=proof):
                pass
        assert refused.value.code == 401


@pytest.mark.parametrize("origin", ["", "http://127.0.0.1:1"])
async def test_a_session_listens_for_its_own_pages_alone(house: House, origin: str) -> None:
    """Programs send no Origin, and programs have keys."""
    ann = await log_in(house, ADMIN, PASSWORD)
    proof = {"Authorization": "", "Cookie": ann.headers["Cookie"]}
    with pytest.raises(HTTPClientError) as refused:
        async with listening(house, **proof, **({"Origin": origin} if origin else {})):
            pass
    assert refused.value.code == 403
    async with listening(house, **proof, Origin=house.url) as connection:
        assert (await read(connection))["type"] == "snapshot"


async def test_the_feed_ends_with_the_session_or_key_that_opened_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "LOOK_S", 1e6)  # it is told, and does not have to look
    ann = await log_in(house, ADMIN, PASSWORD)
    made = await house.post("/keys", {"name": "watcher", "role": "viewer"}, 201)
    by_key = {"Authorization": f"Bearer {made['secret']}"}
    by_session = {"Authorization": "", "Cookie": ann.headers["Cookie"], "Origin": house.url}
    async with (
        listening(house, **by_session) as session,
        listening(house, **by_key) as key,
        listening(house) as other,
    ):
        for connection in (session, key, other):
            await read(connection)
        told(await ann.ask("POST", "/logout"), 200)
        await closed(session)
        told(await house.ask("DELETE", f"/keys/{made['key']['id']}"), 200)
        await closed(key)
        await house.post("/printers", {"id": "p"}, 201)
        await until(other, "printers", id="p")


async def test_the_feed_ends_with_a_session_that_something_else_ended(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By time, or by a command that works on the data folder."""
    monkeypatch.setattr(socket, "LOOK_S", 0.05)
    ann = await log_in(house, ADMIN, PASSWORD)
    async with listening(house, Authorization="", **ann.headers) as connection:
        await read(connection)
        house.clock.ahead_s = 31 * 86_400.0
        await closed(connection)


async def closed(connection: WebSocketClientConnection) -> None:
    """Read to the end, which says why."""
    async with asyncio.timeout(DEADLINE_S):
        while await connection.read_message() is not None:
            pass
    assert connection.close_code == socket.CLOSE_LOGGED_OUT


def test_a_client_that_does_not_read_is_dropped() -> None:
    client = Client()
    for _ in range(QUEUE_MAX):
        client.put(b"x")
    assert not client.dropped.is_set()
    client.put(b"one too many")
    assert client.dropped.is_set()


async def test_clients_leave(house: House) -> None:
    live = next(iter(house.engine.listeners)).__self__  # type: ignore[attr-defined]
    async with listening(house) as first, listening(house) as second:
        await read(first)
        await read(second)
        assert len(live._clients) == 2
    await eventually(lambda: not live._clients)


async def test_one_user_does_not_take_the_places_of_all(house: House) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(OWNER_CLIENTS_MAX):
            await read(await stack.enter_async_context(listening(house)))
        one_more = await stack.enter_async_context(listening(house))
        async with asyncio.timeout(DEADLINE_S):
            assert await one_more.read_message() is None
        assert one_more.close_code == 1013
