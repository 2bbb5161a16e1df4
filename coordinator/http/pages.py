"""The page for people: one template and its styles and modules.

Owns the paths of pages and their security headers. What a page shows it fetches from the API.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from tornado.web import StaticFileHandler

from coordinator.http.base import ApiHandler

WEB_DIR = Path(__file__).parents[2] / "web"
POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


class PageHandler(ApiHandler):
    """A template, filled with what does not change while the coordinator runs."""

    async def get(self) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        templates: jinja2.Environment = self.application.settings["templates"]
        self.finish(templates.get_template("farm.html").render(version=self.services.version))


class WebFileHandler(StaticFileHandler):
    """Styles and modules. They may be kept but are asked after, so that an update shows."""

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")


def routes(parts: dict[str, Any], web_dir: Path) -> list[Any]:
    """Rows for the application."""
    return [
        (r"/", PageHandler, parts),
        (r"/static/(.+)", WebFileHandler, {"path": str(web_dir / "static")}),
    ]


def templates(web_dir: Path) -> jinja2.Environment:
    """Templates, every value of which is escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(web_dir / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
