"""The web application: the API, the page, and what they share.

Owns which handler gets what. `make_app` is all that the composition root needs; the HTTP server
around it, its sockets and its end are the root's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tornado.web import Application

from coordinator.http import pages
from coordinator.http.access_log import log_request
from coordinator.http.base import Parts, UnknownPath
from coordinator.http.filing import Filing
from coordinator.http.live import Live
from coordinator.http.openapi import document
from coordinator.http.routes import BASE, ROUTES
from coordinator.http.services import Services
from coordinator.http.socket import PING_S

MESSAGE_BYTES_MAX = 4096
"""Of what a live client sends; nothing of it is read."""


def make_app(services: Services, web_dir: Path = pages.WEB_DIR) -> Application:
    """The application. Call it where an event loop runs; give it to one HTTPServer."""
    filing = Filing(services.store, services.content, services.inspector)
    parts = {"parts": Parts(services, filing, Live(services))}
    handlers: list[Any] = [(route.pattern, route.handler, parts) for route in ROUTES]
    handlers += pages.routes(parts, web_dir)
    return Application(
        handlers,
        log_function=log_request,
        default_handler_class=UnknownPath,
        default_handler_args=parts,
        templates=pages.templates(web_dir),
        openapi=document(ROUTES, BASE, services.version),
        websocket_ping_interval=PING_S,
        websocket_max_message_size=MESSAGE_BYTES_MAX,
    )
