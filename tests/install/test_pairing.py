"""`install.sh host --coordinator --code`: a host joins a real farm by TLS, and by nothing less."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tornado.httpserver
import tornado.netutil
import tornado.web
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from coordinator.app import Coordinator
from coordinator.config import load
from coordinator.trust import codes
from coordinator.trust.authority import new_key
from coordinator.trust.certificates import make_authority, make_server, names_of
from demo.login import CHEAP_HASHES, Login, bearer
from demo.waiting import until
from moonraker_component.link import Address, Connection, Message
from tests.install.host_tree import Host
from tests.install.test_host import options
from tests.trust.conftest import OPTIONS

WILL = Message("x", b"")


class Farm(NamedTuple):
    coordinator: Coordinator
    key: str

    @property
    def url(self) -> str:
        return f"https://localhost:{self.coordinator.https_port}"

    @property
    def plain_url(self) -> str:
        return f"http://127.0.0.1:{self.coordinator.http_port}"

    async def ask(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.plain_url}/api/v1{path}", json.dumps(body).encode(), headers=bearer(self.key)
        )
        answer = await asyncio.to_thread(urllib.request.urlopen, request)
        return json.load(answer)

    async def code(self, printer: str = "") -> str:
        made: str = (await self.ask("/pairings", {"printer": printer}))["code"]
        return made


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    config = load(None, [*OPTIONS, *CHEAP_HASHES])
    async with Coordinator(config, tmp_path / "farm") as coordinator:
        url = f"http://127.0.0.1:{coordinator.http_port}"
        key = await asyncio.to_thread(Login(tmp_path).key, url)
        yield Farm(coordinator, key)


async def install(host: Host, *arguments: str) -> tuple[int, str]:
    done = await asyncio.to_thread(host.install, "host", *arguments)
    return done.returncode, done.stdout


def files_of(host: Host, data: str) -> dict[str, Path]:
    folder = host.home / data
    return {
        "conf": folder / "config/moonfleet.conf",
        "password": folder / "moonfleet.password",
        "ca": folder / "moonfleet.ca.pem",
    }


class Heard:
    """A listener that knows whether the broker took the login."""

    def __init__(self) -> None:
        self.connected = False
        self.faults: list[str] = []

    def note_connected(self) -> None:
        self.connected = True

    def note_lost(self, fault: str) -> None:
        self.connected = False
        self.faults.append(fault)

    def note_message(self, topic: str, payload: bytes, retained: bool) -> None: ...


def link_of(host: Host, data: str) -> tuple[Connection, Heard]:
    """The component's own connection by what was installed."""
    told, files, heard = options(files_of(host, data)["conf"]), files_of(host, data), Heard()
    address = Address(
        told["mqtt_address"],
        int(told["mqtt_port"]),
        told["mqtt_username"],
        files["password"].read_text().strip(),
        str(files["ca"]),
    )
    # Mosquitto refuses a login with a will that the account may not publish.
    own = f"moonfleet/v1/printers/{told['printer_id']}"
    will = Message(f"{own}/online", b"{}")
    return Connection(address, "test", will, (f"{own}/desired",), heard), heard


async def log_in(host: Host, data: str) -> None:
    """Fails unless the broker takes what was installed."""
    link, heard = link_of(host, data)
    link.start()
    try:
        await until("a login", lambda: heard.connected)
    finally:
        await link.stop(WILL)


async def test_a_host_with_two_printers_joins_by_one_code(host: Host, farm: Farm) -> None:
    host.add_instance("printer_1_data", "-1")
    host.give_to_user()
    code = (await farm.code()).lower().replace("-", " ")
    status, said = await install(host, "--coordinator", farm.url, "--code", code)
    assert status == 0, said
    ids = []
    for data in ("printer_data", "printer_1_data"):
        files = files_of(host, data)
        told = options(files["conf"])
        assert told["mqtt_address"] == "localhost"
        assert told["mqtt_port"] == str(farm.coordinator.mqtt_tls_port)
        assert told["coordinator_url"] == farm.url
        assert told["mqtt_tls_ca"] == f"/home/pi/{data}/moonfleet.ca.pem"
        assert "mqtt_tls" not in told
        assert stat.S_IMODE(files["password"].stat().st_mode) == 0o600
        assert files["ca"].read_bytes() == farm.coordinator.keeper.ca_pem
        assert files["password"].read_text().strip() not in said
        await log_in(host, data)
        ids.append(told["printer_id"])
    assert ids[1] == ids[0] + "-1"
    assert set(farm.coordinator.engine.farm.printers) == set(ids)
    before = host.snapshot()
    status, said = await install(host)
    assert "nothing to change" in said
    assert host.snapshot() == before


async def test_pairing_again_renews_and_ends_the_old(host: Host, farm: Farm) -> None:
    first = ("--printer-id", "left", "--coordinator", farm.url, "--code", await farm.code())
    assert (await install(host, *first))[0] == 0
    files = files_of(host, "printer_data")
    files["conf"].write_text(files["conf"].read_text() + "# by hand\n")
    old = files["password"].read_text().strip()
    link, heard = link_of(host, "printer_data")
    link.start()
    await until("logged in", lambda: heard.connected)
    code = await farm.code("left")
    status, said = await install(host, "--coordinator", farm.plain_url, "--code", code)
    assert status == 0, said
    await until("thrown out and refused", lambda: any("refuses" in f for f in heard.faults))
    await link.stop(WILL)
    told = options(files["conf"])
    assert (told["mqtt_address"], told["mqtt_port"]) == (
        "127.0.0.1",
        str(farm.coordinator.mqtt_port),
    )
    assert not {"mqtt_tls_ca", "coordinator_url"} & set(told)
    assert files["conf"].read_text().endswith("# by hand\n")
    assert files["password"].read_text().strip() != old


async def test_a_revoked_host_is_out_at_once_and_comes_in_again_by_a_code(
    host: Host, farm: Farm
) -> None:
    first = ("--printer-id", "left", "--coordinator", farm.url, "--code", await farm.code())
    assert (await install(host, *first))[0] == 0
    link, heard = link_of(host, "printer_data")
    link.start()
    await until("logged in", lambda: heard.connected)
    await farm.ask("/printers/left/revoke", {})
    await until("thrown out and refused", lambda: any("refuses" in f for f in heard.faults))
    await link.stop(WILL)
    code = await farm.code("left")
    assert (await install(host, "--coordinator", farm.url, "--code", code))[0] == 0
    await log_in(host, "printer_data")
    assert farm.coordinator.engine.farm.printers["left"].hold == ""


async def test_what_cannot_join_changes_nothing(host: Host, farm: Farm, tmp_path: Path) -> None:
    good, other = await farm.code(), codes.code_of(codes.new_secret(), b"another farm's CA")
    unknown = codes.code_of(codes.new_secret(), farm.coordinator.keeper.ca_pem)
    closed = "https://127.0.0.1:9"
    before = host.snapshot()
    for url, code, told in (
        (farm.url, "ABCDE", "the code has 20 letters and digits"),
        (farm.url, other, "somebody else's server answers there"),
        (farm.url, unknown, "the code is not known"),
        (closed, good, "cannot be reached"),
        ("http://farm.example:8008", good, "https://HOST:8443 is needed"),
    ):
        status, said = await install(host, "--coordinator", url, "--code", code)
        assert status == 1, said
        assert told in said
        assert "nothing was changed" in said
        assert host.snapshot() == before
    # None of these spent it.
    status, said = await install(host, "--coordinator", farm.url, "--code", good)
    assert status == 0, said
    status, said = await install(host, "--coordinator", farm.url, "--code", good)
    assert "used already" in said


async def test_a_dry_run_spends_no_code(host: Host, farm: Farm) -> None:
    before, code = host.snapshot(), await farm.code()
    status, said = await install(host, "--dry-run", "--coordinator", farm.url, "--code", code)
    assert status == 0, said
    assert "would join" in said
    assert host.snapshot() == before
    assert (await install(host, "--coordinator", farm.url, "--code", code))[0] == 0


class Ca(tornado.web.RequestHandler):
    """/api/v1/ca of a coordinator whose clock is another."""

    def initialize(self, pem: bytes) -> None:
        self._pem = pem

    def get(self) -> None:
        self.finish(self._pem)


class Elsewhere(tornado.web.RequestHandler):
    """Sends whoever asks to another place, and notes who went there."""

    def initialize(self, went: list[str]) -> None:
        self._went = went

    def get(self) -> None:
        if self.request.path == "/there":
            self._went.append("there")
        self.redirect("/there")


async def test_whoever_answers_cannot_send_the_host_elsewhere(host: Host) -> None:
    went: list[str] = []
    web = tornado.httpserver.HTTPServer(
        tornado.web.Application([("/.*", Elsewhere, {"went": went})])
    )
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    web.add_sockets(sockets)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    code = codes.code_of(codes.new_secret(), b"a CA")
    status, said = await install(host, "--coordinator", url, "--code", code)
    web.stop()
    await web.close_all_connections()
    assert (status, "HTTP 302" in said, went) == (1, True, [])


@pytest.mark.parametrize("age_days", [-3, 500])
async def test_a_wrong_clock_is_told_with_both_times(
    host: Host, tmp_path: Path, age_days: int
) -> None:
    now = datetime.now(UTC)
    ca_key, key = new_key(), new_key()
    ca = make_authority(ca_key, now - timedelta(days=1000))
    server = make_server(key, names_of(["127.0.0.1"]), ca, ca_key, now - timedelta(days=age_days))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "server.pem").write_bytes(private + server.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    pem = ca.public_bytes(Encoding.PEM)
    app = tornado.web.Application([("/api/v1/ca", Ca, {"pem": pem})])
    web = tornado.httpserver.HTTPServer(app, ssl_options=context)
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    web.add_sockets(sockets)
    url = f"https://127.0.0.1:{sockets[0].getsockname()[1]}"
    code = codes.code_of(codes.new_secret(), pem)
    status, said = await install(host, "--coordinator", url, "--code", code)
    web.stop()
    await web.close_all_connections()
    assert status == 1
    assert "this computer's clock says" in said
    assert "the coordinator's says" in said


async def test_where_the_user_runs_the_broker_only_the_password_is_left_to_give(
    host: Host, tmp_path: Path, password_file: Path
) -> None:
    """The farm of a broker that is not its own: that of another farm stands for it."""
    async with Coordinator(load(None, [*OPTIONS, *CHEAP_HASHES]), tmp_path / "b") as other:
        secrets = json.loads(content(other.data_dir / "broker" / "secrets.json"))
        mine = (
            "mqtt.host=localhost",
            f"mqtt.port={other.mqtt_tls_port}",
            f"mqtt.tls_ca={other.data_dir / 'trust' / 'ca.pem'}",
            "mqtt.username=moonfleet-coordinator",
            f"mqtt.password={secrets['moonfleet-coordinator']}",
        )
        config = load(None, [*OPTIONS, *CHEAP_HASHES, *mine])
        async with Coordinator(config, tmp_path / "farm") as coordinator:
            url = f"http://127.0.0.1:{coordinator.http_port}"
            key = await asyncio.to_thread(Login(tmp_path).key, url)
            farm = Farm(coordinator, key)
            order = ("--printer-id", "left", "--coordinator", farm.url, "--code", await farm.code())
            status, said = await install(host, *order)
            assert status == 0, said
            assert "make the account left there" in said
            status, said = await install(host, "--mqtt-password-file", str(password_file))
            assert status == 0, said
            files = files_of(host, "printer_data")
            told = options(files["conf"])
            assert told["mqtt_port"] == str(other.mqtt_tls_port)
            assert told["coordinator_url"] == farm.url
            assert files["ca"].read_bytes() == coordinator.keeper.ca_pem + other.keeper.ca_pem
            assert content(files["password"]) == content(password_file)


def content(path: Path) -> str:
    return path.read_text()
