"""Talking to the coordinator over HTTP, and what can go wrong with it.

Owns the session, the errors with their exit codes, and finding by the beginning of an id. Must
not print.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import requests

from coordinator.config import is_loopback

Json: TypeAlias = dict[str, Any]

DEFAULT_URL = "http://127.0.0.1:8008"
CONNECT_S = 5.0
ANSWER_S = 60.0
UPLOAD_ANSWER_S = 1800.0
"""A large file is read through by the coordinator before it answers."""

ID_LENGTH = 32
PAGES_MAX = 20

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_NOT_FOUND = 4
EXIT_NOT_DONE = 5
EXIT_NOT_ALLOWED = 6


class CliError(Exception):
    """Ends the command: a sentence, an exit code, and the API's own words if it has any."""

    code = EXIT_REFUSED

    def __init__(self, text: str, answer: Json | None = None) -> None:
        super().__init__(text)
        self.answer = answer or {"ok": False, "error": text, "field": None, "status": None}


class Refused(CliError):
    """The coordinator said no."""


class NotAllowed(CliError):
    """Nobody is logged in, or whoever is may not do this."""

    code = EXIT_NOT_ALLOWED


class Usage(CliError):
    """The command cannot be meant like this."""

    code = EXIT_USAGE


class Unreachable(CliError):
    """No coordinator answered."""

    code = EXIT_UNREACHABLE


class Missing(CliError):
    """There is nothing of this id."""

    code = EXIT_NOT_FOUND


class NotDone(CliError):
    """A job that was waited for was held or cancelled."""

    code = EXIT_NOT_DONE


class Client:
    """One coordinator at `url`, asked with an API key (empty: as nobody).

    `ca`: a file by which https is verified; empty: public CAs.
    """

    def __init__(self, url: str, key: str = "", ca: str = "") -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise Usage(f"--url {url!r}: must begin with http:// or https://")
        if url.startswith("http://") and not is_loopback(_host_of(url)):
            raise Usage(
                f"--url {url!r}: https:// is needed beyond this computer (port 8443, unless set"
                " otherwise): keys and passwords would travel in plain"
            )
        self._session = requests.Session()
        # A proxy of the environment is for the world outside, not for this machine.
        self._session.trust_env = False
        self.ca = ca
        if ca:
            if not os.access(ca, os.R_OK):
                raise Usage(f"--ca {ca!r}: a file that can be read")
            self._session.verify = ca
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session.headers.update(self.headers)

    def get(self, path: str, **query: Any) -> Json:
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return self._ask("GET", path, params=given)

    def post(self, path: str, body: Json | None = None) -> Json:
        return self._ask("POST", path, json=body or {})

    def patch(self, path: str, body: Json) -> Json:
        return self._ask("PATCH", path, json=body)

    def delete(self, path: str) -> Json:
        return self._ask("DELETE", path)

    @contextlib.contextmanager
    def as_page(self, headers: dict[str, str]) -> Iterator[None]:
        """Ask by the session that was just opened, with what a page of it sends along."""
        self._session.headers.update(headers)
        try:
            yield
        finally:
            for name in headers:
                del self._session.headers[name]
            self._session.cookies.clear()

    def pages(self, path: str, key: str, limit: int, **query: Any) -> Iterator[Json]:
        """Items of a list, over its pages, `limit` of them at most."""
        cursor = ""
        for _ in range(PAGES_MAX):
            answer = self.get(path, limit=min(limit, 500), cursor=cursor, **query)
            yield from answer[key][:limit]
            limit -= len(answer[key])
            cursor = answer["cursor"]
            if not cursor or limit <= 0:
                return

    def upload(self, path: Path) -> Json:
        """Send a file as it is read from disk; answers with its view."""
        try:
            with path.open("rb") as file:
                size_bytes = path.stat().st_size
                most_bytes = self.get("/farm")["farm"]["file_bytes_max"]
                if size_bytes > most_bytes:
                    raise Refused(f"{path}: {size_bytes} bytes, at most {most_bytes} are taken")
                answer = self._ask(
                    "POST",
                    "/files",
                    params={"name": path.name},
                    data=file if size_bytes else b"",
                    headers={"Content-Type": "application/octet-stream"},
                    timeout=(CONNECT_S, UPLOAD_ANSWER_S),
                )
        except OSError as error:
            raise Usage(f"{path}: {error.strerror or error}") from error
        found: Json = answer["file"]
        return found

    def job_id(self, given: str) -> str:
        """The id of the one job whose id begins so."""
        if len(given) >= ID_LENGTH:
            return given
        jobs = self.pages("/jobs", "jobs", 2000, search=given, sort="created")
        return _only("job", given, [job["id"] for job in jobs if job["id"].startswith(given)])

    def attempt_id(self, given: str) -> str:
        """The id of the one attempt that holds a printer and whose id begins so."""
        if len(given) >= ID_LENGTH:
            return given
        tries = self.pages("/attempts", "attempts", 2000, state="assigned,armed,started,lost")
        return _only("attempt", given, [a["id"] for a in tries if a["id"].startswith(given)])

    def _ask(self, method: str, path: str, **how: Any) -> Json:
        how.setdefault("timeout", (CONNECT_S, ANSWER_S))
        how["allow_redirects"] = False  # a key is for the address it was given for
        try:
            response = self._session.request(method, f"{self.url}/api/v1{path}", **how)
        except requests.exceptions.SSLError as error:
            raise Unreachable(
                f"the certificate of {self.url} cannot be verified ({_reason(error)}); the farm's"
                " own CA is trust/ca.pem of its data folder: copy it here by a way that you trust,"
                " and name it by --ca or MOONFLEET_CA"
            ) from error
        except requests.RequestException as error:
            raise Unreachable(
                f"no coordinator answers at {self.url} ({_reason(error)}); is it running? "
                "Name another by --url or MOONFLEET_URL"
            ) from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "ok" not in answer:
            raise Unreachable(f"{self.url} answers, but not as a Moonfleet coordinator does")
        if answer["ok"]:
            return answer
        kind = {401: NotAllowed, 403: NotAllowed, 404: Missing}.get(response.status_code, Refused)
        text = str(answer.get("error", "refused"))
        if response.status_code == 401:
            text += f"\nmoonfleet: `moonfleet login --url {self.url}` makes a key for this computer"
        raise kind(text, answer)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError as error:
        raise Usage(f"--url {url!r}: {error}") from error


def _only(what: str, given: str, found: list[str]) -> str:
    if not found:
        raise Missing(f"{what} {given!r}: there is none whose id begins so")
    if len(found) > 1:
        shown = ", ".join(sorted(id_[:12] for id_ in found)[:5])
        raise Usage(f"{what} {given!r}: {len(found)} begin so ({shown}); give more of the id")
    return found[0]


def _reason(error: requests.RequestException) -> str:
    """The last cause in a chain of them, without addresses of objects."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    cause: BaseException = error
    while cause.__context__ is not None:
        cause = cause.__context__
    return (
        getattr(cause, "verify_message", None)
        or getattr(cause, "strerror", None)
        or type(cause).__name__
    )
