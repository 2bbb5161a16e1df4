"""Where a command's words go: to people, or as one JSON document to scripts.

Owns the two modes. With `--json` stdout holds JSON alone.
"""

from __future__ import annotations

import json
import sys

from coordinator.cli.client import CliError, Json


class Output:
    """`text` is for people, `json` for scripts, `progress` for people who wait (stderr)."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def text(self, text: str) -> None:
        if not self.as_json:
            print(text, flush=True)

    def json(self, value: Json) -> None:
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False), flush=True)

    def show(self, text: str, value: Json) -> None:
        """The one or the other."""
        self.text(text)
        self.json(value)

    def progress(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def fail(self, error: CliError) -> int:
        """Say what went wrong; returns the exit code."""
        if not self.as_json:
            print(f"moonfleet: {error}", file=sys.stderr)
        elif error.answer:
            self.json(error.answer)
        return error.code
