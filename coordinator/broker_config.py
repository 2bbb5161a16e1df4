"""What the embedded Mosquitto reads at its start: its configuration and its accounts.

Owns the text of mosquitto.conf and the first dynamic-security file. Pure apart from finding
the installed program and plugin; starting and ending the process is broker.py's.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from coordinator import broker_acl
from coordinator.broker_acl import Acl
from coordinator.trust import contexts
from moonraker_component import wire

# What is larger is no message of ours: it is answered, and not passed on.
MESSAGE_BYTES_MAX = wire.PAYLOAD_MAX_BYTES
# Whoever sends a larger packet is cut off before the broker holds it.
PACKET_BYTES_MAX = 4 * MESSAGE_BYTES_MAX
CONNECTIONS_MAX = 2048
INFLIGHT_MAX = 100
# For each client that does not read as fast as it is told; the coordinator is told by all.
QUEUED_MAX = 5000
QUEUED_BYTES_MAX = 32 * 1024 * 1024
# Ours are 10 to 60 s. A client that may be silent for longer would hold its place when it is dead.
# Mosquitto before 2.0.12 refuses it to clients of MQTT 5 alone.
KEEPALIVE_MAX_S = 120
# Every level is published again within a lease, so little is lost with the broker's memory;
# a rare write spares the SD card.
AUTOSAVE_S = 300
PASSWORD_ITERATIONS = 10_000
_SALT_BYTES = 12

_PROGRAM_FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_PLUGIN = "mosquitto_dynamic_security.so"
_PLUGIN_FOLDERS = ("/usr/lib", "/usr/local/lib", "/usr/lib64")


class BrokerMissing(Exception):
    """Mosquitto is not installed here."""


@dataclass(frozen=True)
class Credentials:
    """An MQTT account. The password never shows in a repr, so never in a log."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class BrokerPaths:
    """The files of one broker. The configuration's path is also its identity among processes."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "mosquitto.conf"

    @property
    def accounts(self) -> Path:
        return self.folder / "dynamic-security.json"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets.json"

    @property
    def data(self) -> Path:
        return self.folder / "data"


@dataclass(frozen=True)
class TlsListener:
    """A second listener, for other computers. `address` "::" stands for all there are."""

    address: str
    port: int
    certificate: Path
    key: Path


def find_program() -> str:
    """Return the path of mosquitto; Debian keeps it outside a user's PATH."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=_PROGRAM_FOLDERS)
    if found is None:
        raise BrokerMissing("no mosquitto in PATH or /usr/sbin (Debian: apt install mosquitto)")
    return found


def find_plugin() -> str:
    """Return the path of Mosquitto's dynamic-security plugin."""
    for folder in map(Path, _PLUGIN_FOLDERS):
        for candidate in (folder / _PLUGIN, *sorted(folder.glob(f"*/{_PLUGIN}"))):
            if candidate.is_file():
                return str(candidate)
    raise BrokerMissing(f"no {_PLUGIN} below {', '.join(_PLUGIN_FOLDERS)}")


def config_text(
    paths: BrokerPaths,
    *,
    port: int,
    plugin: str,
    autosave_s: int,
    is_root: bool,
    door: TlsListener | None = None,
) -> str:
    """Return mosquitto.conf for a broker that only this machine reaches without TLS.

    `port` is bound on 127.0.0.1. `autosave_s` is how often retained messages are written.
    `door`: where other computers reach it, with the same accounts.
    """
    lines = [
        "# Written by the coordinator at every start; changes here do not last.",
        "per_listener_settings false",
        "allow_anonymous false",
        # Without it Nagle's algorithm and delayed ACKs hold back each small QoS 1 message.
        "set_tcp_nodelay true",
        f"plugin {plugin}",
        f"plugin_opt_config_file {paths.accounts}",
        "persistence true",
        f"persistence_location {paths.data}/",
        f"autosave_interval {autosave_s}",
        f"max_inflight_messages {INFLIGHT_MAX}",
        f"max_queued_messages {QUEUED_MAX}",
        f"max_queued_bytes {QUEUED_BYTES_MAX}",
        f"max_keepalive {KEEPALIVE_MAX_S}",
        f"max_packet_size {PACKET_BYTES_MAX}",
        f"message_size_limit {MESSAGE_BYTES_MAX}",
        "persistent_client_expiration 1d",
        "log_dest stdout",
        "log_timestamp false",
        "log_type error",
        "log_type warning",
        "log_type notice",
        f"listener {port} 127.0.0.1",
        *_LISTENER_LIMITS,
    ]
    if door is not None:
        lines += _door_lines(door)
    if is_root:
        # Started by root it would become user mosquitto, who cannot read this folder.
        lines.insert(1, "user root")
    return "\n".join(lines) + "\n"


_LISTENER_LIMITS = (
    f"max_connections {CONNECTIONS_MAX}",
    # A client that says the id of another one ends the other's connection. So the id is the
    # account's name, whatever a client says: one connection per account, and nobody else's.
    "use_username_as_clientid true",
)


def _door_lines(door: TlsListener) -> list[str]:
    # Without an address it listens on IPv6 and IPv4; "::" would be IPv6 alone.
    address = "" if door.address == "::" else f" {door.address}"
    return [
        f"listener {door.port}{address}",
        *_LISTENER_LIMITS,
        f"certfile {door.certificate.absolute()}",
        f"keyfile {door.key.absolute()}",
        f"tls_version {contexts.MOSQUITTO_TLS_MIN}",
        f"ciphers {contexts.CIPHERS}",
    ]


def hashed(password: str, salt: bytes) -> dict[str, Any]:
    """Return a password as the plugin's file holds it: PBKDF2 with SHA-512, 64 bytes."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PASSWORD_ITERATIONS, 64)
    return {
        "password": base64.b64encode(digest).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": PASSWORD_ITERATIONS,
    }


def accounts_file(
    known: Mapping[str, Any], prefix: str, owners: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the content of the plugin's file with our own two accounts and roles in it.

    `known` is the content so far ({} at the first start), whose other accounts (the printers')
    stay as they are. `owners` gives the hashed passwords of the admin and the coordinator.
    Written while the broker is down, this needs no bootstrap account and heals a file whose
    passwords no longer fit the stored ones.
    """
    roles = {
        broker_acl.ADMIN_ROLE: broker_acl.admin_acls(),
        broker_acl.COORDINATOR_ROLE: broker_acl.coordinator_acls(prefix),
    }
    accounts = {
        broker_acl.ADMIN_USERNAME: broker_acl.ADMIN_ROLE,
        broker_acl.COORDINATOR_USERNAME: broker_acl.COORDINATOR_ROLE,
    }
    return {
        **known,
        "clients": [c for c in known.get("clients", []) if c.get("username") not in accounts]
        + [
            {"username": name, "roles": [{"rolename": role}], **owners[name]}
            for name, role in accounts.items()
        ],
        "roles": [r for r in known.get("roles", []) if r.get("rolename") not in roles]
        + [{"rolename": name, "acls": acl_values(acls)} for name, acls in roles.items()],
        "defaultACLAccess": dict(broker_acl.DEFAULT_ACCESS),
    }


def acl_values(acls: tuple[Acl, ...]) -> list[dict[str, Any]]:
    """Return ACLs as plain values, for the plugin's file and its control commands."""
    return [msgspec.structs.asdict(acl) for acl in acls]


def salt_from(random_bytes: bytes) -> bytes:
    """Return a salt of the length that Mosquitto itself uses."""
    return random_bytes[:_SALT_BYTES]
