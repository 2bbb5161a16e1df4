"""What every handler of the API shares: who may ask, how a body is read, how an answer looks.

Owns the order of the checks before a byte of a body is read (Host, Origin, identity, role), the
limits of a request, the JSON of answers and errors. Must not know any resource.

Whoever has no login still has other people's browsers: a name that is made to resolve to this
server is refused by its Host, a form that posts to it by its Origin.
"""

from __future__ import annotations

import logging
import math
import re
from types import TracebackType
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, RequestHandler, stream_request_body

from coordinator.core.requests import Who
from coordinator.http.errors import ApiError, answer_of, answer_of_status
from coordinator.http.filing import Filing
from coordinator.http.headers import API_POLICY, secure
from coordinator.http.identity import (
    CHALLENGE,
    READ_METHODS,
    Caller,
    caller_of,
    check_csrf,
    check_role,
)
from coordinator.http.live import Live
from coordinator.http.operations import operation_of, role_needed
from coordinator.http.services import Services
from coordinator.people.logins import TooSoon
from coordinator.people.roles import Role

log = logging.getLogger("moonfleet.http")

T = TypeVar("T")
JSON_BYTES_MAX = 256 * 1024
BODY_TIMEOUT_S = 30.0
DRAIN_BYTES_MAX = 1 << 40
"""A refused body is read and dropped, for BODY_TIMEOUT_S at most: a connection that is closed
while the other side still sends takes the answer, which says why, down with it."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Answer(Struct, kw_only=True):
    """Every success is an object with `ok` true, so that keys can be added later."""

    ok: bool = True


class Parts(Struct, frozen=True):
    """What every handler is given; the application makes it once."""

    services: Services
    filing: Filing
    live: Live


@stream_request_body
class ApiHandler(RequestHandler):
    """Handlers get what they need by `initialize` and answer with `answer(...)`."""

    def initialize(self, parts: Parts) -> None:
        self.services = parts.services
        self.filing = parts.filing
        self.live = parts.live
        self.request_id = ""
        self.caller: Caller | None = None
        self._body = bytearray()
        self._body_bytes = 0

    # ---- what comes in ----------------------------------------------------------------------

    async def prepare(self) -> None:
        """Refuse who may not ask and what is too large, before a byte of the body is read."""
        self.limit_body(DRAIN_BYTES_MAX, BODY_TIMEOUT_S)
        self._take_request_id()
        self.check_host()
        if self.request.method not in READ_METHODS:
            self.check_origin_header()
        await self._check_caller()
        self.check_length()

    def check_length(self) -> None:
        """Refuse a body that is announced as too large."""
        announced = self.content_length()
        if announced is not None and announced > JSON_BYTES_MAX:
            raise self._too_large(announced)

    def data_received(self, chunk: bytes) -> Any:
        """Gather a small body; past the limit only the count goes on."""
        self._body_bytes += len(chunk)
        if self._body_bytes <= JSON_BYTES_MAX:
            self._body += chunk
        return None

    def limit_body(self, bytes_max: int, timeout_s: float) -> None:
        """How much of a body is read at all, and for how long."""
        connection = cast(HTTP1Connection, self.request.connection)
        connection.set_max_body_size(bytes_max)
        connection.set_body_timeout(timeout_s)

    def content_length(self) -> int | None:
        """What the request announces; Tornado has refused what is no number."""
        announced = self.request.headers.get("Content-Length")
        return int(announced) if announced and announced.isdecimal() else None

    def body(self, kind: type[T]) -> T:
        """The JSON body as a checked value. An empty body is an object without fields."""
        if self._body_bytes > JSON_BYTES_MAX:
            raise self._too_large(self._body_bytes)
        return msgspec.json.decode(bytes(self._body) or b"{}", type=kind)

    def query(self, kind: type[T]) -> T:
        """The query as a checked value. Fields that are lists take values divided by commas."""
        lists = {
            field.name
            for field in msgspec.structs.fields(cast(Any, kind))
            if isinstance(field.default, tuple)
        }
        given: dict[str, Any] = {}
        for name in self.request.query_arguments:
            values = self.get_query_arguments(name)
            if name in lists:
                given[name] = [part for value in values for part in value.split(",") if part]
            elif len(values) > 1:
                raise ApiError(400, f"{name}: is given {len(values)} times", name)
            else:
                given[name] = values[0]
        return msgspec.convert(given, kind, strict=False)

    @property
    def who(self) -> Who:
        """Who asks, for the audit table: by name, and from where."""
        if self.caller is None:
            return Who(name="nobody", origin=self.origin)
        identity = self.caller.identity
        by_key = f" key {identity.key} of {identity.user}" if identity.key else ""
        return Who(name=identity.name, origin=self.origin + by_key)

    @property
    def origin(self) -> str:
        """From where a request came, and its id."""
        return f"http {self.request.remote_ip} {self.request_id}"

    # ---- what goes out ----------------------------------------------------------------------

    def set_default_headers(self) -> None:
        secure(self, API_POLICY)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        if getattr(self, "request_id", ""):
            self.set_header("X-Request-Id", self.request_id)

    def answer(self, value: Struct, status: int = 200) -> None:
        """Send a success."""
        self.set_status(status)
        self.finish(msgspec.json.encode(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send an error in the one shape, with the status that its kind has."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, HTTPError) or error is None:
            told = answer_of_status(status_code, _public_reason(error))
        else:
            told = answer_of(error)
        self.set_status(told.status)
        if told.status == 401:
            self.set_header("WWW-Authenticate", CHALLENGE)
        if told.status == 429 and isinstance(error, TooSoon):
            self.set_header("Retry-After", str(math.ceil(error.wait_s)))
        if told.status == 405:
            self.set_header("Allow", ", ".join(sorted(methods_of(type(self)))))
        if told.status == 503:
            self.set_header("Retry-After", "1")
        self.finish(msgspec.json.encode(told))

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """What was refused is one line; what was not expected comes with its traceback."""
        where = f"{self.request.method} {self.request.path} ({self.request_id})"
        if isinstance(value, HTTPError) or value is None or answer_of(value).status != 500:
            log.info("%s: %s", where, value)
        else:
            log.error("%s failed", where, exc_info=value)

    # ---- who may ask ------------------------------------------------------------------------

    async def _check_caller(self) -> None:
        """Find out who asks, and refuse them unless they may."""
        logins, method = self.services.people.logins, self.request.method or ""
        self.caller = await caller_of(self.request, logins)
        told = operation_of(getattr(self, method.lower(), None))
        needs = role_needed(method, told)
        await check_role(self.caller, needs, logins)
        if self.caller is not None and needs is not Role.NOBODY:
            check_csrf(self.request, self.caller)

    def check_host(self) -> None:
        """Only names of this machine: a foreign name that resolves to it is an attack."""
        name = host_name_of(self.request.host)
        if name not in LOOPBACK_NAMES and name not in self.services.allowed_hosts:
            allowed = ", ".join(sorted(LOOPBACK_NAMES.union(self.services.allowed_hosts)))
            raise ApiError(403, f"Host {name[:80]!r}: this server answers to {allowed}")

    def check_origin_header(self) -> None:
        """Pages of other origins may not change anything; programs send no Origin."""
        origin = self.request.headers.get("Origin")
        if origin is None:
            return
        if urlsplit(origin).netloc.lower() != self.request.host.lower():
            raise ApiError(403, f"Origin {origin[:80]!r}: only this server's own pages may do this")

    def _take_request_id(self) -> None:
        given = self.request.headers.get("X-Request-Id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else next(self.services.ids)
        self.set_header("X-Request-Id", self.request_id)

    def _too_large(self, size_bytes: int) -> ApiError:
        return ApiError(
            413, f"the body has {size_bytes} bytes or more, at most {JSON_BYTES_MAX} are taken"
        )


class UnknownPath(ApiHandler):
    """Whatever has no handler."""

    async def prepare(self) -> None:
        await super().prepare()
        raise ApiError(404, f"there is nothing at {self.request.path[:200]}")


def methods_of(handler: type[RequestHandler]) -> set[str]:
    """The HTTP methods that a handler has."""
    names = handler.SUPPORTED_METHODS
    return {name for name in names if operation_of(getattr(handler, name.lower()))}


def host_name_of(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _public_reason(error: HTTPError | None) -> str:
    """Tornado's own messages are for logs; the ones that name an argument are for people too."""
    return (error.log_message or "") if error is not None and error.status_code == 400 else ""
