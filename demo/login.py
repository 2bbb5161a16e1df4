"""The login of a farm that is run for show or for tests: its first user and a key of theirs.

Owns doing the first-run set-up over HTTP, as a person would, and two files beside the farm's data
that only their owner may read: the password, and the API key that programs send.
"""

from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

NAME = "admin"
KEY_NAME = "demo"
ANSWER_S = 60.0
CSRF_HEADER = "X-Moonfleet-Csrf"

CHEAP_HASHES = ("people.hash_memory_kib=64", "people.hash_passes=1")
"""Options for coordinators of tests and benches: a login is none of what they measure."""


class LoginError(RuntimeError):
    """The farm was set up by somebody else, and the password is not known here."""


class Session(NamedTuple):
    """What a browser keeps of a login."""

    cookie: str
    csrf: str


class Login:
    """The login kept in `folder`; `key(url)` sets the farm up if need be and returns the key."""

    def __init__(self, folder: Path) -> None:
        self.name = NAME
        self.password_path = folder / "password"
        self.key_path = folder / "key"

    @property
    def password(self) -> str:
        """Made once."""
        if not self.password_path.exists():
            _keep(self.password_path, secrets.token_urlsafe(12))
        return self.password_path.read_text().strip()

    def key(self, url: str) -> str:
        """An API key that the coordinator at `url` takes. Raises LoginError, OSError."""
        if self.key_path.exists():
            key = self.key_path.read_text().strip()
            if _status(url, key) == 200:
                return key
        session = self._session(url)
        answer, _ = _ask(url, "/keys", {"name": KEY_NAME}, session)
        key = str(answer["secret"])
        _keep(self.key_path, key)
        return key

    def _session(self, url: str) -> Session:
        """Make the first user, or log in as it."""
        body = {"name": self.name, "password": self.password}
        for path in ("/setup", "/login"):
            try:
                answer, cookie = _ask(url, path, body)
            except urllib.error.HTTPError as error:
                told = error.read().decode(errors="replace")
                if error.code != 409:
                    raise LoginError(f"{url}{path}: {error.code} {told}") from error
                continue
            return Session(cookie, str(answer["csrf"]))
        raise LoginError(f"{url}: neither set-up nor login: {told}")


def bearer(key: str) -> dict[str, str]:
    """The header that proves who asks."""
    return {"Authorization": f"Bearer {key}"}


def _status(url: str, key: str) -> int:
    """How the coordinator answers to this key; raises OSError where none does."""
    request = urllib.request.Request(f"{url}/api/v1/me", headers=bearer(key))
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def _ask(
    url: str, path: str, body: dict[str, str], session: Session | None = None
) -> tuple[dict[str, Any], str]:
    """POST JSON; returns the answer and the session's cookie, if one was set."""
    headers = {"Content-Type": "application/json"}
    if session is not None:
        headers |= {"Cookie": session.cookie, CSRF_HEADER: session.csrf, "Origin": url}
    request = urllib.request.Request(f"{url}/api/v1{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
        cookie = str(response.headers.get("Set-Cookie", "")).partition(";")[0]
        answer: dict[str, Any] = json.load(response)
    return answer, cookie


def _keep(path: Path, text: str) -> None:
    """Write for the owner's eyes only, from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
