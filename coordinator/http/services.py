"""What the HTTP side needs of the rest of the coordinator, as one frozen value.

Owns only the list. The composition root fills it; handlers find it as `self.services`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator

from msgspec import Struct

from coordinator.clock import SystemClock
from coordinator.engine import Engine
from coordinator.files.content import ContentStore
from coordinator.files.inspection import Inspector
from coordinator.people.people import People
from coordinator.ports import Archive, Clock
from coordinator.trust.pairings import Pairings

MakeCredentials = Callable[[str], Awaitable[str]]
"""Sets up the MQTT login of a printer id and returns its password, which is told once."""


class BrokerForHosts(Struct, frozen=True):
    """Where hosts find the broker: told together with a new printer's credentials.

    `managed`: the farm runs this broker and has made the account there. Otherwise whoever runs
    the broker makes it, with the rights of docs/mqtt.md. `tls`: it is reached by TLS alone.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    prefix: str = ""
    tls_ca: str = ""
    managed: bool = True
    tls: bool = False


class Trust(Struct, frozen=True):
    """How hosts join and leave.

    `ca_pem`: what they verify this server by; `broker_ca`: the broker, where it has a CA of its
    own. `urls`: where hosts elsewhere may reach us, the likeliest first. `broker_from`: the broker
    for a host that calls us by this name. `revoke` ends a printer's account and connection; False
    where the broker is not ours.
    """

    pairings: Pairings
    ca_pem: Callable[[], bytes]
    broker_ca: Callable[[], bytes]
    urls: Callable[[], tuple[str, ...]]
    broker_from: Callable[[str], BrokerForHosts]
    revoke: Callable[[str], Awaitable[bool]]


class Services(Struct, frozen=True):
    """Everything handlers use.

    `allowed_hosts`: names beside the loopback ones under which this server may be addressed,
    without a port; they may change. `ids` draws ids that are never reused.
    """

    engine: Engine
    store: Archive
    people: People
    content: ContentStore
    inspector: Inspector
    ids: Iterator[str]
    make_credentials: MakeCredentials
    trust: Trust
    clock: Clock = SystemClock()
    broker: Callable[[], BrokerForHosts] = BrokerForHosts
    version: str = ""
    allowed_hosts: Collection[str] = ()
