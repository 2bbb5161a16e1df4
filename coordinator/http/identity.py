"""Who sends a request, and whether they may: keys, session cookies, CSRF, roles.

Owns how a proof of identity travels over HTTP. What makes one good is coordinator/people's.

A browser sends its cookie along with whatever any page makes it ask. So a session changes
something only if the request also names our own origin and bears the session's CSRF token, which
no other page can read. SameSite=Strict alone would not do: another port of the same computer
(Mainsail, say) is the same site.
"""

from __future__ import annotations

import socket
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from coordinator.http import peers
from coordinator.http.errors import ApiError
from coordinator.people import tokens
from coordinator.people.logins import Logins, Opened
from coordinator.people.records import Identity
from coordinator.people.roles import Role

COOKIE = "moonfleet_session"
SECURE_COOKIE = "__Host-moonfleet_session"
"""Under TLS browsers hold a cookie of this prefix to this host and to TLS."""

CSRF_HEADER = "X-Moonfleet-Csrf"
CHALLENGE = 'Bearer realm="moonfleet"'
FORWARDED = (
    "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip",
)  # fmt: skip
READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

SET_UP_NEEDED = (
    "this farm is not set up yet: on the coordinator's own computer run `moonfleet setup`, or open"
    " its page"
)
LOG_IN_NEEDED = "log in first, or send an API key as Authorization: Bearer mf_..."
NOT_TAKEN = "this API key is not taken: it was revoked, has expired, or never was one"


class Caller(NamedTuple):
    """Who asks, and by which session's token (empty: by a key)."""

    identity: Identity
    token: str = ""

    @property
    def csrf(self) -> str:
        return tokens.csrf_of(self.token) if self.token else ""


def cookie_name(request: HTTPServerRequest) -> str:
    return SECURE_COOKIE if request.protocol == "https" else COOKIE


def session_token(request: HTTPServerRequest) -> str:
    """The session's token that came along, if any."""
    found = request.cookies.get(cookie_name(request))
    return found.value if found is not None else ""


async def caller_of(request: HTTPServerRequest, logins: Logins) -> Caller | None:
    """Who proves who they are; None where nobody tries to, or with a session that has ended.

    Raises ApiError for a key that is not taken: a program has to notice.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        identity = await logins.by_key(key.strip())
        if identity is None:
            raise ApiError(401, NOT_TAKEN)
        return Caller(identity)
    token = session_token(request)
    found = await logins.by_session(token) if token else None
    return Caller(found, token) if found is not None else None


def has_own_origin(request: HTTPServerRequest) -> bool:
    """Whether the page that asks is one of this very server."""
    origin = request.headers.get("Origin", "")
    return urlsplit(origin).netloc.lower() == request.host.lower()


def check_csrf(request: HTTPServerRequest, caller: Caller) -> None:
    """Raises ApiError where a session's cookie alone would change something."""
    if not caller.token or request.method in READ_METHODS:
        return
    if not has_own_origin(request):
        raise ApiError(403, "Origin: a session changes something only for this server's own pages")
    if not tokens.same(request.headers.get(CSRF_HEADER, ""), caller.csrf):
        raise ApiError(403, f"{CSRF_HEADER}: must be the `csrf` that logging in and GET /me tell")


async def check_role(caller: Caller | None, needs: Role, logins: Logins) -> None:
    """Raises ApiError unless the caller may do what needs this role."""
    if needs is Role.NOBODY:
        return
    if caller is None:
        raise ApiError(401, LOG_IN_NEEDED if await logins.is_set_up() else SET_UP_NEEDED)
    if caller.identity.role < needs:
        raise ApiError(
            403, f"this needs the role {needs.word}; {caller.identity.name} is"
            f" {caller.identity.role.word}"
        )  # fmt: skip


def is_local(request: HTTPServerRequest, loopback_names: frozenset[str], host_name: str) -> bool:
    """Whether the farm's owner asks, on this very computer, and no proxy for somebody else.

    A proxy that tells nobody for whom it asks is given away by the name that it was asked by, by
    the HTTP/1.0 that nginx speaks unless told otherwise, or by whose program it is.
    """
    peer = request.remote_ip or ""
    is_loopback = peer == "::1" or peer.startswith("127.") or peer.startswith("::ffff:127.")
    forwarded = any(name in request.headers for name in FORWARDED) or request.version == "HTTP/1.0"
    if not is_loopback or host_name not in loopback_names or forwarded:
        return False
    stream = cast(HTTP1Connection, request.connection).stream
    return peers.is_of_owner(cast("socket.socket | None", stream.socket))


def put_session(handler: RequestHandler, opened: Opened, lasts_s: float) -> None:
    """Hand a session to the browser."""
    is_secure = handler.request.protocol == "https"
    handler.set_cookie(
        cookie_name(handler.request), opened.token,
        path="/", max_age=int(lasts_s), httponly=True, secure=is_secure, samesite="Strict",
    )  # fmt: skip


def drop_session(handler: RequestHandler) -> None:
    """Take it away again."""
    is_secure = handler.request.protocol == "https"
    handler.clear_cookie(
        cookie_name(handler.request), path="/", httponly=True, secure=is_secure, samesite="Strict"
    )
