"""The pages for people: templates, their styles and modules.

Owns the paths of pages, and who is sent where: to set-up, to the login, to the farm. What a page
shows it fetches from the API.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from tornado.web import HTTPError, StaticFileHandler

from coordinator.http.base import LOOPBACK_NAMES, ApiHandler, host_name_of
from coordinator.http.headers import PAGE_POLICY, secure
from coordinator.http.identity import is_local
from coordinator.http.operations import operation
from coordinator.people.roles import Role

WEB_DIR = Path(__file__).parents[2] / "web"


class PageHandler(ApiHandler):
    """A template, filled with what does not change while it is shown."""

    def show(self, name: str, **values: object) -> None:
        """Send a page."""
        secure(self, PAGE_POLICY)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        templates: jinja2.Environment = self.application.settings["templates"]
        template = templates.get_template(name)
        self.finish(template.render(version=self.services.version, **values))


class FarmPageHandler(PageHandler):
    """/."""

    @operation(needs=Role.NOBODY)
    async def get(self) -> None:
        if self.caller is None:
            is_set_up = await self.services.people.logins.is_set_up()
            self.redirect("/login" if is_set_up else "/setup")
            return
        self.show("farm.html", user=self.caller.identity.name, csrf=self.caller.csrf)


class LoginPageHandler(PageHandler):
    """/login. Also for whoever is logged in: its script finds that out, see web/static/door.js."""

    @operation(needs=Role.NOBODY)
    async def get(self) -> None:
        if await self.services.people.logins.is_set_up():
            self.show("login.html")
        else:
            self.redirect("/setup")


class SetupPageHandler(PageHandler):
    """/setup, until there is a user."""

    @operation(needs=Role.NOBODY)
    async def get(self) -> None:
        if await self.services.people.logins.is_set_up():
            self.redirect("/login")
        else:
            host = host_name_of(self.request.host)
            self.show("setup.html", is_local=is_local(self.request, LOOPBACK_NAMES, host))


class WebFileHandler(StaticFileHandler):
    """Styles and modules. They may be kept but are asked after, so that an update shows."""

    def set_default_headers(self) -> None:
        secure(self, PAGE_POLICY)

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")

    async def get(self, path: str, include_body: bool = True) -> None:
        if "\0" in path:  # Tornado would ask the disk, which raises what is no answer
            raise HTTPError(404)
        await super().get(path, include_body)


def routes(parts: dict[str, Any], web_dir: Path) -> list[Any]:
    """Rows for the application."""
    return [
        (r"/", FarmPageHandler, parts),
        (r"/login", LoginPageHandler, parts),
        (r"/setup", SetupPageHandler, parts),
        (r"/static/(.+)", WebFileHandler, {"path": str(web_dir / "static")}),
    ]


def templates(web_dir: Path) -> jinja2.Environment:
    """Templates, every value of which is escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(web_dir / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
