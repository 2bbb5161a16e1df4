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
    clock: Clock = SystemClock()
    broker: Callable[[], BrokerForHosts] = BrokerForHosts
    version: str = ""
    allowed_hosts: Collection[str] = ()
