"""Logging in over TLS: the cookie that goes nowhere else, and the header that says so."""

from __future__ import annotations

import asyncio
from http.cookies import SimpleCookie

import requests

from coordinator.app import Coordinator
from coordinator.http.identity import CSRF_HEADER, SECURE_COOKIE

from .conftest import ca_path

PERSON = {"name": "ann", "password": "correct horse battery"}


async def test_a_session_over_tls_is_bound_to_it(farm: Coordinator) -> None:
    url = f"https://127.0.0.1:{farm.https_port}"
    browser = requests.Session()
    browser.verify, browser.trust_env = str(ca_path(farm)), False

    def ask(method: str, path: str, **how: object) -> requests.Response:
        return browser.request(method, url + path, timeout=60, **how)  # type: ignore[arg-type]

    answer = await asyncio.to_thread(ask, "POST", "/api/v1/setup", json=PERSON)
    assert answer.status_code == 201
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    cookie = SimpleCookie(answer.headers["Set-Cookie"])[SECURE_COOKIE]
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Strict")
    assert (cookie["path"], cookie["domain"]) == ("/", "")
    proof = {CSRF_HEADER: answer.json()["csrf"], "Origin": url}
    made = await asyncio.to_thread(ask, "POST", "/api/v1/keys", json={"name": "k"}, headers=proof)
    assert made.status_code == 201
    # The plain port on loopback does not take this session, whatever sends it there.
    plain = f"http://127.0.0.1:{farm.http_port}/api/v1/me"
    stray = {"Cookie": f"{SECURE_COOKIE}={cookie.value}"}
    assert (
        await asyncio.to_thread(requests.get, plain, headers=stray, timeout=60)
    ).status_code == 401
