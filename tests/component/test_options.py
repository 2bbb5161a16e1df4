"""Options of [moonfleet]: defaults, limits, and one clear line for each bad one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moonraker_component import options

GOOD = {"printer_id": "left", "mqtt_address": "127.0.0.1"}


class Config:
    """A section, as Moonraker's ConfigHelper gives it."""

    def __init__(self, **values: str) -> None:
        self.values = values

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def gettemplate(self, name: str) -> Any:
        return SimpleNamespace(render=lambda: "from-a-template")


def problems(**values: str) -> list[str]:
    with pytest.raises(options.BadOptions) as error:
        options.read(Config(**{**GOOD, **values}))
    return error.value.problems


def test_two_options_are_enough() -> None:
    chosen = options.read(Config(**GOOD))
    assert (chosen.printer_id, chosen.mqtt_port, chosen.topic_prefix) == (
        "left",
        1883,
        "moonfleet/v1",
    )


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("printer_id", "", "1 to 64"),
        ("printer_id", "a/b", "1 to 64"),
        ("printer_id", "a" * 65, "1 to 64"),
        ("mqtt_address", "", "broker"),
        ("mqtt_address", "two words", "broker"),
        ("mqtt_port", "0", "1 to 65535"),
        ("mqtt_port", "abc", "1 to 65535"),
        ("mqtt_port", "-1", "1 to 65535"),
        ("topic_prefix", "/farm", "without"),
        ("topic_prefix", "farm/#", "without"),
        ("material", "x" * 65, "at most 64"),
        ("cache_quota_mb", "1.5", "whole number"),
        ("disk_reserve_mb", "1e99", "whole number"),
        ("mqtt_tls_ca", "/nowhere/ca.crt", "can read"),
        ("mqtt_password_file", "/nowhere/password", "can read"),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_what_is_allowed(
    name: str, value: str, allowed: str
) -> None:
    (problem,) = problems(**{name: value})
    assert f"[moonfleet] {name}" in problem
    assert repr(value[:64]) in problem or repr(value) in problem
    assert allowed in problem


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(printer_id="a b", mqtt_port="x")) == 2


def test_the_password_comes_from_file_template_or_option(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("s3cret-%{word\n")
    by_file = options.read(Config(**GOOD, mqtt_password_file=str(path)))
    by_template = options.read(Config(**GOOD, mqtt_password="{secrets.a}"))
    by_option = options.read(Config(**GOOD, mqtt_password="plain"))
    assert by_file.mqtt_password == "s3cret-%{word"
    assert by_template.mqtt_password == "from-a-template"
    assert by_option.mqtt_password == "plain"
    assert "s3cret" not in repr(by_file)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("mqtt_address", "farm.local", "mqtt_tls_ca"),
        ("mqtt_address", "192.168.1.5", "mqtt_tls_ca"),
        ("mqtt_tls", "perhaps", "True or False"),
        ("coordinator_url", "http://farm.local:8008", "https://"),
        ("coordinator_url", "https://", "https://"),
        ("coordinator_url", "https://user@farm.local", "https://"),
        ("coordinator_url", "https://farm.local/path", "https://"),
    ],
)
def test_beyond_this_computer_only_tls(name: str, value: str, allowed: str) -> None:
    (told,) = problems(**{name: value})
    assert name in told
    assert allowed in told


def test_tls_is_by_the_farms_ca_or_by_the_systems(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    away = {**GOOD, "mqtt_address": "farm.local", "coordinator_url": "https://farm.local:8443/"}
    chosen = options.read(Config(**away, mqtt_tls_ca=str(ca)))
    assert (chosen.mqtt_port, chosen.mqtt_tls) == (8883, False)
    assert chosen.coordinator_url == "https://farm.local:8443"
    chosen = options.read(Config(**away, mqtt_tls="True"))
    assert (chosen.mqtt_port, chosen.mqtt_tls, chosen.mqtt_tls_ca) == (8883, True, "")
