"""The accounts by which hosts log in at the broker, and what hosts have to know of it.

Owns making, renewing and revoking them at our own broker. At a broker of the user's own whoever
runs it does that; then only the password is made up here. Must not know HTTP.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from coordinator.broker import Broker
from coordinator.config import MqttOptions
from coordinator.dynsec_link import DynsecError
from coordinator.http.services import BrokerForHosts
from coordinator.ports import BrokerAway

PASSWORD_BYTES = 24


class HostAccounts:
    """`broker` is our own, None where `mqtt` names one of the user's."""

    def __init__(self, mqtt: MqttOptions, broker: Broker | None) -> None:
        self._mqtt = mqtt
        self._broker = broker

    @property
    def managed(self) -> bool:
        """Whether the farm runs the broker, and so makes and ends accounts there."""
        return self._broker is not None

    async def make(self, printer_id: str) -> str:
        """A new MQTT password for a printer, set at our own broker; told once, never stored.

        Whoever was connected by the old one is disconnected. Raises BrokerAway.
        """
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        if self._broker is not None:
            try:
                async with self._broker.rights() as rights:
                    await rights.ensure_printer(printer_id, password)
            except DynsecError as error:
                raise BrokerAway(f"the broker was not told of {printer_id}: {error}") from error
        return password

    async def revoke(self, printer_id: str) -> bool:
        """End a printer's account and its connection; False: the broker is not ours."""
        if self._broker is None:
            return False
        try:
            async with self._broker.rights() as rights:
                await rights.remove_printer(printer_id)
        except DynsecError as error:
            raise BrokerAway(f"the broker was not told of {printer_id}: {error}") from error
        return True

    def broker_here(self) -> BrokerForHosts:
        """The broker as a host on this machine reaches it."""
        mqtt = self._mqtt
        port = self._broker.port if self._broker is not None else mqtt.port
        return BrokerForHosts(
            host=mqtt.host or "127.0.0.1",
            port=port,
            prefix=mqtt.prefix,
            tls_ca=mqtt.tls_ca,
            managed=self.managed,
            tls=bool(mqtt.tls or mqtt.tls_ca),
        )

    def broker_from(self, name: str) -> BrokerForHosts:
        """The broker as a host elsewhere reaches it, which calls this machine `name`."""
        if self._broker is None:
            return self.broker_here()
        return BrokerForHosts(
            host=name, port=self._broker.door_port, prefix=self._mqtt.prefix, tls=True
        )

    def broker_ca(self) -> bytes:
        """The CA of the user's own broker in PEM; empty where it has none of its own."""
        return Path(self._mqtt.tls_ca).read_bytes() if self._mqtt.tls_ca else b""
