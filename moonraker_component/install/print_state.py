"""Say whether a printer prints: asks its Moonraker, for install.sh.

Usage: print_state.py MOONRAKER_CONF DATA_DIR. Prints one word: `idle`; `printing`, also when
paused; `no-klipper` when Moonraker runs without a Klipper that is ready; `no-moonraker` when
nothing listens on its port. Anything else ends with status 1 and the reason on stderr: what
cannot be known must not be taken for idle. Stdlib only; must not know what is installed.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import urllib.error
import urllib.request
from functools import partial
from typing import Any, Callable

DEFAULT_PORT = 7125  # Moonraker's docs/configuration.md, [server]
TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 1_000_000
QUERY = "printer.objects.query"
PATHS = {
    QUERY: "/printer/objects/query?print_stats&virtual_sdcard",
    "server.info": "/server/info",
}
PARAMETERS: dict[str, Any] = {
    QUERY: {"objects": {"print_stats": None, "virtual_sdcard": None}},
    "server.info": {},
}
END = b"\x03"  # ends a message on Moonraker's socket
# Not found (by HTTP and by JSON-RPC) before the first Klipper connects, 503 after it has gone.
NO_KLIPPER = (404, -32601, 503)
LOGIN_WANTED = (401, 403)


class Refused(Exception):
    """Moonraker answered with an error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def server_options(text: str) -> tuple[str, int]:
    """Return address and port of the [server] section in Moonraker's configuration `text`."""
    section, host, port = "", "127.0.0.1", DEFAULT_PORT
    for line in text.splitlines():
        head = re.match(r"\[([^]]+)\]", line)
        if head:
            section = head.group(1).strip()
            continue
        option = re.match(r"(host|port)\s*[:=]\s*([^\s#;]+)", line)
        if section != "server" or not option:
            continue
        if option.group(1) == "port":
            port = int(option.group(2))
        elif option.group(2) not in ("all", "0.0.0.0", "::"):
            host = option.group(2)
    return host, port


def over_http(base: str, method: str) -> Any:
    """Ask Moonraker at `base`; raises Refused with the HTTP status, OSError when unreachable."""
    # A proxy set for downloads must not be asked about this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(base + PATHS[method], timeout=TIMEOUT_S) as answer:
            return json.loads(answer.read(ANSWER_BYTES_MAX))["result"]
    except urllib.error.HTTPError as error:
        raise Refused(error.code) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError):
            raise error.reason from error
        raise


def over_socket(path: str, method: str) -> Any:
    """Ask on Moonraker's own socket, which asks for no login; raises as over_http does."""
    question = {"jsonrpc": "2.0", "method": method, "params": PARAMETERS[method], "id": 1}
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(TIMEOUT_S)
        link.connect(path)
        link.sendall(json.dumps(question).encode() + END)
        received = b""
        while len(received) < ANSWER_BYTES_MAX:
            piece = link.recv(65536)
            if not piece:
                break
            received += piece
            for message in received.split(END)[:-1]:
                answer = json.loads(message)
                if "error" in answer:
                    raise Refused(answer["error"]["code"])
                if answer.get("id") == 1:
                    return answer["result"]
    raise ValueError(f"{path}: no answer to {method}")


def ask(call: Callable[[str], Any]) -> str:
    """Return one of the words above for the Moonraker that answers `call`."""
    try:
        status = call(QUERY)["status"]
    except Refused as refused:
        if refused.code not in NO_KLIPPER:
            raise
        info = call("server.info")
        if info["klippy_connected"] and info["klippy_state"] == "ready":
            raise
        return "no-klipper"
    state = status.get("print_stats", {}).get("state", "standby")
    active = status.get("virtual_sdcard", {}).get("is_active", False)
    return "printing" if active or state in ("printing", "paused") else "idle"


def print_state(conf: str, data: str) -> str:
    """Return the word for the Moonraker with configuration file `conf` and data folder `data`."""
    with open(conf, encoding="utf-8") as file:
        host, port = server_options(file.read())
    netloc = f"[{host}]" if ":" in host else host
    try:
        return ask(partial(over_http, f"http://{netloc}:{port}"))
    except ConnectionRefusedError:
        return "no-moonraker"
    except Refused as refused:
        if refused.code not in LOGIN_WANTED:
            raise
    return ask(partial(over_socket, os.path.join(data, "comms", "moonraker.sock")))


def main(conf: str, data: str) -> int:
    """Print the word."""
    try:
        print(print_state(conf, data))
    except (OSError, ValueError, KeyError, Refused) as error:
        print(f"cannot ask Moonraker ({conf}) whether it prints: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
