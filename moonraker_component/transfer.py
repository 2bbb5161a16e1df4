"""Verified, resumable download of one G-code file at a time.

Owns HTTP: ranges, retries, the hash while the bytes pass. Runs on a thread of its own, so that
neither the network nor the hash ever holds Moonraker. What it must not know: attempts, MQTT,
Moonraker.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
import time
import urllib.parse
from typing import Any, BinaryIO, Optional

import requests
import urllib3.exceptions

from . import tls
from .cache import CHUNK_BYTES, Cache, TransferError, disk_error, hash_file
from .wire import FileRef

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
TRIES_MAX = 8
"""Tries in a row that brought not one byte."""

TRANSFER_MAX_S = 6 * 3600.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 15.0
MISMATCHES_MAX = 2
LINK_STATUSES = frozenset({403, 410})
"""The link was not made for this attempt, or it has expired, or the attempt has ended."""

TRY_AGAIN_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class Stopped(Exception):
    """Nobody wants this file any more."""


class _Broken(Exception):
    """The connection or the server failed in a way that may pass."""


class Download:
    """One file into the cache. `run` blocks; `stop` from anywhere ends it."""

    def __init__(self, cache: Cache, file: FileRef, tls_ca: str = "") -> None:
        self._cache = cache
        self._file = file
        self._url = file.url
        self._verify: Any = tls_ca or True
        self._part = cache.part(file.sha256)
        self._digest = hashlib.sha256()
        self._have = 0
        self._wake = threading.Event()

    def stop(self) -> None:
        """Give up soon; `run` raises Stopped."""
        self._wake.set()

    def relink(self, url: str) -> None:
        """From the next request on use this URL: the link that was given first runs out."""
        self._url = url

    def run(self, keep: frozenset[str] = frozenset()) -> None:
        """Have the verified file in the cache, or raise TransferError or Stopped.

        `keep`: sha256 of files that must not be evicted for it.
        """
        file = self._file
        if self._cache.has(file.sha256):
            return
        try:
            self._take_up_part()
            self._cache.make_room(file.size_bytes - self._have, keep | {file.sha256})
            self._pull_all()
        except TransferError:
            raise
        except OSError as error:
            raise disk_error(error, "writing the file") from error

    def _take_up_part(self) -> None:
        """Go on where an earlier try ended, after hashing what it left."""
        try:
            self._have = self._part.stat().st_size
        except FileNotFoundError:
            return
        if self._have > self._file.size_bytes:
            self._start_over()
        else:
            self._digest = hash_file(self._part)

    def _start_over(self) -> None:
        self._digest = hashlib.sha256()
        self._have = 0
        with contextlib.suppress(FileNotFoundError):
            self._part.unlink()

    def _pull_all(self) -> None:
        end_s = time.monotonic() + TRANSFER_MAX_S
        tries = mismatches = 0
        with requests.Session() as session:
            # Proxies, CAs and ~/.netrc of the environment are for the world outside: a proxy would
            # be told the link, and verifying must rest on our own options alone.
            session.trust_env = False
            while True:
                before = self._have
                try:
                    self._pull(session)
                except _Broken as error:
                    tries = 1 if self._have > before else tries + 1
                    if tries >= TRIES_MAX or time.monotonic() > end_s:
                        raise TransferError("download", str(error)) from error
                    self._wait(tries)
                    continue
                if self._digest.hexdigest() == self._file.sha256:
                    self._cache.accept(self._file.sha256)
                    return
                found = self._digest.hexdigest()
                self._start_over()
                mismatches += 1
                if mismatches >= MISMATCHES_MAX:
                    raise TransferError(
                        "checksum",
                        f"{_shown(self._file.url)} has sha256 {found},"
                        f" announced was {self._file.sha256}",
                    )

    def _wait(self, tries: int) -> None:
        longest_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (tries - 1))
        if self._wake.wait(longest_s * random.uniform(0.5, 1.0)):
            raise Stopped

    def _pull(self, session: requests.Session) -> None:
        """One request for what is still missing."""
        if self._have == self._file.size_bytes and self._have:
            return
        headers = {"Accept-Encoding": "identity"}
        if self._have:
            headers["Range"] = f"bytes={self._have}-"
        url = self._url
        _check_url(url)
        try:
            response = session.get(
                url,
                headers=headers,
                stream=True,
                # Wherever it led to, it would not be what was asked to be verified.
                allow_redirects=False,
                verify=self._verify,
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            )
        except requests.RequestException as error:
            raise _Broken(f"{_shown(url)}: {_reason(error)}") from error
        with response:
            self._check_status(response, url)
            self._take(response)

    def _check_status(self, response: requests.Response, url: str) -> None:
        status = response.status_code
        if status == 206 and self._range_start(response) == self._have:
            return
        if status in (200, 206, 416):
            self._start_over()  # the server does not resume: what we have is of no use
            if status == 200:
                return
            raise _Broken(f"{_shown(url)}: HTTP {status}, another range than asked for")
        text = f"{_shown(url)}: HTTP {status} {response.reason}"
        if status in TRY_AGAIN_STATUSES or (status in LINK_STATUSES and url != self._url):
            raise _Broken(text)
        if status in LINK_STATUSES:
            raise TransferError("link_refused", f"{text}: the link has ended")
        raise TransferError("download", text)

    @staticmethod
    def _range_start(response: requests.Response) -> Optional[int]:
        """The first byte of "Content-Range: bytes 7-9/10"."""
        unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
        first = rest.partition("-")[0]
        return int(first) if unit == "bytes" and first.isdigit() else None

    def _take(self, response: requests.Response) -> None:
        with open(self._part, "ab", buffering=0) as out:
            while True:
                try:
                    chunk = response.raw.read(CHUNK_BYTES)
                except NETWORK_ERRORS as error:
                    raise _Broken(f"{_shown(self._file.url)}: {_reason(error)}") from error
                if self._wake.is_set():
                    raise Stopped
                if not chunk:
                    break
                self._check_length(len(chunk))
                _write(out, chunk)
                self._digest.update(chunk)
                self._have += len(chunk)
        if self._have < self._file.size_bytes:
            raise _Broken(
                f"{_shown(self._file.url)}: ended after {self._have} of"
                f" {self._file.size_bytes} bytes"
            )

    def _check_length(self, more: int) -> None:
        if self._have + more > self._file.size_bytes:
            self._start_over()
            raise TransferError(
                "checksum",
                f"{_shown(self._file.url)}: more than the announced {self._file.size_bytes} bytes",
            )


def _write(out: BinaryIO, chunk: bytes) -> None:
    """A raw write may take less than it is given, as on a disk that is almost full."""
    view = memoryview(chunk)
    while view:
        view = view[out.write(view) :]


def _shown(url: str) -> str:
    """The URL without its query, which may hold a signature."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def _check_url(url: str) -> None:
    """Raise TransferError unless it is one to download from: beyond this computer only by TLS."""
    try:
        parts = urllib.parse.urlsplit(url)
        scheme, host = parts.scheme, parts.hostname or ""
    except ValueError:
        scheme = host = ""
    if scheme == "http" and host and not tls.is_loopback(host):
        raise TransferError(
            "bad_url",
            f"{_shown(url)!r}: https is needed beyond this computer; pairing this host again sets"
            " coordinator_url",
        )
    if scheme not in ("http", "https"):
        raise TransferError("bad_url", f"{url[:200]!r}: http or https is needed")


def _reason(error: BaseException) -> str:
    """The innermost reason: requests wraps what urllib3 wraps, and the outer texts hold URLs."""
    while True:
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            return tls.told(error)
        error = inner
