"""The rights of accounts at a running Mosquitto, through its dynamic-security control topic.

Owns the asking and the matching of answers. Which rights there are is broker_acl.py's; which
printers there are and what their passwords are is the caller's. One connection lives as long
as one `async with`: rights change seldom, and nothing has to follow the broker's restarts.

Protocol: `{"commands": [...]}` to `$CONTROL/dynamic-security/v1`, answers on `.../response`,
matched by `correlationData` (Mosquitto 2.0, plugin README).
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from coordinator import broker_acl
from coordinator.broker_acl import Acl
from coordinator.broker_config import Credentials, acl_values
from moonraker_component import wire

ANSWER_TIMEOUT_S = 30.0
# All commands of one message are answered together, and a message has a size limit.
COMMANDS_PER_MESSAGE = 100
_KEEPALIVE_S = 60
_CONTROL = "$CONTROL/dynamic-security/v1"
_RESPONSE = f"{_CONTROL}/response"
# The plugin has no codes, only these texts.
_MISSING = ("Client not found", "Role not found")
_EXISTS = ("Client already exists", "Role already exists")

Command = dict[str, Any]


class DynsecError(Exception):
    """The broker's rights could not be read or changed."""


class BrokerUnreachable(DynsecError):
    """No MQTT broker answers at this address."""


class LoginRefused(DynsecError):
    """The MQTT broker refuses this user name and password."""


class Dynsec:
    """Asks one broker as its admin: `async with Dynsec(host, port, admin) as rights`."""

    def __init__(
        self,
        host: str,
        port: int,
        admin: Credentials,
        *,
        prefix: str = wire.PREFIX,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self._host = host
        self._port = port
        self._admin = admin
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> Dynsec:
        """Connect, log in, listen; raises BrokerUnreachable or LoginRefused."""
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._client = self._new_client()
        try:
            await asyncio.to_thread(self._client.connect, self._host, self._port, _KEEPALIVE_S)
        except OSError as error:
            raise BrokerUnreachable(f"{self._host}:{self._port}: {error}") from error
        self._client.loop_start()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._ready
        except TimeoutError:
            await self._close()
            raise BrokerUnreachable(f"{self._host}:{self._port} does not answer") from None
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def ensure_defaults(self) -> None:
        """Set what holds where no role says anything (all four kinds of access)."""
        acls = [
            {"acltype": acltype, "allow": allow}
            for acltype, allow in broker_acl.DEFAULT_ACCESS.items()
        ]
        await self._do([{"command": "setDefaultACLAccess", "acls": acls}])

    async def ensure_coordinator(self, coordinator: Credentials) -> None:
        """Give the coordinator's account its role and password, on a broker not started here."""
        await self.ensure_defaults()
        await self._ensure_roles(
            {broker_acl.COORDINATOR_ROLE: broker_acl.coordinator_acls(self._prefix)}
        )
        await self._ensure_accounts({coordinator.username: coordinator.password}, _coordinator)

    async def ensure_printer(self, printer_id: str, password: str) -> None:
        """Give one printer its account, role and rights; see ensure_printers."""
        await self.ensure_printers({printer_id: password})

    async def ensure_printers(self, passwords: Mapping[str, str]) -> None:
        """Give each printer (id to password) an account named by its id, with its own role.

        Known ones get this password and exactly these rights again. The plugin disconnects an
        account whose password is set; its client comes back by itself.
        """
        roles = {
            broker_acl.printer_role(printer_id): broker_acl.printer_acls(self._prefix, printer_id)
            for printer_id in passwords
        }
        await self._ensure_roles(roles)
        await self._ensure_accounts(passwords, broker_acl.printer_role)

    async def remove_printer(self, printer_id: str) -> bool:
        """End a printer's account, connection and role; tell whether it had an account."""
        role = broker_acl.printer_role(printer_id)
        answers = await self._ask(
            [
                {"command": "deleteClient", "username": printer_id},
                {"command": "deleteRole", "rolename": role},
            ]
        )
        for answer in answers:
            _raise_unless(answer, _MISSING)
        return "error" not in answers[0]

    async def list_printers(self) -> tuple[str, ...]:
        """Return the ids of all printers that have an account, sorted."""
        command = {"command": "listClients", "verbose": True, "count": -1, "offset": 0}
        (answer,) = await self._do([command])
        return tuple(
            sorted(
                account["username"] for account in answer["data"]["clients"] if _is_printer(account)
            )
        )

    async def _ensure_roles(self, roles: Mapping[str, tuple[Acl, ...]]) -> None:
        values = {name: acl_values(acls) for name, acls in roles.items()}
        await self._create_or_modify(
            [
                (
                    {"command": "createRole", "rolename": name, "acls": acls},
                    {"command": "modifyRole", "rolename": name, "acls": acls},
                )
                for name, acls in values.items()
            ]
        )

    async def _ensure_accounts(
        self, passwords: Mapping[str, str], role_of: Callable[[str], str]
    ) -> None:
        accounts = [
            {
                "username": username,
                "password": password,
                "roles": [{"rolename": role_of(username), "priority": 0}],
            }
            for username, password in passwords.items()
        ]
        await self._create_or_modify(
            [
                ({"command": "createClient", **account}, {"command": "modifyClient", **account})
                for account in accounts
            ]
        )

    async def _create_or_modify(self, pairs: Sequence[tuple[Command, Command]]) -> None:
        answers = await self._ask([create for create, _ in pairs])
        for answer in answers:
            _raise_unless(answer, _EXISTS)
        known = [
            modify for (_, modify), answer in zip(pairs, answers, strict=True) if "error" in answer
        ]
        await self._do(known)

    async def _do(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        """Ask, and accept no refusal."""
        answers = await self._ask(commands)
        for answer in answers:
            _raise_unless(answer, ())
        return answers

    async def _ask(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        """Send commands and return their answers in the same order."""
        answers: list[dict[str, Any]] = []
        for start in range(0, len(commands), COMMANDS_PER_MESSAGE):
            answers += await self._ask_once(commands[start : start + COMMANDS_PER_MESSAGE])
        return answers

    async def _ask_once(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        numbered = {str(next(self._numbers)): command for command in commands}
        waiting = {number: self._loop.create_future() for number in numbered}
        self._waiting.update(waiting)
        payload = {
            "commands": [
                {**command, "correlationData": number} for number, command in numbered.items()
            ]
        }
        try:
            self._client.publish(_CONTROL, json.dumps(payload), qos=1)
            async with asyncio.timeout(self._timeout_s):
                return list(await asyncio.gather(*waiting.values()))
        except TimeoutError:
            raise DynsecError(
                f"the broker did not answer {len(commands)} commands within {self._timeout_s:g} s"
            ) from None
        finally:
            for number in numbered:
                self._waiting.pop(number).cancel()

    def _new_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        client.username_pw_set(self._admin.username, self._admin.password)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    async def _close(self) -> None:
        self._client.disconnect()
        # Waits for paho's thread.
        await asyncio.to_thread(self._client.loop_stop)
        self._note_ended("closed")

    # The four callbacks run in paho's thread and only hand over to the event loop.

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._loop.call_soon_threadsafe(self._note_refused, str(reason))
        else:
            client.subscribe(_RESPONSE, qos=1)

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._loop.call_soon_threadsafe(self._note_refused, "not the admin of its rights")
        else:
            self._loop.call_soon_threadsafe(self._note_ready)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._note_ended, str(reason))

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self._loop.call_soon_threadsafe(self._note_answers, bytes(message.payload))

    def _note_ready(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def _note_refused(self, reason: str) -> None:
        if not self._ready.done():
            self._ready.set_exception(
                LoginRefused(f"{self._admin.username} at {self._host}:{self._port}: {reason}")
            )

    def _note_ended(self, reason: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(DynsecError(f"the connection ended: {reason}"))

    def _note_answers(self, payload: bytes) -> None:
        for answer in json.loads(payload).get("responses", ()):
            # An answer to somebody else's question bears no number of ours.
            waiting = self._waiting.get(answer.get("correlationData", ""))
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)


def _coordinator(username: str) -> str:
    return broker_acl.COORDINATOR_ROLE


def _is_printer(account: Mapping[str, Any]) -> bool:
    roles: Iterable[Mapping[str, Any]] = account.get("roles", ())
    # Compared as text: an account of another owner may have a name that is no printer's id.
    return any(role["rolename"] == f"printer-{account['username']}" for role in roles)


def _raise_unless(answer: Mapping[str, Any], accepted: Sequence[str]) -> None:
    error = answer.get("error")
    if error is not None and error not in accepted:
        raise DynsecError(f"{answer.get('command')}: {error}")
