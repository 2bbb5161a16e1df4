"""The composition root: builds the coordinator from its parts, runs it, ends it in order.

Owns which part is given to which. Must not hold any logic of the farm: what it starts, decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import socket
import ssl
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import tornado.netutil
from msgspec.structs import replace
from tornado.web import Application

from coordinator.broker import Broker
from coordinator.broker_config import TlsListener
from coordinator.bus import BrokerAddress, MqttBus
from coordinator.clock import SystemClock, fresh_ids
from coordinator.config import Config, settings_of
from coordinator.data_folder import locked
from coordinator.engine import Engine
from coordinator.files.content import ContentStore
from coordinator.files.inspection import Inspector
from coordinator.host_accounts import HostAccounts
from coordinator.http.app import make_app
from coordinator.http.server import make_server
from coordinator.http.services import Services, Trust
from coordinator.link_key import link_key
from coordinator.people.passwords import HashCost
from coordinator.people.people import People
from coordinator.people.rules import Lifetimes
from coordinator.store.sql import SqlStore
from coordinator.trust.keeper import Keeper, Wanted, https_url
from coordinator.trust.pairings import Pairings

log = logging.getLogger("moonfleet")

MB = 1024 * 1024


class PortTaken(OSError):
    """The address of the HTTP server cannot be had."""


class Coordinator:
    """One coordinator on one data folder: `async with Coordinator(config, data_dir) as it: ...`

    `it.failed()` waits until something ends it that it cannot mend itself. Ports given as 0 are
    taken free and told by `http_port`, `mqtt_port`, and for the doors `https_port` and
    `mqtt_tls_port`.
    """

    def __init__(self, config: Config, data_dir: Path) -> None:
        self.config = config
        self.data_dir = data_dir
        self.http_port = config.server.port
        self.mqtt_port = config.mqtt.port
        self.https_port = config.network.https_port
        self.mqtt_tls_port = config.network.mqtt_port
        self.version = _version()
        self._stack = contextlib.AsyncExitStack()
        self._broker: Broker | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self._keeper_task: asyncio.Task[None] | None = None
        self._door_sockets: list[socket.socket] = []
        self.engine: Engine
        self.keeper: Keeper
        self.accounts: HostAccounts

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
        if self._keeper_task is not None:
            waiting.append(asyncio.shield(self._keeper_task))
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
        sockets = _listen("server.port", config.server.address, config.server.port)
        self.http_port = sockets[0].getsockname()[1]
        config = replace(config, server=replace(config.server, port=self.http_port))
        keeper = self.keeper = await self._open_doors()
        address = await self._broker_address(keeper)
        accounts = self.accounts = HostAccounts(config.mqtt, self._broker)
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
            people=self._people(store),
            content=content,
            inspector=Inspector(),
            ids=ids,
            make_credentials=accounts.make,
            trust=self._trust(store, accounts),
            broker=accounts.broker_here,
            version=self.version,
            allowed_hosts=keeper.names,
        )
        if public_host:
            keeper.also(public_host)
        app = make_app(services)
        self._serve(app, sockets, None)
        log.info("listening on http://%s:%d", config.server.address, self.http_port)
        if self._door_sockets:
            self._serve(app, self._door_sockets, keeper.context)
            log.info("listening on https://%s:%d", config.network.address, self.https_port)
            self._keeper_task = asyncio.create_task(keeper.run(self.load_certificate))
            stack.push_async_callback(_ended, self._keeper_task)

    def _people(self, store: SqlStore) -> People:
        options = self.config.people
        people = People(
            store.people,
            SystemClock(),
            HashCost(options.hash_memory_kib, options.hash_passes),
            Lifetimes(options.session_idle_s, options.session_max_s),
        )
        self._stack.callback(people.close)
        return people

    def _trust(self, store: SqlStore, accounts: HostAccounts) -> Trust:
        keeper = self.keeper

        def urls() -> tuple[str, ...]:
            if not self._door_sockets:
                return ()
            names = keeper.calling_names(self.config.network.address)
            return tuple(https_url(name, self.https_port) for name in names)

        return Trust(
            pairings=Pairings(store.pairings, SystemClock(), lambda: keeper.ca_pem),
            ca_pem=lambda: keeper.ca_pem,
            broker_ca=accounts.broker_ca,
            urls=urls,
            broker_from=accounts.broker_from,
            revoke=accounts.revoke,
        )

    def _serve(
        self, app: Application, sockets: list[socket.socket], context: ssl.SSLContext | None
    ) -> None:
        """One HTTP server on these sockets, ended with the coordinator."""
        server = make_server(app, self.config.files.size_max_mb * MB + MB, context)
        server.add_sockets(sockets)
        self._stack.push_async_callback(server.close_all_connections)
        self._stack.callback(server.stop)

    async def _open_doors(self) -> Keeper:
        """The farm's CA, and where the network is open its certificate and its HTTPS port."""
        network = self.config.network
        wanted = Wanted(
            open=bool(network.address),
            names=network.names,
            certificate=network.certificate,
            key=network.key,
            ca=network.ca,
        )
        keeper = Keeper(self.data_dir, wanted)
        await asyncio.to_thread(keeper.open)
        if network.address:
            # bind_sockets takes :: for IPv6 alone; here it stands for all there is.
            address = None if network.address == "::" else network.address
            self._door_sockets = _listen("network.https_port", address, network.https_port)
            self.https_port = self._door_sockets[0].getsockname()[1]
        return keeper

    async def load_certificate(self) -> None:
        """Let the broker serve by the certificate that is there now."""
        if self._broker is not None:
            self._broker.load_certificate()

    async def _broker_address(self, keeper: Keeper) -> BrokerAddress:
        """Our own broker's address, started here, or the configured one."""
        mqtt, network = self.config.mqtt, self.config.network
        if mqtt.host:
            return BrokerAddress(
                mqtt.host, mqtt.port, mqtt.username, mqtt.password, mqtt.tls_ca, mqtt.tls
            )
        door = None
        if network.address:
            door = TlsListener(
                network.address, network.mqtt_port, keeper.certificate_path, keeper.key_path
            )
        broker = Broker(
            self.data_dir / "broker",
            port=mqtt.port,
            jitter=random.random,
            prefix=mqtt.prefix,
            door=door,
        )
        await broker.start()
        self._stack.push_async_callback(broker.stop)
        self._broker = broker
        self.mqtt_port, self.mqtt_tls_port = broker.port, broker.door_port
        login = broker.coordinator_credentials
        return BrokerAddress("127.0.0.1", broker.port, login.username, login.password)


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


def _listen(option: str, address: str | None, port: int) -> list[socket.socket]:
    """Bind before anything else is started, so that a taken port is told at once."""
    try:
        return tornado.netutil.bind_sockets(port, address)
    except OSError as error:
        raise PortTaken(
            f"{option} {port}: cannot listen on {address or '::'}: {error.strerror or error}"
        ) from error


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _version() -> str:
    try:
        return metadata.version("moonfleet")
    except metadata.PackageNotFoundError:
        return "unknown"
