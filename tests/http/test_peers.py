"""Set-up is for the farm's owner alone: no proxy on this computer, and no other user of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.http import peers

from .house import PASSWORD, House, told

BODY = {"name": "ann", "password": PASSWORD}
ROW = "   1: {local} {remote} {state} 00000000:00000000 00:00000000 00000000  {uid}  0 96 1 0 100"
HERE, THERE = ("127.0.0.1", 8008), ("127.0.0.1", 40000)
V4 = {"local": "0100007F:9C40", "remote": "0100007F:1F48"}
MAPPED = "0000000000000000FFFF0000"


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path, is_set_up=False) as house:
        yield house


async def test_another_user_of_this_computer_cannot_set_up(
    empty: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "trusted_uids", lambda: frozenset({54321}))
    told(await empty.ask("POST", "/setup", BODY), 403)
    page = await empty._client.fetch(f"{empty.url}/setup")
    assert b'id="door"' not in page.body
    monkeypatch.undo()
    told(await empty.ask("POST", "/setup", BODY), 201)


async def test_a_proxy_that_tells_nothing_cannot_set_up(empty: House) -> None:
    """What nginx sends for somebody elsewhere with nothing but proxy_pass configured."""
    body = json.dumps(BODY).encode()
    head = f"POST /api/v1/setup HTTP/1.0\r\nHost: 127.0.0.1:{empty.port}\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", empty.port)
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert b" 403 " in answer.partition(b"\r\n")[0]
    assert not await empty.store.people.users()


def test_the_owner_of_a_real_connection_is_known() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
    ):
        theirs, _ = server.accept()
        with theirs:
            assert peers.is_of_owner(theirs)
            ours.shutdown(socket.SHUT_WR)
            assert not peers.is_of_owner(theirs)
    assert not peers.is_of_owner(theirs)


@pytest.mark.parametrize(
    ("row", "uid"),
    [
        ({**V4, "state": "01", "uid": 1000}, 1000),
        ({**V4, "state": "05", "uid": 0}, None),  # closed by its owner
        ({"local": V4["remote"], "remote": V4["local"], "state": "01", "uid": 0}, None),
        (
            {
                "local": f"{MAPPED}{V4['local']}",
                "remote": f"{MAPPED}{V4['remote']}",
                "state": "01",
                "uid": 33,
            },
            33,
        ),
    ],
)
def test_the_kernels_rows(row: dict[str, object], uid: int | None) -> None:
    assert peers.uid_of([ROW.format(**row)], THERE, HERE) == uid
