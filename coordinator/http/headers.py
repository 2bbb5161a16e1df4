"""What every answer tells a browser it must not do.

Owns the security headers of the API, the pages and the files beside them.
"""

from __future__ import annotations

from tornado.web import RequestHandler

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    "default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'self'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STRICT_TRANSPORT = "max-age=31536000"


def secure(handler: RequestHandler, policy: str) -> None:
    """Set them all. `policy`: the Content-Security-Policy."""
    handler.clear_header("Server")
    for name, value in HEADERS.items():
        handler.set_header(name, value)
    handler.set_header("Content-Security-Policy", policy)
    if handler.request.protocol == "https":
        handler.set_header("Strict-Transport-Security", STRICT_TRANSPORT)
