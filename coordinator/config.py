"""The coordinator's configuration: one TOML file, checked once, frozen afterwards.

Owns the options, their defaults and their bounds. Must not start anything.

    moonfleet.toml in the data folder, or --config PATH; single options by --set farm.lease_s=10
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from coordinator.core.farm import Settings
from coordinator.trust.certificates import BadName
from coordinator.trust.keeper import checked_names
from moonraker_component import wire


class ConfigError(ValueError):
    """The configuration cannot be used: names file, option, value and what is allowed."""


Port = Annotated[int, Meta(ge=0, le=65535)]


class ServerOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Plain HTTP, on loopback alone; what is reached from elsewhere speaks TLS: `network`.

    `public_url` is how hosts reach the coordinator, for their downloads; empty: the address.
    """

    address: str = "127.0.0.1"
    port: Port = 8008
    public_url: str = ""


class MqttOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The broker. An empty `host`: the coordinator runs a Mosquitto of its own on `port`.

    `tls`: verify your own broker by the system's CAs; `tls_ca`: by this one.
    """

    host: str = ""
    port: Port = 1883
    username: str = ""
    password: str = ""
    tls: bool = False
    tls_ca: str = ""
    prefix: str = wire.PREFIX


class NetworkOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The doors for other computers: HTTPS and MQTT over TLS on `address`; empty: closed.

    `names`: under which this server is reached, beside its own. `certificate`, `key`, `ca`: the
    user's own instead of the farm's; `ca` empty: the last one in the file `certificate`.
    """

    address: str = ""
    https_port: Port = 8443
    mqtt_port: Port = 8883
    names: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""
    ca: str = ""


class FarmOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Times of the farm, in seconds. See docs/configuration.md for what each one costs."""

    lease_s: Annotated[float, Meta(ge=0.5, le=600)] = 15.0
    fence_s: Annotated[float, Meta(ge=0.5, le=86400)] = 120.0
    fence_margin_s: Annotated[float, Meta(ge=0, le=86400)] = 120.0
    offline_grace_s: Annotated[float, Meta(ge=1, le=2592000)] = 300.0
    prepare_s: Annotated[float, Meta(ge=1, le=86400)] = 1800.0
    express_patience_s: Annotated[float, Meta(ge=1)] = 7200.0
    rest_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0


class PeopleOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a session lasts, unused and at all, and what checking a password costs."""

    session_idle_s: Annotated[float, Meta(ge=60, le=31536000)] = 604800.0
    session_max_s: Annotated[float, Meta(ge=60, le=31536000)] = 2592000.0
    hash_memory_kib: Annotated[int, Meta(ge=8, le=1048576)] = 32768
    hash_passes: Annotated[int, Meta(ge=1, le=100)] = 3


class FileOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The stored G-code: largest file, and disk space that is never used up."""

    size_max_mb: Annotated[int, Meta(ge=1)] = 1900
    disk_reserve_mb: Annotated[int, Meta(ge=0)] = 200


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything. `database_url` empty: SQLite in the data folder."""

    server: ServerOptions = ServerOptions()
    mqtt: MqttOptions = MqttOptions()
    network: NetworkOptions = NetworkOptions()
    farm: FarmOptions = FarmOptions()
    people: PeopleOptions = PeopleOptions()
    files: FileOptions = FileOptions()
    database_url: str = ""


LOOPBACK = ("127.0.0.1", "::1", "localhost")
PLAIN_ELSEWHERE = "what other computers reach speaks TLS"
SECRET = ("mqtt.password", "database_url")
"""Options whose value is not repeated in an error: it may go into a log."""


def load(path: Path | None, overrides: list[str]) -> Config:
    """Read the file (none: all defaults), lay `section.option=value` over it, check everything."""
    data: dict[str, Any] = {}
    if path is not None and path.exists():
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not TOML: {error}") from error
    for override in overrides:
        _lay_over(data, override)
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path or 'configuration'}: {_told(data, error)}") from error
    _check(config)
    return config


def settings_of(config: Config) -> Settings:
    """The part that decisions depend on."""
    farm = config.farm
    base = config.server.public_url.rstrip("/")
    address = config.server.address
    host = f"[{address}]" if ":" in address else address
    base = base or f"http://{host}:{config.server.port}"
    return Settings(
        lease_s=farm.lease_s,
        fence_s=farm.fence_s,
        fence_margin_s=farm.fence_margin_s,
        offline_grace_s=farm.offline_grace_s,
        prepare_s=farm.prepare_s,
        express_patience_s=farm.express_patience_s,
        rest_s=farm.rest_s,
        file_url=base + "/api/v1/attempts/{attempt}/file",
    )


def _lay_over(data: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *sections, option = name.strip().split(".")
    if not equals or not option or len(sections) > 1:
        raise ConfigError(f"--set {override!r}: write section.option=value")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise ConfigError(f"--set {name}: {section} is given as a value, not as a section")
    data[option] = parsed["value"] if len(parsed) == 1 else text


def _told(data: dict[str, Any], error: msgspec.ValidationError) -> str:
    """The error with its option's name and value in front, where it has them."""
    place = re.search(r" - at `\$\.([\w.]+)`", str(error))
    if place is None:
        return str(error)
    name, value = place[1], data
    for part in name.split("."):
        value = value[part]
    shown = name if name in SECRET else f"{name} {value!r}"
    return f"{shown}: {str(error)[: place.start()]}"


def _check(config: Config) -> None:
    farm = config.farm
    if config.server.address not in LOOPBACK:
        raise ConfigError(
            f"server.address {config.server.address!r}: only {', '.join(LOOPBACK)}, for it is not"
            f" encrypted; {PLAIN_ELSEWHERE}: set network.address instead"
        )
    if farm.lease_s > farm.fence_s:
        raise ConfigError(f"farm.fence_s {farm.fence_s:g}: not below lease_s ({farm.lease_s:g})")
    least_s = 2 * farm.lease_s
    if farm.offline_grace_s < least_s:
        raise ConfigError(
            f"farm.offline_grace_s {farm.offline_grace_s:g}: at least two leases ({least_s:g})"
        )
    _check_public_url(config.server.public_url)
    _check_mqtt(config.mqtt)
    _check_network(config.network)


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, by what it says alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_public_url(text: str) -> None:
    url = urlsplit(text)
    if text and (url.scheme not in ("http", "https") or not url.hostname):
        raise ConfigError(f"server.public_url {text!r}: http:// or https:// and a host")
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise ConfigError(f"server.public_url {text!r}: https://, for {PLAIN_ELSEWHERE}")


def _check_mqtt(mqtt: MqttOptions) -> None:
    if mqtt.tls_ca and not os.access(mqtt.tls_ca, os.R_OK):
        raise ConfigError(f"mqtt.tls_ca {mqtt.tls_ca!r}: a file that can be read")
    if mqtt.host and not (mqtt.tls or mqtt.tls_ca or is_loopback(mqtt.host)):
        raise ConfigError(
            f"mqtt.host {mqtt.host!r}: {PLAIN_ELSEWHERE}: give mqtt.tls_ca (the broker's CA), or"
            " mqtt.tls = true if its certificate is of a public one"
        )
    try:
        wire.Topics(mqtt.prefix)
    except wire.WireError as error:
        raise ConfigError(f"mqtt.prefix: {error}") from error


def _check_network(network: NetworkOptions) -> None:
    if network.address:
        try:
            ipaddress.ip_address(network.address)
        except ValueError:
            raise ConfigError(
                f"network.address {network.address!r}: an address of this machine, 0.0.0.0 (all of"
                " IPv4), :: (all), or nothing"
            ) from None
    try:
        checked_names(network.names)
    except BadName as error:
        raise ConfigError(f"network.names: {error}") from error
    if bool(network.certificate) != bool(network.key):
        raise ConfigError("network.certificate and network.key: give both, or neither")
    if network.ca and not network.certificate:
        raise ConfigError("network.ca: only with network.certificate; the farm has its own CA")
