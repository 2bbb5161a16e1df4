"""Where a command's words go: to people, or as one JSON document to scripts.

Owns the two modes, and that what is written moves no terminal: titles, file names and reasons come
from hosts and files of anybody. With `--json` stdout holds JSON alone.
"""

from __future__ import annotations

import json
import sys
import unicodedata

from coordinator.cli.client import CliError, Json

COMMANDS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of what is no sign of its own: controls, turns of direction, halves, line ends."""


def harmless(text: str, keep: str = "\n") -> str:
    """The text with whatever a terminal would obey written out as JSON writes it."""
    return "".join(
        _written_out(letter)
        if unicodedata.category(letter) in COMMANDS and letter not in keep
        else letter
        for letter in text
    )


def _written_out(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) <= 0xFFFF else json.dumps(letter)[1:-1]


class Output:
    """`text` is for people, `json` for scripts, `progress` for people who wait (stderr)."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def text(self, text: str) -> None:
        if not self.as_json:
            print(harmless(text), flush=True)

    def json(self, value: Json) -> None:
        if self.as_json:
            print(harmless(json.dumps(value, ensure_ascii=False)), flush=True)

    def show(self, text: str, value: Json) -> None:
        """The one or the other."""
        self.text(text)
        self.json(value)

    def progress(self, text: str) -> None:
        print(harmless(text), file=sys.stderr, flush=True)

    def fail(self, error: CliError) -> int:
        """Say what went wrong; returns the exit code."""
        if not self.as_json:
            print(harmless(f"moonfleet: {error}"), file=sys.stderr)
        elif error.answer:
            self.json(error.answer)
        return error.code
