"""TLS on a host: what is verified, what is said of what fails, and that nothing falls back."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tornado.httpserver
import tornado.netutil
import tornado.web
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from coordinator.trust.authority import new_key
from coordinator.trust.certificates import make_authority, make_server, names_of
from demo.waiting import until
from moonraker_component import transfer
from moonraker_component.cache import Cache, TransferError
from moonraker_component.files import reached
from moonraker_component.link import Address, Connection, Message
from moonraker_component.transfer import Download
from moonraker_component.wire import FileRef

CONTENT = b"G28\n" * 1000
HERE = ("127.0.0.1", "localhost")
DAY = timedelta(days=1)
WILL = Message("farm/p1/online", b"gone")


class Farm:
    """A CA of its own, and certificates by it."""

    def __init__(self, folder: Path) -> None:
        self.key, self.made_at = new_key(), datetime.now(UTC)
        self.ca = make_authority(self.key, self.made_at - 1000 * DAY)
        self.ca_path = folder / "ca.pem"
        self.ca_path.write_bytes(self.ca.public_bytes(Encoding.PEM))
        self._folder = folder

    def context(self, names: tuple[str, ...] = HERE, age: timedelta = DAY) -> ssl.SSLContext:
        """A server's side by a certificate that was made so long ago."""
        key = new_key()
        made = make_server(key, names_of(names), self.ca, self.key, self.made_at - age)
        path = self._folder / "server.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + made.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


class Gcode(tornado.web.RequestHandler):
    def get(self) -> None:
        if self.get_argument("to", ""):
            self.redirect(self.get_argument("to"))
            return
        assert self.get_argument("signature") == "s"
        self.finish(CONTENT)


@asynccontextmanager
async def web(context: ssl.SSLContext | None) -> AsyncIterator[int]:
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    app = tornado.web.Application([(r"/.*", Gcode)])
    server = tornado.httpserver.HTTPServer(app, ssl_options=context)
    server.add_sockets(sockets)
    yield sockets[0].getsockname()[1]
    server.stop()
    await server.close_all_connections()


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm(tmp_path)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(transfer, "BACKOFF_MAX_S", 0.02)


async def download(farm: Farm, url: str, folder: Path) -> None:
    cache = Cache(folder / "cache", 1 << 20, 0)
    cache.prepare()
    file = FileRef("a.gcode", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), url)
    await asyncio.to_thread(Download(cache, file, str(farm.ca_path)).run)
    assert cache.has(file.sha256)


DEFECTS = [
    ({"age": timedelta(days=500)}, "this computer's clock says"),
    ({"age": timedelta(days=-2)}, "this computer's clock says"),
    ({"names": ("other.example",)}, "for another name"),
]


async def test_a_file_comes_by_the_farms_ca(farm: Farm, tmp_path: Path) -> None:
    async with web(farm.context()) as port:
        for host in HERE:
            await download(farm, f"https://{host}:{port}/f?signature=s", tmp_path / host)


@pytest.mark.parametrize(("defect", "told"), DEFECTS)
async def test_no_file_comes_by_a_certificate_that_does_not_hold(
    farm: Farm, tmp_path: Path, defect: dict[str, timedelta], told: str
) -> None:
    async with web(farm.context(**defect)) as port:  # type: ignore[arg-type]
        with pytest.raises(TransferError, match=told) as caught:
            await download(farm, f"https://127.0.0.1:{port}/f?signature=s", tmp_path)
        assert "signature" not in str(caught.value)


async def _answer_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def test_no_file_comes_by_another_ca_or_in_the_clear(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Farm(tmp_path / "other")
    async with web(other.context()) as port:
        with pytest.raises(TransferError, match="not of the CA that this host trusts"):
            await download(farm, f"https://127.0.0.1:{port}/f?signature=s", tmp_path)
    plain = await asyncio.start_server(_answer_plainly, "127.0.0.1", 0)
    async with plain:
        port = plain.sockets[0].getsockname()[1]
        with pytest.raises(TransferError, match="does not speak TLS"):
            await download(farm, f"https://127.0.0.1:{port}/f?signature=s", tmp_path)
    with pytest.raises(TransferError, match="https is needed beyond this computer"):
        await download(farm, "http://192.0.2.1/f?signature=s", tmp_path)


async def test_a_redirect_is_not_followed(farm: Farm, tmp_path: Path) -> None:
    async with web(None) as plain, web(farm.context()) as port:
        away = f"http://127.0.0.1:{plain}/f%3Fsignature=s"
        with pytest.raises(TransferError, match="HTTP 302"):
            await download(farm, f"https://127.0.0.1:{port}/f?to={away}", tmp_path)


class Heard:
    def __init__(self) -> None:
        self.faults: list[str] = []

    def note_connected(self) -> None:
        self.faults.append("connected")

    def note_lost(self, fault: str) -> None:
        self.faults.append(fault)

    def note_message(self, topic: str, payload: bytes, retained: bool) -> None:
        raise AssertionError(topic)


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("defect", "told"), DEFECTS)
async def test_the_link_tells_what_does_not_hold_and_sends_nothing(
    farm: Farm, defect: dict[str, timedelta], told: str
) -> None:
    received = bytearray()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(100))
        writer.close()

    context = farm.context(**defect)  # type: ignore[arg-type]
    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
    heard = Heard()
    port = server.sockets[0].getsockname()[1]
    address = Address("127.0.0.1", port, "p1", "secret", str(farm.ca_path))
    link = Connection(address, "test", WILL, (), heard)
    link.start()
    try:
        await until("two tries", lambda: len(heard.faults) >= 2)
        assert all(told in fault for fault in heard.faults)
        assert received == b""
    finally:
        await link.stop(WILL)
        server.close()
        del link
        gc.collect()


@pytest.mark.parametrize(
    ("base", "url", "wanted"),
    [
        ("", "http://127.0.0.1:8008/a?b=c", "http://127.0.0.1:8008/a?b=c"),
        ("https://f:8443", "http://127.0.0.1:8008/a/b?c=d&e", "https://f:8443/a/b?c=d&e"),
        ("https://f:8443", "https://evil.example/a", "https://f:8443/a"),
        ("https://f:8443", "http://user@evil.example:1/a#x", "https://f:8443/a"),
        ("https://f:8443", "http://[", "http://["),
    ],
)
def test_only_path_and_query_of_an_order_count(base: str, url: str, wanted: str) -> None:
    assert reached(base, url) == wanted
