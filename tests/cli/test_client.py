"""Where a key or a password may be sent to."""

from __future__ import annotations

import pytest

from coordinator.cli.client import Client, Usage


@pytest.mark.parametrize(
    "url",
    [
        "http://farm.local:8008",
        "http://192.0.2.1:8008",
        "http://127.0.0.1.farm.example",
        "http://127.0.0.1@farm.example",
        "http://[fd00::1]:8008",
        "http://",
        "http://[",
    ],
)
def test_nothing_goes_over_a_network_in_plain(url: str) -> None:
    with pytest.raises(Usage, match="--url"):
        Client(url, "mf_key")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8008", "http://localhost:8008/", "http://[::1]:8008", "https://farm.local"],
)
def test_where_it_may_go(url: str) -> None:
    assert Client(url, "mf_key").url == url.rstrip("/")
