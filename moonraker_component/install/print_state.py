"""Say whether a printer prints: asks its Moonraker, for install.sh.

Usage: print_state.py MOONRAKER_CONF. Prints one word: `idle`; `printing` (also when paused);
`no-klipper` when Moonraker runs without a Klipper that is ready; `no-moonraker` when nothing
listens on its port. Anything else ends with status 1 and the reason on stderr: what cannot be
known must not be taken for idle. Stdlib only; must not know what is installed.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from typing import Any

DEFAULT_PORT = 7125  # Moonraker's docs/configuration.md, [server]
TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 1_000_000


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


def get(base: str, path: str) -> Any:
    """Return the `result` that Moonraker at `base` answers to `path`."""
    # A proxy set for downloads must not be asked about this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(base + path, timeout=TIMEOUT_S) as answer:
        return json.loads(answer.read(ANSWER_BYTES_MAX))["result"]


def ask(base: str) -> str:
    """Return one of the words above; raises OSError, ValueError or KeyError if none is sure."""
    try:
        status = get(base, "/printer/objects/query?print_stats&virtual_sdcard")["status"]
    except urllib.error.HTTPError as error:
        # 404 before the first Klipper has connected, 503 after it has gone.
        if error.code not in (404, 503):
            raise
        info = get(base, "/server/info")
        if info["klippy_connected"] and info["klippy_state"] == "ready":
            raise
        return "no-klipper"
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return "no-moonraker"
        raise
    state = status.get("print_stats", {}).get("state", "standby")
    active = status.get("virtual_sdcard", {}).get("is_active", False)
    return "printing" if active or state in ("printing", "paused") else "idle"


def main(path: str) -> int:
    """Print the word for the Moonraker whose configuration file is `path`."""
    try:
        with open(path, encoding="utf-8") as file:
            host, port = server_options(file.read())
        netloc = f"[{host}]" if ":" in host else host
        print(ask(f"http://{netloc}:{port}"))
    except (OSError, ValueError, KeyError) as error:
        print(f"cannot ask Moonraker ({path}) whether it prints: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
