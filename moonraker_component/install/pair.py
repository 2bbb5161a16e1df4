"""Join this host's printers to a farm by a pairing code, for install.sh.

Usage: pair.py COORDINATOR_URL FOLDER PRINTER_ID..., the code on standard input. Writes into FOLDER
what the farm answers: `options` (one "name value" per line, as moonfleet.conf takes them, "-" for
none), `ca.pem` where there is one, and <printer id>.password. Ends with status 1 and a sentence on
stderr. Standard library alone; must not know where Moonraker is.

The code is a secret and a check of 50 bits each: the check is the beginning of HMAC-SHA256(secret,
CA). The CA is fetched from whoever answers; only if it fits the check is the secret sent, over TLS
that is verified by that CA.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import socket
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, NamedTuple, Optional

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from moonraker_component import tls  # found beside this file, not installed

TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 1_000_000
CODE_LENGTH = 20
SECRET_LENGTH = 10
LOOKALIKES = str.maketrans("018", "OIB", "- ")
"""Base32 has no 0, 1 and 8, so whoever types one means the letter."""

VALUE = re.compile(r"[A-Za-z0-9._:/\[\]-]{0,300}\Z")


class Failed(Exception):
    """It cannot go on; the text is for people."""


class Response(NamedTuple):
    """An answer: its body, and the server's idea of the time."""

    body: bytes
    date: str


def parted(code: str) -> tuple[str, str]:
    """Secret and check of a code as it was typed."""
    typed = code.upper().translate(LOOKALIKES).strip()
    if len(typed) != CODE_LENGTH or not re.match(r"[A-Z2-7]+\Z", typed):
        raise Failed(
            f"the code has {CODE_LENGTH} letters and digits (A-Z, 2-7) in four groups, this one has"
            f" {len(typed)}: mistyped?"
        )
    return typed[:SECRET_LENGTH], typed[SECRET_LENGTH:]


def check_of(secret: str, ca_pem: bytes) -> str:
    """What the second half of a code has to be for this CA."""
    proof = hmac.new(secret.encode(), ca_pem, hashlib.sha256).digest()
    return base64.b32encode(proof).decode()[: CODE_LENGTH - SECRET_LENGTH]


def checked_url(text: str) -> str:
    """The coordinator's URL without what follows the host."""
    try:
        parts = urllib.parse.urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urllib.parse.urlsplit(""), ""
    plain = parts.scheme == "http" and tls.is_loopback(host)
    if not host or parts.username or not (parts.scheme == "https" or plain):
        raise Failed(
            f"--coordinator {text!r}: https://HOST:8443 is needed, as `moonfleet pair` shows it"
            " (http:// only for a coordinator on this computer)"
        )
    return f"{parts.scheme}://{parts.netloc}"


class _Straight(urllib.request.HTTPRedirectHandler):
    """Whoever answers unverified must not send us on, to another program of this computer say."""

    def redirect_request(self, *_: Any) -> None:
        return None


def ask(url: str, context: ssl.SSLContext, body: Optional[bytes] = None) -> Response:
    """One request; raises Failed, and ssl.SSLCertVerificationError as it is."""
    request = urllib.request.Request(url, body)
    if body is not None:
        request.add_header("Content-Type", "application/json")
    # A proxy set for downloads must not be asked about the farm.
    handlers = (
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _Straight(),
    )  # fmt: skip
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as answer:
            return Response(answer.read(ANSWER_BYTES_MAX), answer.headers.get("Date", ""))
    except urllib.error.HTTPError as error:
        raise Failed(f"the coordinator refuses: {_told_by(error)}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise error.reason from error
        reason = error.reason if isinstance(error.reason, BaseException) else error
        raise Failed(f"{_base(url)} cannot be reached: {tls.told(reason)}") from error
    except OSError as error:
        raise Failed(f"{_base(url)} broke off: {error}") from error


def _base(url: str) -> str:
    return url.rpartition("/api/")[0]


def _told_by(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(ANSWER_BYTES_MAX))["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"HTTP {error.code} {error.reason}"


def fetch_ca(url: str, secret: str, check: str) -> Response:
    """The CA of whoever answers, if it is the one that the code was made for."""
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    response = ask(url + "/api/v1/ca", unverified)
    if not hmac.compare_digest(check_of(secret, response.body), check):
        raise Failed(
            f"the server at {url} is not the one that made this code: its CA does not fit. Either"
            " the code is mistyped or of another farm, or somebody else's server answers there;"
            " nothing was sent to it"
        )
    return response


def verified(ca: Response) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca.body.decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def join(url: str, code: str, printers: list[str]) -> Any:
    """The farm's answer to the code."""
    secret, check = parted(code)
    ca = fetch_ca(url, secret, check)
    order = {"secret": secret, "printers": printers, "host": socket.gethostname()[:100]}
    try:
        context = verified(ca)
        answer = json.loads(ask(url + "/api/v1/pair", context, json.dumps(order).encode()).body)
    except ssl.SSLCertVerificationError as error:
        clock = error.verify_code in tls.NOT_NOW
        theirs = f"; the coordinator's says {ca.date}" if clock else ""
        raise Failed(f"{url} fits the code, but {tls.told(error)}{theirs}") from error
    except (ssl.SSLError, ValueError) as error:
        raise Failed(f"{url} does not answer as a coordinator does: {error}") from error
    return answer


def options_of(answer: Any) -> dict[str, str]:
    """What moonfleet.conf takes of the answer; "-" is to be left out. `mqtt_tls_ca` is a file."""
    broker = answer["broker"]
    system = bool(broker["tls"]) and not broker["managed"] and not broker["tls_ca"]
    options = {
        "mqtt_address": broker["host"],
        "mqtt_port": str(broker["port"]),
        "mqtt_tls": "True" if system else "",
        "topic_prefix": broker["prefix"],
        "coordinator_url": answer["coordinator_url"],
    }
    for name, value in options.items():
        if not VALUE.match(value):
            raise Failed(f"the coordinator's answer has an impossible {name}: {value[:80]!r}")
    return {name: value or "-" for name, value in options.items()}


def write(path: str, text: str) -> None:
    """A file that only we may read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")


def main(url: str, folder: str, printers: list[str]) -> int:
    """Join, and write down what install.sh needs."""
    try:
        base = checked_url(url)
        answer = join(base, sys.stdin.readline(), printers)
        options, ca = options_of(answer), answer["ca"]
        passwords = {printer["id"]: printer["password"] for printer in answer["printers"]}
        lines = [f"{name} {value}" for name, value in options.items()]
        write(os.path.join(folder, "options"), "\n".join(lines))
        if ca:
            write(os.path.join(folder, "ca.pem"), ca.strip())
        for printer in printers:
            write(os.path.join(folder, f"{printer}.password"), passwords[printer])
    except Failed as failed:
        return _ended(str(failed))
    except (KeyError, TypeError, AttributeError) as error:
        return _ended(f"{url} answers in another form than this version knows: {error!r}")
    return 0


def _ended(text: str) -> int:
    print(f"pairing: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
