"""The arguments of G-code commands: letters with numbers, and KEY=value parameters.

Owns their spelling and forgives what Klipper would refuse. What a command does is extents.py's.
"""

from __future__ import annotations

import math
import re

_LETTER = re.compile(rb"([A-Z])\s*(-?\+?[\d.]+)")
_PARAMETER = re.compile(r"(\w+)\s*=\s*([^\s;]+)")


def letters(text: bytes) -> dict[str, float]:
    """The letters of a traditional command with their numbers; a bare letter (G28 X) is 0."""
    found: dict[str, float] = {}
    for letter in re.findall(rb"\b([A-Z])\b", text):
        found[letter.decode()] = 0.0
    for letter, number in _LETTER.findall(text):
        try:
            found[letter.decode()] = float(number)
        except ValueError:
            # "X1.2.3": not a number, and as little a move to Klipper.
            found.pop(letter.decode(), None)
    return found


def parameters(text: str) -> dict[str, str]:
    """The parameters of an extended command (`PRINT_START BED=60`), their names in capitals."""
    return {key.upper(): value for key, value in _PARAMETER.findall(text)}


def temperature_c(value: str | None) -> float | None:
    """A parameter's value as degrees; None where it is no finite number."""
    try:
        degrees_c = float(value or "")
    except ValueError:
        return None
    return degrees_c if math.isfinite(degrees_c) else None
