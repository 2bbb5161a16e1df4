"""Slicers' comments as keys and values.

Owns the spelling: `; key = value`, `;KEY:value`, `; key,value`, numbers, lists, durations. What
a key means is slicers.py's. Pure: text in, values out.
"""

from __future__ import annotations

import re

_COMMENT = re.compile(r"^;[ \t]*([^=:,\n]+?)[ \t]*[=:,](.*)$", re.MULTILINE)
_NUMBER = re.compile(r"\d*\.?\d+")
_LIST_ITEM = re.compile(r'"((?:\\.|[^"\\])*)"|([^,;]+)')
_DURATION_PART = re.compile(r"(\d+)\s*(d|h|m|s)")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def leading_number(value: str) -> float | None:
    """Return the number that `value` begins with, None where it begins with none."""
    match = _NUMBER.match(value)
    return float(match[0]) if match else None


class Comments:
    """The `; key = value`, `;KEY:value` and `; key,value` comments of one window of a file."""

    def __init__(self, text: str) -> None:
        self.pairs = [(key, value.strip()) for key, value in _COMMENT.findall(text)]
        self._first: dict[str, str] = {}
        for key, value in self.pairs:
            self._first.setdefault(key, value)

    def text(self, key: str) -> str | None:
        """The first value of `key`, without quotes; None where absent or empty."""
        return self._first.get(key, "").strip('"') or None

    def number(self, key: str) -> float | None:
        """The number that the first value of `key` begins with."""
        return leading_number(self._first.get(key, ""))

    def numbers(self, key: str) -> list[float]:
        """All numbers in the first value of `key`."""
        return [float(number) for number in _NUMBER.findall(self._first.get(key, ""))]

    def total(self, key: str) -> float | None:
        """The sum of the numbers of `key`, one per extruder; None where there are none."""
        numbers = self.numbers(key)
        return sum(numbers) if numbers else None

    def whole(self, key: str) -> int | None:
        """The whole number that the first value of `key` begins with."""
        number = self.number(key)
        return None if number is None else int(number)

    def items(self, key: str) -> tuple[str, ...]:
        """The items of a list separated by ',' or ';', each perhaps in quotes."""
        found = []
        for quoted, plain in _LIST_ITEM.findall(self._first.get(key, "")):
            item = (quoted.replace('\\"', '"') or plain).strip()
            if item:
                found.append(item)
        return tuple(found)

    def duration_s(self, *keys: str) -> float | None:
        """Seconds of the first present key, from the like of `1d 2h 3m 4s`."""
        for key in keys:
            parts = _DURATION_PART.findall(self._first.get(key, ""))
            if parts:
                return float(sum(int(count) * _SECONDS[unit] for count, unit in parts))
        return None
