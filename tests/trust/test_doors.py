"""The doors for other computers: who gets through, by which TLS, and by which certificate.

Mosquitto and Tornado are real; they listen on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
import requests
from paho.mqtt.enums import CallbackAPIVersion

from coordinator.app import Coordinator
from coordinator.bus import BrokerAddress, MqttBus
from coordinator.config import load
from coordinator.trust.authority import Authority, utc_now
from tests.cli.test_cli import ended, start

from .conftest import OPTIONS, by_farm, ca_path, served, shake_hands, until


def ports(farm: Coordinator) -> tuple[int, int]:
    return farm.https_port, farm.mqtt_tls_port


class Client:
    """One MQTT connection by TLS: `answers` holds what the broker said to each login."""

    def __init__(self, farm: Coordinator, username: str = "", password: str = "") -> None:
        self.answers: list[str] = []
        self.lost = 0
        self._farm = farm
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.tls_set_context(by_farm(farm))
        if username:
            self._client.username_pw_set(username, password)
        self._client.on_connect = lambda *a: self.answers.append(str(a[3]))
        self._client.on_disconnect = self._on_disconnect

    def _on_disconnect(self, *_: Any) -> None:
        self.lost += 1

    async def start(self) -> str:
        port = self._farm.mqtt_tls_port
        await asyncio.to_thread(self._client.connect, "127.0.0.1", port)
        self._client.loop_start()
        await until(lambda: self.answers, "an answer to the login")
        return self.answers[0]

    async def stop(self) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)


async def test_both_doors_are_verified_by_the_farms_ca(farm: Coordinator) -> None:
    for port in ports(farm):
        for name in ("localhost", "127.0.0.1"):
            assert await shake_hands(port, by_farm(farm), name) == "TLSv1.3"


async def test_tls_1_2_is_taken_and_older_is_not(farm: Coordinator) -> None:
    for port in ports(farm):
        context = by_farm(farm)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await shake_hands(port, context) == "TLSv1.2"
        # What this system's own OpenSSL would no longer offer, it is told to offer here.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError, match="alert protocol version"):  # the server's own word
            await shake_hands(port, context)


async def test_another_ca_and_another_name_are_refused(farm: Coordinator, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    stranger.open(utc_now())
    wrong = ssl.create_default_context(cadata=stranger.pem.decode())
    for port in ports(farm):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"signature failure|unable to get"):
            await shake_hands(port, wrong)
        with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'other\.example'"):
            await shake_hands(port, by_farm(farm), "other.example")


async def test_plain_text_at_a_door_gets_no_answer(farm: Coordinator) -> None:
    connect = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc"
    for port, words in zip(
        ports(farm), (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", connect), strict=True
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(words)
        try:
            async with asyncio.timeout(60):
                answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        assert not answer.startswith((b"HTTP", b"\x20"))
        writer.close()


async def test_the_broker_wants_a_login_behind_tls_too(farm: Coordinator) -> None:
    password = await farm.accounts.make("left")
    for login in ((), ("left", "wrong"), ("nobody", password)):
        stranger = Client(farm, *login)
        assert await stranger.start() == "Not authorized"
        await stranger.stop()
    host = Client(farm, "left", password)
    assert await host.start() == "Success"
    await host.stop()


async def test_the_api_is_served_by_name_and_address_behind_tls(farm: Coordinator) -> None:
    def ask(host: str, name: str) -> requests.Response:
        return requests.get(
            f"https://{host}:{farm.https_port}/api/v1/openapi.json",
            headers={"Host": name} if name else {},
            verify=str(ca_path(farm)),
            timeout=60,
        )

    for host in ("127.0.0.1", "localhost"):
        answer = await asyncio.to_thread(ask, host, "")
        assert answer.headers["Content-Type"].startswith("application/json")
        assert "answers to" not in answer.text
    answer = await asyncio.to_thread(ask, "127.0.0.1", "rebound.example")
    assert answer.status_code == 403
    assert "answers to" in json.loads(answer.text)["error"]


async def test_a_renewed_certificate_is_served_and_connections_stay(
    farm: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here because the machine got another address."""
    host = Client(farm, "left", await farm.accounts.make("left"))
    assert await host.start() == "Success"
    before = [await served(port, by_farm(farm)) for port in ports(farm)]
    monkeypatch.setattr(farm.keeper, "_addresses", lambda: ("192.0.2.7",))
    await farm.keeper.look(farm.load_certificate)
    for port, old in zip(ports(farm), before, strict=True):
        async with asyncio.timeout(60):
            # Nothing tells when Mosquitto has done it.
            while (await served(port, by_farm(farm))).serial_number == old.serial_number:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await shake_hands(port, by_farm(farm), "192.0.2.7")
    assert host.lost == 0
    again = Client(farm, "left", await farm.accounts.make("left"))
    assert await again.start() == "Success"  # accounts outlived the broker's reload
    await again.stop()
    await host.stop()


async def test_without_an_address_there_is_no_door(tmp_path: Path) -> None:
    options = [option for option in OPTIONS if not option.startswith("network.")]
    async with Coordinator(load(None, options), tmp_path / "farm") as farm:
        conf = (farm.data_dir / "broker" / "mosquitto.conf").read_text()
        assert [line for line in conf.splitlines() if line.startswith("listener")] == [
            f"listener {farm.mqtt_port} 127.0.0.1"
        ]
        assert not farm.keeper.certificate_path.exists()
        assert (farm.data_dir / "trust" / "ca.pem").exists()


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
async def test_a_broker_of_ones_own_is_verified_by_name_and_ca(
    farm: Coordinator, tmp_path: Path
) -> None:
    """The farm's broker stands for the user's; the bus is that of another coordinator."""
    login = json.loads((farm.data_dir / "broker/secrets.json").read_text())
    Authority(tmp_path / "stranger").open(utc_now())
    stranger_ca = tmp_path / "stranger" / "ca.pem"

    async def bus(host: str, ca: Path) -> MqttBus:
        address = BrokerAddress(
            host,
            farm.mqtt_tls_port,
            "moonfleet-coordinator",
            login["moonfleet-coordinator"],
            str(ca),
        )
        made = MqttBus(address, "test")
        await made.start()
        return made

    good = await bus("localhost", ca_path(farm))
    try:
        await until(lambda: good.connected, "the bus to be connected by TLS")
    finally:
        await good.stop()
    # Linux takes 0.0.0.0 for itself, and no certificate is for it.
    for host, ca in (("localhost", stranger_ca), ("0.0.0.0", ca_path(farm))):
        bad = await bus(host, ca)
        try:
            await until(lambda bad=bad: bad._said, "the refusal to be told")  # type: ignore[misc]
            assert "certificate verify failed" in bad._said["broker"]
            assert not bad.connected
        finally:
            await bad.stop()
            del bad
            gc.collect()


async def test_the_command_line_verifies_by_the_farms_ca(farm: Coordinator) -> None:
    url = f"https://localhost:{farm.https_port}"
    asked = await ended(await start(url, "farm", MOONFLEET_CA=str(ca_path(farm))))
    assert asked.code == 6, asked.errors  # it was answered: nobody is logged in
    asked = await ended(await start(url, "farm"))
    assert asked.code == 3
    assert "--ca" in asked.errors
    asked = await ended(await start(url, "--ca", "/nowhere", "farm"))
    assert asked.code == 2
