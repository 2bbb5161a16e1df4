"""The HTTP server around the application: how many connections, how long, how large.

Owns the limits that hold before a request is one: a connection that is one too many is closed
unanswered, and one that has not sent its request's headers in time as well. Must not know paths.
"""

from __future__ import annotations

import logging
import ssl
from collections import Counter
from ipaddress import ip_address
from typing import Any

from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application

log = logging.getLogger("moonfleet.http")

MB = 1024 * 1024
CONNECTIONS_MAX = 1000
ADDRESS_CONNECTIONS_MAX = 100
"""From one address; a browser opens six. Not from this machine: a proxy here speaks for all."""

IDLE_S = 60.0
"""From an answer to the whole header of the next request, and the same for the first."""

HEADER_BYTES_MAX = 32 * 1024
CHUNK_BYTES = 256 * 1024
BUFFER_BYTES_MAX = 4 * MB


class Server(HTTPServer):
    """Refuses connections beyond its limits; the rest is Tornado's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counts: Counter[str] = Counter()
        self._addresses: dict[IOStream, str] = {}

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        peer = str(address[0]) if address else ""
        if len(self._addresses) >= CONNECTIONS_MAX or (
            self._counts[peer] >= ADDRESS_CONNECTIONS_MAX and not _is_here(peer)
        ):
            log.info("connection of %s refused: too many", peer)
            stream.close()
            return
        self._addresses[stream] = peer
        self._counts[peer] += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        assert isinstance(server_conn, HTTP1ServerConnection)
        peer = self._addresses.pop(server_conn.stream)
        self._counts[peer] -= 1
        if not self._counts[peer]:
            del self._counts[peer]


def make_server(
    app: Application, body_bytes_max: int, context: ssl.SSLContext | None = None
) -> Server:
    """A server for the application. Give it sockets; at the end `stop`, then close all."""
    return Server(
        app,
        ssl_options=context,
        max_body_size=body_bytes_max,
        max_buffer_size=BUFFER_BYTES_MAX,
        max_header_size=HEADER_BYTES_MAX,
        chunk_size=CHUNK_BYTES,
        idle_connection_timeout=IDLE_S,
    )


def _is_here(peer: str) -> bool:
    try:
        return ip_address(peer.partition("%")[0]).is_loopback
    except ValueError:
        return False  # a socket that is no network's
