"""A browser as far as logins go: it keeps a cookie and sends what its page would send along.

And what tests of people share: making a user, changing one, asking by a key.
"""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

from tornado.httpclient import HTTPResponse

from coordinator.http.identity import COOKIE, CSRF_HEADER

from .house import PASSWORD, House, Json, told


class Browser:
    """One session at one house. `headers` of a request replace its own; "" leaves one out."""

    def __init__(self, house: House, response: HTTPResponse) -> None:
        self.house = house
        self.cookie = SimpleCookie(response.headers["Set-Cookie"])[COOKIE]
        self.csrf: str = told(response)["csrf"]

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Cookie": f"{COOKIE}={self.cookie.value}",
            CSRF_HEADER: self.csrf,
            "Origin": self.house.url,
        }

    async def ask(
        self, method: str, path: str, body: Json | None = None, **headers: str
    ) -> HTTPResponse:
        """One request by this session; the path is below /api/v1."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent: dict[str, Any] = {k: v for k, v in (self.headers | named).items() if v}
        return await self.house.ask(method, path, body, **sent)


async def log_in(house: House, name: str, password: str) -> Browser:
    """A new session."""
    response = await house.ask(
        "POST", "/login", {"name": name, "password": password}, Authorization="", Origin=house.url
    )
    told(response, 200)
    return Browser(house, response)


async def add_user(house: House, name: str = "bob", role: str = "viewer") -> Browser:
    await house.post("/users", {"name": name, "password": PASSWORD, "role": role}, 201)
    return await log_in(house, name, PASSWORD)


async def change(house: House, path: str, wish: Json) -> None:
    told(await house.ask("PATCH", path, wish), 200)


async def by(house: House, key: str, method: str, path: str) -> HTTPResponse:
    return await house.ask(method, path, Authorization=f"Bearer {key}")
