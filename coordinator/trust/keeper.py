"""What the TLS doors serve by, while the coordinator runs: made, renewed, noticed when replaced.

Owns the choice between the farm's certificate and the user's own, the SSL context of HTTPS and the
names under which this server may be addressed. Must not know who listens: it tells of a change.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct

from coordinator.trust import own_certificate
from coordinator.trust.addresses import LOOPBACK, machine_addresses, machine_names
from coordinator.trust.authority import Authority, TrustError, utc_now
from coordinator.trust.certificates import Names, names_of
from coordinator.trust.contexts import server_context

log = logging.getLogger("moonfleet.trust")

LOOK_S = 600.0
"""How often names, addresses and times are looked at: a new lease of DHCP, a renewed file."""

EVERYWHERE = ("0.0.0.0", "::")
WARN_BEFORE = timedelta(days=60)

Found = Callable[[], tuple[str, ...]]


class Wanted(Struct, frozen=True):
    """How the doors are to serve. `certificate` empty: by the farm's own CA."""

    open: bool = False
    names: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""
    ca: str = ""


class Keeper:
    """`open()` once, then `run(told)` beside the listeners. `data_dir` is the coordinator's."""

    def __init__(
        self,
        data_dir: Path,
        wanted: Wanted,
        *,
        now: Callable[[], datetime] = utc_now,
        addresses: Found = machine_addresses,
    ) -> None:
        self._wanted = wanted
        self._now = now
        self._addresses = addresses
        self._authority = Authority(data_dir / "trust")
        self._ca_pem = b""
        self._seen: tuple[tuple[int, int], ...] = ()
        self._also: set[str] = set()
        self._found: frozenset[str] = frozenset()
        self.context: ssl.SSLContext = server_context()
        self.names: set[str] = set()
        """Names and addresses of this server as a Host header has them; changed in place."""

    @property
    def ca_pem(self) -> bytes:
        """What hosts verify by, in PEM."""
        return self._ca_pem

    @property
    def certificate_path(self) -> Path:
        """The file of the certificate and what lies between it and its CA."""
        own = self._wanted.certificate
        return Path(own) if own else self._authority.server_path

    @property
    def key_path(self) -> Path:
        """The file of the private key; ours is in the file of its certificate."""
        return Path(self._wanted.key) if self._wanted.certificate else self._authority.server_path

    def also(self, name: str) -> None:
        """Let this server be addressed by one more name, which its certificate need not have."""
        self._also.add(name)
        self.names.add(name)

    def calling_names(self, address: str) -> tuple[str, ...]:
        """How hosts may call this server, which listens on `address`, the likeliest first."""
        given = [name for name in self._wanted.names if name in self.names]
        if address not in EVERYWHERE:
            return (*given, address)
        local = [name for name in machine_names() if name.endswith(".local")]
        found = dict.fromkeys([*given, *local, *sorted(self.names)])
        return tuple(name for name in found if name in self.names and name not in LOOPBACK)

    def open(self) -> None:
        """Make the CA at the first run, and have what the doors need; raises TrustError."""
        self._authority.open(self._now())
        self._ca_pem = self._authority.pem
        if self._wanted.open:
            self._refresh()
            self._take()

    def _refresh(self) -> str:
        """Have a certificate that serves; why it is another than before, or empty."""
        return self._refresh_own() if self._wanted.certificate else self._refresh_ours()

    def _take(self) -> None:
        """Let HTTPS serve by it and answer to its names; on the loop's thread, which uses both."""
        self.names.update(self._found)
        self.names.intersection_update(self._found)
        try:
            self.context.load_cert_chain(self.certificate_path, self.key_path)
        except (ssl.SSLError, OSError) as error:
            raise TrustError(f"{self.certificate_path}: cannot be served: {error}") from error

    def _refresh_ours(self) -> str:
        wanted = names_of([*self._wanted.names, *machine_names(), *self._addresses()])
        why = self._authority.ensure_server(wanted, self._now())
        self._find(self._authority.server_names())
        if self._authority.ends_at - self._now() < WARN_BEFORE:
            log.warning(
                "the farm's CA ends on %s: remove the folder trust/ of the data folder, restart,"
                " and pair every host again before then", f"{self._authority.ends_at:%Y-%m-%d}"
            )  # fmt: skip
        return why

    def _refresh_own(self) -> str:
        files = (self.certificate_path, self.key_path)
        try:
            seen = tuple((s.st_mtime_ns, s.st_ino) for s in (path.stat() for path in files))
        except OSError as error:
            raise TrustError(f"network: {error.filename}: {error.strerror}") from error
        if seen == self._seen:
            own_certificate.warn_of_end(files[0], self._now())
            return ""
        ca_pem = own_certificate.ca_of(files[0], self._wanted.ca)
        names = own_certificate.check(*files, ca_pem, self._now())
        self._ca_pem, self._seen = ca_pem, seen
        self._find(names)
        return "its file was replaced"

    def _find(self, names: Names) -> None:
        self._found = names.texts | set(self._wanted.names) | self._also

    async def run(self, told: Callable[[], Awaitable[None]], every_s: float = LOOK_S) -> None:
        """Look after it for ever; `told` is awaited when listeners have to load it again."""
        while True:
            await asyncio.sleep(every_s)
            await self.look(told)

    async def look(self, told: Callable[[], Awaitable[None]]) -> None:
        """Look after it once; what is being served goes on when that fails."""
        try:
            why = await asyncio.to_thread(self._refresh)
            if why:
                self._take()
        except (TrustError, OSError) as error:
            log.error("the certificate of the doors could not be renewed: %s", error)
            return
        if why:
            log.info("new certificate for the doors: %s", why)
            await told()


def https_url(name: str, port: int) -> str:
    """A URL of this server by one of its names."""
    return f"https://{f'[{name}]' if ':' in name else name}:{port}"


def checked_names(texts: tuple[str, ...]) -> None:
    """Raise BadName for a name that no certificate can hold."""
    names_of(texts)
