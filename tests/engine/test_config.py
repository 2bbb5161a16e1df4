"""The configuration: every option's bounds, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.config import Config, ConfigError, FarmOptions, load, settings_of

BOUNDS: dict[str, tuple[float, float | None]] = {
    "server.port": (0, 65535),
    "mqtt.port": (0, 65535),
    "network.https_port": (0, 65535),
    "network.mqtt_port": (0, 65535),
    "farm.lease_s": (0.5, 600),
    "farm.fence_s": (0.5, 86400),
    "farm.fence_margin_s": (0, 86400),
    "farm.offline_grace_s": (1, 2592000),
    "farm.prepare_s": (1, 86400),
    "farm.express_patience_s": (1, None),
    "farm.rest_s": (0, 3600),
    "people.session_idle_s": (60, 31536000),
    "people.session_max_s": (60, 31536000),
    "people.hash_memory_kib": (8, 1048576),
    "people.hash_passes": (1, 100),
    "files.size_max_mb": (1, None),
    "files.disk_reserve_mb": (0, None),
}
# What must be so for the bound itself to be reached: a lease fits into fence and grace.
ROOM = ["farm.lease_s=0.5", "farm.fence_s=86400", "farm.offline_grace_s=2592000"]


def set_(*options: str) -> Config:
    return load(None, list(options))


def value_of(config: Config, name: str) -> Any:
    section, _, option = name.partition(".")
    return getattr(getattr(config, section), option)


def test_every_number_has_its_bounds_tested() -> None:
    numbers = {
        f"{section.name}.{option.name}"
        for section in msgspec.structs.fields(Config)
        if isinstance(section.type, type) and issubclass(section.type, msgspec.Struct)
        for option in msgspec.structs.fields(section.type)
        if option.type not in (str, bool, tuple[str, ...])
    }
    assert numbers == set(BOUNDS)


@pytest.mark.parametrize("name", BOUNDS)
def test_the_bounds_themselves_are_taken(name: str) -> None:
    for bound in BOUNDS[name]:
        if bound is not None:
            room = ROOM if name != "farm.lease_s" else ROOM[1:]
            assert value_of(set_(*room, f"{name}={bound}"), name) == bound


@pytest.mark.parametrize("name", BOUNDS)
def test_what_is_outside_its_bounds_is_refused_by_name_and_value(name: str) -> None:
    least, most = BOUNDS[name]
    bad = [least - 1, "nan", '"text"', "true", "[]"]
    bad += [most + 1, "inf"] if most is not None else []
    for value in bad:
        with pytest.raises(ConfigError, match=rf"{name} .*: Expected"):
            set_(*ROOM, f"{name}={value}")


def test_without_a_file_everything_has_its_default() -> None:
    assert set_() == Config()
    assert load(Path("there-is-no-such-file.toml"), []) == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[farm", "not TOML"),
        ("farm.lease_s = ", "not TOML"),
        ("\xff", "not TOML"),
        ("lease_s = 10", "unknown field `lease_s`"),
        ("[farms]\nlease_s = 10", "unknown field `farms`"),
        ("[farm]\nlease = 10", "unknown field `lease`"),
        ("farm = 3", "farm 3: Expected `object`, got `int`"),
        ("[server]\nport = '80'", "server.port '80': Expected `int`, got `str`"),
        ("[server]\nport = 80.5", "server.port 80.5: Expected `int`, got `float`"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "moonfleet.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load(path, [])
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("secret", ["mqtt.password=12345678", "database_url=12345678"])
def test_a_secret_is_not_repeated(secret: str) -> None:
    with pytest.raises(ConfigError, match=r"Expected `str`") as caught:
        set_(secret)
    assert "12345678" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("server.address=0.0.0.0", "server.address '0.0.0.0': only 127.0.0.1"),
        ("server.public_url=farm.local", "server.public_url 'farm.local': http://"),
        ("server.public_url=ftp://farm", "http:// or https://"),
        ("server.public_url=http://", "and a host"),
        ("mqtt.prefix=/farm", "mqtt.prefix: topic prefix '/farm'"),
        ("mqtt.prefix=farm/#", "mqtt.prefix"),
        ("mqtt.tls_ca=/no/such/ca.pem", "mqtt.tls_ca '/no/such/ca.pem': a file"),
        ("farm.fence_s=14", "farm.fence_s 14: not below lease_s (15)"),
        ("farm.offline_grace_s=29", "farm.offline_grace_s 29: at least two leases (30)"),
    ],
)
def test_what_does_not_go_together_is_refused(option: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_(option)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "option", ["", "x", "=1", "server", "server.=1", "a.b.c=1", "server.port", ".=1"]
)
def test_a_set_that_names_no_option_is_refused(option: str) -> None:
    with pytest.raises(ConfigError):
        set_(option)


def test_a_section_that_was_given_as_a_value_is_told_as_such() -> None:
    with pytest.raises(ConfigError, match="farm is given as a value"):
        set_("farm=1", "farm.lease_s=10")


def test_set_lies_over_the_file_and_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "moonfleet.toml"
    path.write_text("[farm]\nlease_s = 20\nrest_s = 1\n[mqtt]\nhost = 'broker'\ntls = true\n")
    config = load(path, ["farm.lease_s=10", "farm.lease_s = 12.5", "mqtt.username=me"])
    assert config.farm == FarmOptions(lease_s=12.5, rest_s=1.0)
    assert (config.mqtt.host, config.mqtt.username) == ("broker", "me")


def test_a_set_value_is_toml_or_else_the_text_itself() -> None:
    config = set_('mqtt.password="12345"', "mqtt.username=a b", "database_url=x://y\nz=1")
    assert (config.mqtt.password, config.mqtt.username) == ("12345", "a b")
    assert config.database_url == "x://y\nz=1"


@pytest.mark.parametrize(
    ("options", "base"),
    [
        ([], "http://127.0.0.1:8008"),
        (["server.port=80", "server.address=localhost"], "http://localhost:80"),
        (["server.address=::1"], "http://[::1]:8008"),
        (["server.public_url=https://farm.local/moonfleet/"], "https://farm.local/moonfleet"),
    ],
)
def test_hosts_are_given_an_address_that_works(options: list[str], base: str) -> None:
    settings = settings_of(set_(*options))
    assert settings.file_url == base + "/api/v1/attempts/{attempt}/file"


def test_all_times_of_the_farm_reach_its_settings() -> None:
    wanted = {field.name: 100.0 + n for n, field in enumerate(msgspec.structs.fields(FarmOptions))}
    wanted["offline_grace_s"] = 1000.0
    settings = settings_of(set_(*(f"farm.{name}={value}" for name, value in wanted.items())))
    assert {name: getattr(settings, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("server.address=0.0.0.0", "set network.address"),
        ("server.public_url=http://farm.example", "https://"),
        ("mqtt.host=broker.example", "mqtt.tls_ca"),
        ("mqtt.host=192.168.1.5", "mqtt.tls = true"),
        ("network.address=farm.example", "an address of this machine"),
        ('network.names=["a b"]', "neither a DNS name"),
        ("network.key=/some/key.pem", "give both"),
        ("network.ca=/some/ca.pem", "only with network.certificate"),
    ],
)
def test_nothing_but_loopback_goes_without_tls(option: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        set_(option)


@pytest.mark.parametrize(
    "options",
    [
        ("network.address=0.0.0.0",),
        ("network.address=::",),
        ("network.address=127.0.0.1", 'network.names=["farm.example"]'),
        ("mqtt.host=broker.example", "mqtt.tls=true"),
        ("mqtt.host=127.1.2.3",),
        ("server.public_url=http://localhost:8080",),
    ],
)
def test_loopback_goes_plain_and_the_rest_by_tls(options: tuple[str, ...]) -> None:
    set_(*options)
