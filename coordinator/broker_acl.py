"""Who may say and hear what over MQTT: the table of rights.

Owns the rights of the coordinator and of a printer as lists of ACLs of Mosquitto's
dynamic-security plugin. Pure: a prefix and an id come in, values come out. Knows nothing of
connections or files.

One role per printer, because the plugin (2.0.11) takes `%u` literally: a shared role with
`%u` in its topics would let every printer publish for every other one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from moonraker_component import wire

ADMIN_USERNAME = "moonfleet-admin"
COORDINATOR_USERNAME = "moonfleet-coordinator"
ADMIN_ROLE = "moonfleet-admin"
COORDINATOR_ROLE = "moonfleet-coordinator"
_PRINTER_ROLE_PREFIX = "printer-"

PRINTER_SAYS = ("report", "online", "telemetry", "event")
PRINTER_HEARS = ("desired", "command")

# What holds where no role says anything. All four are set explicitly: the plugin's own default
# lets a client receive whatever reaches it.
DEFAULT_ACCESS = {
    "publishClientSend": False,
    "publishClientReceive": False,
    "subscribe": False,
    "unsubscribe": True,
}


class BadPrinterId(ValueError):
    """A printer's id cannot be part of an MQTT topic or is reserved."""

    def __init__(self, printer_id: str) -> None:
        super().__init__(
            f"printer id {printer_id[:80]!r}: allowed are 1 to 64 of A-Z a-z 0-9 _ -, "
            f"not beginning with 'moonfleet-'"
        )


class Acl(msgspec.Struct, frozen=True):
    """One right, as the plugin's file and its control commands spell it."""

    acltype: str
    topic: str
    allow: bool = True
    priority: int = 0


def check_printer_id(printer_id: str) -> str:
    """Return `printer_id`, which is also its MQTT user name, or raise BadPrinterId."""
    if not wire.PRINTER_ID.match(printer_id) or printer_id.startswith("moonfleet-"):
        raise BadPrinterId(printer_id)
    return printer_id


def printer_role(printer_id: str) -> str:
    """Return the name of the role that only this printer has."""
    return _PRINTER_ROLE_PREFIX + check_printer_id(printer_id)


def printer_acls(prefix: str, printer_id: str) -> tuple[Acl, ...]:
    """A printer writes its own four topics and reads its own two and the beacon."""
    own = f"{prefix}/printers/{check_printer_id(printer_id)}"
    heard = [f"{own}/{topic}" for topic in PRINTER_HEARS] + [f"{prefix}/coordinator"]
    return _may_send(f"{own}/{topic}" for topic in PRINTER_SAYS) + _may_hear(heard)


def coordinator_acls(prefix: str) -> tuple[Acl, ...]:
    """The coordinator writes what printers read, reads what they write, and hears itself."""
    every = f"{prefix}/printers/+"
    said = [f"{every}/{topic}" for topic in PRINTER_HEARS]
    said += [f"{prefix}/coordinator", f"{prefix}/jobs/+/event"]
    heard = [f"{every}/{topic}" for topic in PRINTER_SAYS]
    heard += [f"{prefix}/jobs/ready", f"{prefix}/coordinator"]
    return _may_send(said) + _may_hear(heard)


def admin_acls() -> tuple[Acl, ...]:
    """The account that sets rights may do that and nothing else."""
    control = "$CONTROL/dynamic-security/#"
    return _may_send([control]) + _may_hear([control])


def _may_send(topics: Iterable[str]) -> tuple[Acl, ...]:
    return tuple(Acl("publishClientSend", topic) for topic in topics)


def _may_hear(topics: Iterable[str]) -> tuple[Acl, ...]:
    # Both are needed: without the first a subscription is refused, without the second it is
    # granted and stays silent. The pattern form also allows to subscribe to one exact topic
    # below a wildcard, which brokers ask for that keep no retained messages for wildcards.
    return tuple(
        Acl(acltype, topic)
        for topic in topics
        for acltype in ("subscribePattern", "publishClientReceive")
    )
