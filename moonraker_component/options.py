"""The options of `[moonfleet]` in moonraker.conf.

Owns their names, defaults and limits, and what is said of a bad one. What it must not know: what
they are used for. It imports nothing that may be missing, so that the names are always known.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple, Optional

from .tls import is_loopback

PRINTER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
PREFIX = re.compile(r"[^/+#\s][^+#\s]*\Z")
DEFAULT_PREFIX = "moonfleet/v1"
URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-fA-F:.]+\]|[^\s/:@\[\]]+)(:[0-9]{1,5})?/?\Z"
)
PORT = 1883
PORT_TLS = 8883
TEXT_MAX = 64


class Options(NamedTuple):
    """One host's options. An empty text means that nothing was configured."""

    printer_id: str
    mqtt_address: str
    mqtt_port: int
    mqtt_username: str
    mqtt_password: str
    mqtt_tls: bool
    mqtt_tls_ca: str
    coordinator_url: str
    topic_prefix: str
    material: str
    color: str
    model: str
    cache_quota_mb: int
    disk_reserve_mb: int

    def __repr__(self) -> str:
        # Never the password, not even in a traceback.
        return f"Options({self.printer_id!r} at {self.mqtt_address}:{self.mqtt_port})"


PASSWORD_FILE = "mqtt_password_file"
NAMES = (*Options._fields, PASSWORD_FILE)


class BadOptions(ValueError):
    """Options that cannot be used; `problems` names each with its value and what is allowed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def read(config: Any) -> Options:
    """Read `[moonfleet]` (a ConfigHelper of Moonraker); raises BadOptions, naming all of them."""
    return _Reader(config).read()


class _Reader:
    """Reads option after option and remembers what was wrong."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._problems: list[str] = []

    def read(self) -> Options:
        ca, tls = self._file("mqtt_tls_ca"), self._flag("mqtt_tls")
        options = Options(
            printer_id=self._match("printer_id", PRINTER_ID, "1 to 64 of A-Z a-z 0-9 _ -"),
            mqtt_address=self._broker(ca or tls),
            mqtt_port=self._number("mqtt_port", PORT_TLS if ca or tls else PORT, 1, 65535),
            mqtt_username=self._secret("mqtt_username"),
            mqtt_password=self._password(),
            mqtt_tls=tls,
            mqtt_tls_ca=ca,
            coordinator_url=self._coordinator(),
            topic_prefix=self._match(
                "topic_prefix",
                PREFIX,
                "a topic without +, #, blanks and without / at its start",
                DEFAULT_PREFIX,
            ),
            material=self._text("material"),
            color=self._text("color"),
            model=self._text("model"),
            cache_quota_mb=self._number("cache_quota_mb", 1024, 0, 1_000_000),
            disk_reserve_mb=self._number("disk_reserve_mb", 200, 0, 1_000_000),
        )
        if self._problems:
            raise BadOptions(self._problems)
        return options

    def _get(self, name: str) -> str:
        try:
            return str(self._config.get(name, "") or "").strip()
        except Exception as error:  # whatever Moonraker's parser raises, for instance at a bad %
            self._problems.append(f"[moonfleet] {name}: cannot be read ({error})")
            return ""

    def _bad(self, name: str, value: str, allowed: str) -> None:
        self._problems.append(f"[moonfleet] {name}: {value!r} will not do, allowed: {allowed}")

    def _broker(self, tls: object) -> str:
        value = self._get("mqtt_address")
        if not value or re.search(r"\s", value):
            self._bad("mqtt_address", value, "the name or address of the broker")
        elif not tls and not is_loopback(value):
            self._bad(
                "mqtt_address",
                value,
                "this computer alone as long as nothing is encrypted; give mqtt_tls_ca (the CA of"
                " the broker), or mqtt_tls: True where a public one signed its certificate",
            )
        return value

    def _coordinator(self) -> str:
        value = self._get("coordinator_url")
        if not value:
            return ""
        found = URL.match(value)
        if not found or (found["scheme"] == "http" and not is_loopback(found["host"].strip("[]"))):
            self._bad("coordinator_url", value, "https:// and a host, or http:// on this computer")
        return value.rstrip("/")

    def _flag(self, name: str) -> bool:
        value = self._get(name).lower()
        if value not in ("", "true", "yes", "on", "1", "false", "no", "off", "0"):
            self._bad(name, value, "True or False")
        return value in ("true", "yes", "on", "1")

    def _match(self, name: str, pattern: re.Pattern[str], allowed: str, default: str = "") -> str:
        value = self._get(name) or default
        if not pattern.match(value):
            self._bad(name, value, allowed)
        return value.rstrip("/")

    def _number(self, name: str, default: int, least: int, most: int) -> int:
        value = self._get(name)
        if not value:
            return default
        if not re.match(r"[0-9]{1,9}\Z", value) or not least <= int(value) <= most:
            self._bad(name, value, f"a whole number from {least} to {most}")
            return default
        return int(value)

    def _text(self, name: str) -> str:
        value = self._get(name)
        if len(value) > TEXT_MAX or not (value.isprintable() or not value):
            self._bad(name, value[:TEXT_MAX], f"printable text of at most {TEXT_MAX} characters")
        return value

    def _file(self, name: str) -> str:
        value = self._get(name)
        path = os.path.expanduser(value)
        if value and not os.access(path, os.R_OK):
            self._bad(name, value, "a file that Moonraker can read, or nothing")
            return ""
        return path

    def _password(self) -> str:
        """From its file where one is named: Moonraker writes its configuration into its log."""
        path = self._file(PASSWORD_FILE)
        # Read in any case: Moonraker warns of every option that nobody has read.
        password = self._secret("mqtt_password")
        if not path:
            return password
        try:
            with open(path, encoding="utf-8") as file:
                return file.readline().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            self._problems.append(f"[moonfleet] {PASSWORD_FILE}: {path} cannot be read ({error})")
            return ""

    def _secret(self, name: str) -> str:
        """A value, or a template as in Moonraker's own sections: {secrets.moonfleet.password}."""
        value = self._get(name)
        if "{" not in value:
            return value
        rendered: Optional[str] = None
        try:
            rendered = self._config.gettemplate(name).render()
        except Exception as error:  # jinja2 and Moonraker raise what they like
            self._problems.append(
                f"[moonfleet] {name}: the template fails ({type(error).__name__})"
            )
        return rendered or ""
