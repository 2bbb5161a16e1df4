"""The rights of accounts at a running Mosquitto, set through its dynamic-security plugin.

Owns which commands make which account. Which rights there are is broker_acl.py's, the talking
is dynsec_link.py's; which printers there are and what their passwords are is the caller's. One
connection lives as long as one `async with`: rights change seldom, and nothing has to follow
the broker's restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from coordinator import broker_acl
from coordinator.broker_acl import Acl
from coordinator.broker_config import Credentials, acl_values
from coordinator.dynsec_link import Answer, Command, ControlLink, DynsecError
from moonraker_component import wire

ANSWER_TIMEOUT_S = 30.0
# The plugin has no codes, only these texts.
_MISSING = ("Client not found", "Role not found")
_EXISTS = ("Client already exists", "Role already exists")


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
        self._prefix = prefix
        self._link = ControlLink(host, port, admin, timeout_s)

    async def __aenter__(self) -> Dynsec:
        """Connect and log in; raises BrokerUnreachable or LoginRefused."""
        await self._link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._link.close()

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
        answers = await self._link.ask(
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
        answers = await self._link.ask([create for create, _ in pairs])
        for answer in answers:
            _raise_unless(answer, _EXISTS)
        known = [
            modify for (_, modify), answer in zip(pairs, answers, strict=True) if "error" in answer
        ]
        await self._do(known)

    async def _do(self, commands: Sequence[Command]) -> list[Answer]:
        """Ask, and accept no refusal."""
        answers = await self._link.ask(commands)
        for answer in answers:
            _raise_unless(answer, ())
        return answers


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
