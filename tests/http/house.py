"""A coordinator without a broker: everything real but the bus, which hands orders to our hosts.

Owns the wiring, and `Host`: a scripted printer that answers desired states with reports.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from coordinator.clock import SystemClock, fresh_ids
from coordinator.core.farm import Now, Settings
from coordinator.core.links import LinkKey
from coordinator.core.requests import Who
from coordinator.engine import Engine
from coordinator.files.content import ContentStore
from coordinator.files.inspection import Inspector
from coordinator.http.app import make_app
from coordinator.http.services import BrokerForHosts, Services, Trust
from coordinator.people.passwords import HashCost
from coordinator.people.people import People
from coordinator.ports import BrokerAway
from coordinator.store.sql import SqlStore
from coordinator.trust.pairings import Pairings
from moonraker_component.wire import (
    AttemptReport,
    Beacon,
    Bed,
    Command,
    CommandKind,
    Desired,
    Filament,
    JobEvent,
    Klipper,
    Link,
    Outcome,
    Phase,
    Profile,
    Reason,
    Report,
    Want,
)

DEADLINE_S = 30.0
CA_PEM = b"-----BEGIN CERTIFICATE-----\nof the house\n-----END CERTIFICATE-----\n"
CHEAP = HashCost(memory_kib=8, passes=1)
ADMIN, PASSWORD = "admin", "correct horse battery"
GCODE = Path(__file__).parents[2] / "demo" / "gcode"
LINK_KEY = LinkKey(b"the key of the house")
Json = dict[str, Any]

PROFILE = Profile(
    kinematics="cartesian",
    model="Test One",
    size_min_mm=(0.0, 0.0, 0.0),
    size_max_mm=(250.0, 250.0, 250.0),
    nozzle_mm=0.4,
    extruder_max_c=300.0,
    bed_max_c=120.0,
)


async def eventually(what: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(deadline_s):
        while not what():  # noqa: ASYNC110  # nothing tells when it changes
            await asyncio.sleep(0.01)


class Host:
    """Answers each desired at once: prepares, prints, and stays there until told otherwise."""

    def __init__(self, engine: Engine, printer_id: str) -> None:
        self._engine = engine
        self.printer_id = printer_id
        self.report = Report(
            session=f"session-{printer_id}",
            sequence=0,
            klipper=Klipper(link=Link.READY, print_state="standby"),
            bed=Bed(clear=True, token="bed-1"),
            profile=PROFILE,
            filament=Filament(material="PLA"),
            machine=printer_id,
            section=True,
        )
        self.commands: list[Command] = []
        self.silent = False
        self.link = ""

    def say(self, **changes: Any) -> None:
        """Report, with what has changed."""
        self.report = replace(self.report, sequence=self.report.sequence + 1, **changes)
        if not self.silent:
            self._engine.hear_report(self.printer_id, self.report)

    def take(self, desired: Desired) -> None:
        """What a host does about a desired state, without the doing."""
        tries = self.report.attempts
        order = desired.order
        if order is not None:
            self.link = order.file.url.partition("/api/v1")[2]
            phase = {
                Want.PREPARE: Phase.PREPARED,
                Want.START: Phase.PRINTING,
                Want.RUN: Phase.PRINTING,
                Want.PAUSE: Phase.PAUSED,
            }.get(order.want, Phase.ENDED)
            ends = Outcome.CANCELLED if order.want is Want.CANCEL else Outcome.NOT_STARTED
            tries = (
                AttemptReport(
                    attempt=order.attempt,
                    copy=order.copy,
                    job=order.job,
                    phase=phase,
                    outcome=ends if phase is Phase.ENDED else Outcome.NONE,
                    cause="asked" if phase is Phase.ENDED else "",
                    pause="pause-1" if phase is Phase.PAUSED else "",
                ),
            )
        busy = bool(tries) and tries[0].phase in (Phase.PRINTING, Phase.PAUSED)
        self.say(
            observed_term=desired.term,
            observed_generation=desired.generation,
            attempts=tries,
            refusals=(Reason("printing", "it prints"),) if busy else (),
        )

    def finish(self, outcome: Outcome = Outcome.COMPLETE, cause: str = "") -> None:
        """End what it prints."""
        ended = replace(self.report.attempts[0], phase=Phase.ENDED, outcome=outcome, cause=cause)
        self.say(attempts=(ended,), refusals=())


class Bus:
    """Hands everything published to the hosts, and the beacon back to the engine."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.hosts: dict[str, Host] = {}
        self.events: list[JobEvent] = []

    async def publish_desired(self, printer_id: str, desired: Desired) -> None:
        if printer_id in self.hosts:
            self.hosts[printer_id].take(desired)

    async def publish_command(self, printer_id: str, command: Command) -> None:
        host = self.hosts[printer_id]
        host.commands.append(command)
        if command.kind is CommandKind.BED_CLEAR and command.token == host.report.bed.token:
            host.say(bed=Bed(clear=True, token=command.token), refusals=())

    async def publish_job_event(self, event: JobEvent) -> None:
        self.events.append(event)

    async def publish_beacon(self, beacon: Beacon) -> None:
        assert self.engine is not None
        self.engine.hear_beacon(beacon)


class MovableClock(SystemClock):
    """The wall clock of logins: `ahead_s` is how far they believe to be in the future."""

    ahead_s = 0.0

    def now(self) -> Now:
        now = super().now()
        return Now(now.boot_s, now.wall_s + self.ahead_s)


class House:
    """`async with House(tmp_path) as house`: a server on a free port, and hosts to order about."""

    def __init__(
        self,
        folder: Path,
        inspector: Inspector | None = None,
        is_set_up: bool = True,
        **limits: int,
    ) -> None:
        self.is_set_up = is_set_up
        self.bus = Bus()
        self.revoked: list[str] = []
        self.broker_away = False
        self.store = SqlStore(f"sqlite+aiosqlite:///{folder}/moonfleet.db")
        self.content = ContentStore(folder / "content", **{"reserve_bytes": 0, **limits})
        ids: Iterator[str] = fresh_ids()
        settings = Settings(
            lease_s=2.0, fence_s=5.0, fence_margin_s=1.0, offline_grace_s=30.0, link_key=LINK_KEY
        )
        self.engine = Engine(self.store, self.bus, SystemClock(), settings, ids)
        self.bus.engine = self.engine
        self.clock = MovableClock()
        self.people = People(self.store.people, self.clock, CHEAP)
        self.services = Services(
            engine=self.engine,
            store=self.store,
            people=self.people,
            content=self.content,
            inspector=inspector or Inspector(),
            ids=ids,
            make_credentials=self._make_credentials,
            trust=self._trust(),
            version="1.2.3",
        )
        self.url = ""
        self.key = ""
        self._client = AsyncHTTPClient(force_instance=True)

    async def __aenter__(self) -> House:
        await self.store.open()
        await self.content.start()
        await self.engine.start()
        self._run = asyncio.create_task(self.engine.run())
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = HTTPServer(make_app(self.services))
        self._server.add_sockets(sockets)
        await eventually(lambda: self.engine.farm.reign.connected_s is not None)
        if self.is_set_up:
            self.key = await self.admin_key()
        return self

    async def admin_key(self) -> str:
        """Make the first user, an admin, and a key of theirs."""
        who = Who("test")
        opened = await self.people.logins.set_up(ADMIN, PASSWORD, who)
        key, _ = await self.people.accounts.make_key(opened.identity, "test", "", None, who)
        return key

    async def __aexit__(self, *_: object) -> None:
        self._server.stop()
        await self._server.close_all_connections()
        self._client.close()
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)
        await self.content.close()
        self.people.close()
        await self.store.close()

    async def ask(
        self, method: str, path: str, body: Json | bytes | str | None = None, **headers: str
    ) -> HTTPResponse:
        """One request, by the admin's key unless it bears another proof (Authorization="": none).

        The path is below /api/v1.
        """
        raw = json.dumps(body) if isinstance(body, dict) else body
        if raw is None and method in ("POST", "PATCH"):
            raw = b""
        if self.key and not headers.keys() & {"Authorization", "Cookie"}:
            headers |= self.bearer
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if not named.get("Authorization", "."):
            del named["Authorization"]
        return await self._client.fetch(
            f"{self.url}/api/v1{path}",
            method=method,
            body=raw,
            headers=named,
            raise_error=False,
            request_timeout=DEADLINE_S,
            allow_nonstandard_methods=True,
        )

    @property
    def bearer(self) -> dict[str, str]:
        """The header of the admin's key."""
        return {"Authorization": f"Bearer {self.key}"}

    async def get(self, path: str, status: int = 200) -> Json:
        return told(await self.ask("GET", path), status)

    async def post(
        self, path: str, body: Json | bytes | str | None = None, status: int = 200
    ) -> Json:
        return told(await self.ask("POST", path, body), status)

    async def upload(self, name: str = "tile_pla.gcode") -> str:
        """Upload one of the demo's sliced files; returns its sha256."""
        answer = told(await self.ask("POST", f"/files?name={name}", (GCODE / name).read_bytes()))
        sha256: str = answer["file"]["sha256"]
        return sha256

    async def submit(self, **order: Any) -> Json:
        """Order copies of the tile."""
        order.setdefault("file", await self.upload())
        job: Json = (await self.post("/jobs", order, 201))["job"]
        return job

    async def add_host(self, printer_id: str, **report: Any) -> Host:
        """Add a printer and bring its host up to where the farm would use it."""
        await self.post("/printers", {"id": printer_id}, 201)
        host = Host(self.engine, printer_id)
        self.bus.hosts[printer_id] = host
        host.say(**report)
        await eventually(lambda: self.engine.farm.printers[printer_id].session)
        return host

    async def job(self, job_id: str) -> Json:
        job: Json = (await self.get(f"/jobs/{job_id}"))["job"]
        return job

    async def until_copies(self, job_id: str, **counts: int) -> Json:
        """Wait until a job's counts are these."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                job = await self.job(job_id)
                if all(job["counts"][name] == number for name, number in counts.items()):
                    return job
                await asyncio.sleep(0.02)

    def _trust(self) -> Trust:
        """Codes are real; the CA, the broker and its accounts are not."""
        return Trust(
            pairings=Pairings(self.store.pairings, SystemClock(), lambda: CA_PEM),
            ca_pem=lambda: CA_PEM,
            broker_ca=lambda: b"",
            urls=lambda: ("https://farm.example:8443",),
            broker_from=lambda name: BrokerForHosts(name, 8883, tls=True),
            revoke=self._revoke,
        )

    async def _revoke(self, printer_id: str) -> bool:
        self.revoked.append(printer_id)
        return True

    async def _make_credentials(self, printer_id: str) -> str:
        if self.broker_away:
            raise BrokerAway(f"the broker was not told of {printer_id}")
        return f"password of {printer_id}"


def told(response: HTTPResponse, status: int | None = None) -> Json:
    """The JSON of an answer, with the status that it should have."""
    answer: Json = json.loads(response.body)
    assert status in (None, response.code), answer
    assert answer["ok"] is (response.code < 400), answer
    if not answer["ok"]:
        assert answer["status"] == response.code
        assert answer["error"]
        assert "field" in answer
    return answer
