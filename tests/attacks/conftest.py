"""A whole coordinator with its own Mosquitto and every door open, one for each file of tests.

Owns the farm that is attacked: printers a (whose credentials the attacker has) and b (who must not
notice).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from coordinator.app import Coordinator
from coordinator.broker_config import Credentials
from coordinator.config import load
from demo.login import CHEAP_HASHES, Login, bearer
from tests.broker.conftest import Mqtt

DEADLINE_S = 60.0
OPTIONS = (
    "server.port=0", "mqtt.port=0", "network.address='127.0.0.1'", "network.https_port=0",
    "network.mqtt_port=0", "farm.lease_s=3", "farm.rest_s=0", *CHEAP_HASHES,
)  # fmt: skip
SPY = Credentials("spy", "password of the spy")
"""An account that hears everything, for the tests' own eyes."""


class Farm:
    """`it`: the coordinator. `logins`: the MQTT accounts of printers a and b."""

    def __init__(self, it: Coordinator, key: str) -> None:
        self.it = it
        self.url = f"http://127.0.0.1:{it.http_port}"
        self.key = key
        self.logins: dict[str, Credentials] = {}
        self.web = AsyncHTTPClient(force_instance=True, max_clients=50)

    async def ask(self, method: str, path: str, body: bytes | None = None) -> HTTPResponse:
        """One request by the admin, below /api/v1."""
        return await self.web.fetch(
            f"{self.url}/api/v1{path}",
            method=method,
            body=body,
            headers=bearer(self.key),
            raise_error=False,
            request_timeout=DEADLINE_S,
            allow_nonstandard_methods=True,
        )

    @contextlib.asynccontextmanager
    async def mqtt(self, login: Credentials, client_id: str = "") -> AsyncIterator[Mqtt]:
        """A client that is logged in."""
        client = Mqtt(self.it.mqtt_port, login, client_id)
        try:
            assert await client.start() == "Success"
            yield client
        finally:
            await client.stop()

    def state_of(self, printer: str) -> list[Any]:
        """What the farm knows of a printer and its attempts."""
        farm = self.it.engine.farm
        attempts = [a for a in farm.attempts.values() if a.printer == printer]
        contact = farm.contacts.get(printer)
        return [farm.printers[printer], contact and contact.session, attempts]


async def until(true: Any, what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition; fails with what was waited for."""
    clock = asyncio.get_running_loop().time
    ends_s = clock() + deadline_s
    while not true():
        assert clock() < ends_s, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(0.02)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Farm]:
    folder: Path = tmp_path_factory.mktemp("attacked")
    async with Coordinator(load(None, list(OPTIONS)), folder / "data") as it:
        url = f"http://127.0.0.1:{it.http_port}"
        key = await asyncio.to_thread(Login(folder / "login").key, url)
        farm = Farm(it, key)
        for name in "ab":
            answer = await farm.ask("POST", "/printers", b'{"id":"%s"}' % name.encode())
            assert answer.code == 201, answer.body
            told = json.loads(answer.body)["credentials"]
            farm.logins[name] = Credentials(told["username"], told["password"])
        await _let_in_a_spy(farm)
        yield farm
        farm.web.close()


async def _let_in_a_spy(farm: Farm) -> None:
    broker = farm.it._broker
    assert broker is not None
    kinds = ("subscribePattern", "publishClientReceive", "publishClientSend")
    acls = [{"acltype": kind, "topic": "#", "allow": True} for kind in kinds]
    login = {"username": SPY.username, "password": SPY.password}
    async with broker.rights() as rights:
        await rights._do(
            [
                {"command": "createRole", "rolename": "spy", "acls": acls},
                {"command": "createClient", **login, "roles": [{"rolename": "spy"}]},
            ]
        )
