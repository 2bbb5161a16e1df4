"""A real coordinator with its doors open on loopback, and what a host does at them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509

from coordinator.app import Coordinator
from coordinator.config import load
from coordinator.trust.certificates import names_in

DEADLINE_S = 60.0
OPTIONS = (
    "server.port=0",
    "mqtt.port=0",
    "network.address=127.0.0.1",
    "network.https_port=0",
    "network.mqtt_port=0",
    "files.disk_reserve_mb=0",
)


async def until(true: Callable[[], object], what: str) -> None:
    """Wait for a condition; fails with `what` was waited for."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not true():  # noqa: ASYNC110  # nothing tells when it changes
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S:g} s: {what}") from None


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Coordinator]:
    """Doors open, at 127.0.0.1 alone."""
    async with Coordinator(load(None, list(OPTIONS)), tmp_path / "farm") as coordinator:
        yield coordinator


def ca_path(farm: Coordinator) -> Path:
    return farm.data_dir / "trust" / "ca.pem"


def by_farm(farm: Coordinator) -> ssl.SSLContext:
    """What a host verifies by."""
    return ssl.create_default_context(cafile=str(ca_path(farm)))


async def shake_hands(port: int, context: ssl.SSLContext, name: str = "localhost") -> str:
    """Connect by TLS and leave; returns the version of TLS."""
    async with asyncio.timeout(DEADLINE_S):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name
        )
    version: str = writer.get_extra_info("ssl_object").version()
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    return version


async def served(port: int, context: ssl.SSLContext) -> x509.Certificate:
    """The certificate that is served now."""
    async with asyncio.timeout(DEADLINE_S):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    assert names_in(x509.load_der_x509_certificate(der)).texts
    return x509.load_der_x509_certificate(der)
