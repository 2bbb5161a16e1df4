"""The composition root: builds the coordinator from its parts, runs it, ends it in order.

Owns which part is given to which. Must not hold any logic of the farm: what it starts, decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import signal
import socket
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import tornado.httpserver
import tornado.netutil
from msgspec.structs import replace

from coordinator.broker import Broker
from coordinator.bus import BrokerAddress, MqttBus
from coordinator.clock import SystemClock, fresh_ids
from coordinator.config import Config, settings_of
from coordinator.data_folder import locked
from coordinator.dynsec_link import DynsecError
from coordinator.engine import Engine
from coordinator.files.content import ContentStore
from coordinator.files.inspection import Inspector
from coordinator.http.app import make_app
from coordinator.http.services import BrokerForHosts, Services
from coordinator.link_key import link_key
from coordinator.ports import BrokerAway
from coordinator.store.sql import SqlStore

log = logging.getLogger("moonfleet")

MB = 1024 * 1024
BODY_BUFFER_BYTES = 1 * MB


class PortTaken(OSError):
    """The address of the HTTP server cannot be had."""


class Coordinator:
    """One coordinator on one data folder: `async with Coordinator(config, data_dir) as it: ...`

    `it.failed()` waits until something ends it that it cannot mend itself. Ports given as 0 are
    taken free and told by `http_port` and `mqtt_port`.
    """

    def __init__(self, config: Config, data_dir: Path) -> None:
        self.config = config
        self.data_dir = data_dir
        self.http_port = config.server.port
        self.mqtt_port = config.mqtt.port
        self.version = _version()
        self._stack = contextlib.AsyncExitStack()
        self._broker: Broker | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self.engine: Engine

    async def __aenter__(self) -> Coordinator:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def failed(self) -> None:
        """Wait for the engine or the broker to give up; raises what ended it."""
        assert self._loop_task is not None
        waiting = [asyncio.shield(self._loop_task)]
        if self._broker is not None:
            waiting.append(asyncio.ensure_future(self._broker.failed()))
        done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        for task in done:
            task.result()

    async def _start(self) -> None:
        config, stack = self.config, self._stack
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        stack.enter_context(locked(self.data_dir))
        sockets = _listen(config.server.address, config.server.port)
        self.http_port = sockets[0].getsockname()[1]
        config = replace(config, server=replace(config.server, port=self.http_port))
        address = await self._broker_address()
        store = SqlStore(config.database_url or f"sqlite+aiosqlite:///{self.data_dir}/moonfleet.db")
        await store.open()
        stack.push_async_callback(store.close)
        content = ContentStore(
            self.data_dir,
            file_bytes_max=config.files.size_max_mb * MB,
            reserve_bytes=config.files.disk_reserve_mb * MB,
        )
        await content.start()
        stack.push_async_callback(content.close)
        bus = MqttBus(address, self.version, config.mqtt.prefix)
        ids = fresh_ids()
        settings = replace(settings_of(config), link_key=await link_key(store))
        self.engine = Engine(store, bus, SystemClock(), settings, ids)
        await self.engine.start()
        bus.attach(self.engine)
        await bus.start()
        stack.push_async_callback(bus.stop)
        self._loop_task = asyncio.create_task(self.engine.run())
        stack.push_async_callback(_ended, self._loop_task)
        public_host = urlsplit(config.server.public_url).hostname
        services = Services(
            engine=self.engine,
            store=store,
            content=content,
            inspector=Inspector(),
            ids=ids,
            make_credentials=self._make_credentials,
            broker=self._broker_for_hosts,
            version=self.version,
            allowed_hosts=(public_host,) if public_host else (),
        )
        server = tornado.httpserver.HTTPServer(
            make_app(services),
            max_body_size=config.files.size_max_mb * MB + MB,
            max_buffer_size=BODY_BUFFER_BYTES * 4,
            chunk_size=256 * 1024,
        )
        server.add_sockets(sockets)
        stack.push_async_callback(server.close_all_connections)
        stack.callback(server.stop)
        log.info("listening on http://%s:%d", config.server.address, self.http_port)

    async def _broker_address(self) -> BrokerAddress:
        """Our own broker's address, started here, or the configured one."""
        mqtt = self.config.mqtt
        if mqtt.host:
            return BrokerAddress(mqtt.host, mqtt.port, mqtt.username, mqtt.password, mqtt.tls_ca)
        broker = Broker(
            self.data_dir / "broker", port=mqtt.port, jitter=random.random, prefix=mqtt.prefix
        )
        await broker.start()
        self._stack.push_async_callback(broker.stop)
        self._broker = broker
        self.mqtt_port = broker.port
        login = broker.coordinator_credentials
        return BrokerAddress("127.0.0.1", broker.port, login.username, login.password)

    async def _make_credentials(self, printer_id: str) -> str:
        """A new MQTT password for a printer, set at our own broker; told once, never stored."""
        password = secrets.token_urlsafe(24)
        if self._broker is not None:
            try:
                async with self._broker.rights() as rights:
                    await rights.ensure_printer(printer_id, password)
            except DynsecError as error:
                raise BrokerAway(f"the broker was not told of {printer_id}: {error}") from error
        return password

    def _broker_for_hosts(self) -> BrokerForHosts:
        mqtt = self.config.mqtt
        return BrokerForHosts(
            host=mqtt.host or "127.0.0.1",
            port=self.mqtt_port,
            prefix=mqtt.prefix,
            tls_ca=mqtt.tls_ca,
            managed=not mqtt.host,
        )


async def serve(config: Config, data_dir: Path) -> None:
    """Run until SIGINT or SIGTERM, or until something ends it; raises what did."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with Coordinator(config, data_dir) as coordinator:
        stop = asyncio.create_task(stopping.wait())
        failed = asyncio.create_task(coordinator.failed())
        done, rest = await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        for task in done:
            task.result()


def _listen(address: str, port: int) -> list[socket.socket]:
    """Bind before anything else is started, so that a taken port is told at once."""
    try:
        return tornado.netutil.bind_sockets(port, address)
    except OSError as error:
        raise PortTaken(
            f"server.port {port}: cannot listen on {address}: {error.strerror or error}"
        ) from error


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _version() -> str:
    try:
        return metadata.version("moonfleet")
    except metadata.PackageNotFoundError:
        return "unknown"
