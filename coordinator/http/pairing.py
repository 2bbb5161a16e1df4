"""Joining: the farm's CA, codes for new hosts, and what a host gets for one.

Owns the answers, and that a code is only taken where nobody listens. What a code may be used for
is coordinator/core/membership.py's and coordinator/trust/pairings.py's.
"""

from __future__ import annotations

from msgspec import Struct

from coordinator.core import membership
from coordinator.core.requests import Who
from coordinator.http.base import LOOPBACK_NAMES, Answer, ApiHandler, host_name_of
from coordinator.http.errors import ApiError
from coordinator.http.operations import operation
from coordinator.http.services import BrokerForHosts
from coordinator.people.roles import Role
from coordinator.trust.pairings import CodeRefused, Pairing, TooManyTries

PRINTERS_MAX = 32
"""Printers of one host, joined by one code."""

HOST_MAX = 100


class PairingView(Struct, frozen=True):
    """A code that can still be used, without the code. `printer` empty: for printers that are new
    to the farm."""

    id: str
    printer: str
    who: str
    created_at: float
    expires_at: float


class PairingsAnswer(Answer):
    """Codes that can still be used, oldest first."""

    pairings: list[PairingView]


class PairingAnswer(Answer):
    """A new code, told this once. `urls`: how hosts may reach this coordinator, the likeliest
    first; none: its network is closed, and only hosts on this machine can join."""

    pairing: PairingView
    code: str
    urls: tuple[str, ...]

    def __repr__(self) -> str:
        return f"PairingAnswer({self.pairing!r})"


class PairingOrder(Struct, forbid_unknown_fields=True):
    """`printer`: the only one that the code is good for, whose credentials it renews if it exists;
    empty: one or more that are new to the farm."""

    printer: str = ""


class JoinOrder(Struct, forbid_unknown_fields=True):
    """`secret`: the first ten characters of the code. `printers`: the ids of all printers of the
    host, 1 to 32. `host`: what the host calls itself, for the history."""

    secret: str
    printers: tuple[str, ...]
    host: str = ""

    def __repr__(self) -> str:
        return f"JoinOrder({self.printers!r})"


class JoinedPrinter(Struct, frozen=True):
    """How a printer's host logs in at the broker. `password` empty: the broker is not the farm's,
    and whoever runs it makes the account."""

    id: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"JoinedPrinter({self.id!r})"


class JoinAnswer(Answer):
    """Everything a host needs. `coordinator_url`: how it reached us; empty: by loopback. `ca`: the
    CAs it verifies us and the broker by, in PEM; empty: none is needed."""

    printers: list[JoinedPrinter]
    broker: BrokerForHosts
    coordinator_url: str
    ca: str


class CaHandler(ApiHandler):
    """/ca."""

    @operation(media="application/x-pem-file", needs=Role.NOBODY)
    async def get(self) -> None:
        """The CA that signed this server's certificate, in PEM. Whoever fetches it unverified has
        to compare it: a pairing code holds a proof of it."""
        self.set_header("Content-Type", "application/x-pem-file")
        self.finish(self.services.trust.ca_pem())


class PairHandler(ApiHandler):
    """/pair."""

    @operation(answer=JoinAnswer, body=JoinOrder, needs=Role.NOBODY)
    async def post(self) -> None:
        """Join the printers of one host by a pairing code, which is spent by it. Needs no login:
        the code is the proof. Wrong codes make the address wait."""
        if self.request.protocol != "https" and not _is_loopback(self.request.remote_ip):
            raise ApiError(403, "a code is only taken by TLS, or on this machine")
        order, trust = self.body(JoinOrder), self.services.trust
        if not 1 <= len(set(order.printers)) == len(order.printers) <= PRINTERS_MAX:
            raise ApiError(400, f"printers: 1 to {PRINTERS_MAX} ids, each once", "printers")
        broker = self._broker()
        try:
            pairing = await trust.pairings.check(order.secret, self.request.remote_ip or "")
            self._check_printers(pairing, order.printers)
            await trust.pairings.use(pairing)
        except CodeRefused as error:
            raise ApiError(403, str(error), "secret") from error
        except TooManyTries as error:
            raise ApiError(429, str(error)) from error
        try:
            printers = await self._join(pairing, order, broker)
        except BaseException:
            await trust.pairings.give_back(pairing)
            raise
        self.answer(self._told(printers, broker))

    def _check_printers(self, pairing: Pairing, printer_ids: tuple[str, ...]) -> None:
        if pairing.printer and printer_ids != (pairing.printer,):
            raise ApiError(403, f"the code is for printer {pairing.printer} alone", "printers")
        farm = self.services.engine.farm
        membership.check_new(farm.printers, printer_ids, bool(pairing.printer))

    async def _join(
        self, pairing: Pairing, order: JoinOrder, broker: BrokerForHosts
    ) -> list[JoinedPrinter]:
        """Accounts first: a printer without one would be in the way of the next try."""
        who = Who(
            f"code {pairing.id} of {pairing.who}", f"{self.origin} {order.host[:HOST_MAX]}".strip()
        )
        passwords = {
            printer_id: await self.services.make_credentials(printer_id)
            for printer_id in order.printers
        }
        await self.services.engine.ask(
            lambda draft, now: membership.pair_printers(
                draft, order.printers, bool(pairing.printer), who, now
            )
        )
        return [
            JoinedPrinter(printer_id, printer_id, password if broker.managed else "")
            for printer_id, password in passwords.items()
        ]

    @property
    def _by_loopback(self) -> bool:
        name = host_name_of(self.request.host)
        return self.request.protocol != "https" and name in LOOPBACK_NAMES

    def _broker(self) -> BrokerForHosts:
        """The broker as this host reaches it: by the name by which it reached us."""
        if self._by_loopback:
            return self.services.broker()
        broker = self.services.trust.broker_from(host_name_of(self.request.host))
        if not broker.port:
            raise ApiError(409, "the broker is closed to other computers: set network.address")
        return broker

    def _told(self, printers: list[JoinedPrinter], broker: BrokerForHosts) -> JoinAnswer:
        trust = self.services.trust
        ca = trust.broker_ca() if self._by_loopback else trust.ca_pem() + trust.broker_ca()
        url = "" if self._by_loopback else f"https://{self.request.host}"
        return JoinAnswer(printers=printers, broker=broker, coordinator_url=url, ca=ca.decode())


class PairingsHandler(ApiHandler):
    """/pairings."""

    @operation(answer=PairingsAnswer, needs=Role.ADMIN)
    async def get(self) -> None:
        """List pairing codes that can still be used, without the codes themselves."""
        found = await self.services.trust.pairings.good()
        self.answer(PairingsAnswer(pairings=[_view(pairing) for pairing in found]))

    @operation(status=201, answer=PairingAnswer, body=PairingOrder, needs=Role.ADMIN)
    async def post(self) -> None:
        """Make a pairing code. It is good for 15 minutes and for one host."""
        order, trust = self.body(PairingOrder), self.services.trust
        if order.printer:
            membership.check_new(self.services.engine.farm.printers, (order.printer,), True)
        code, pairing = await trust.pairings.make(order.printer, self.who)
        self.answer(PairingAnswer(pairing=_view(pairing), code=code, urls=trust.urls()), 201)


class PairingHandler(ApiHandler):
    """/pairings/{id}."""

    @operation(answer=Answer, needs=Role.ADMIN)
    async def delete(self, pairing_id: str) -> None:
        """Cancel a pairing code that was not used."""
        if not await self.services.trust.pairings.cancel(pairing_id, self.who):
            raise ApiError(404, f"pairing {pairing_id[:80]!r}: there is no unused code of this id")
        self.answer(Answer())


def _is_loopback(address: str | None) -> bool:
    return address in LOOPBACK_NAMES


def _view(pairing: Pairing) -> PairingView:
    return PairingView(
        pairing.id, pairing.printer, pairing.who, pairing.created_at, pairing.expires_at
    )
