"""What a measurement says at its end: one JSON object on one line.

Owns its shape. Must not know what is measured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Reference = dict[str, Any]


def result(bench: str, figures: dict[str, float], reference: Reference, *more: Reference) -> str:
    """The last line of a bench, in thousandths; `more` are further things to compare with."""
    told = {name: round(value, 3) for name, value in figures.items()}
    return json.dumps(
        {"bench": bench, "figures": told, "reference": {**reference, "more": list(more)}}
    )


def fixed(name: str, value: float) -> Reference:
    """A bar, or a figure measured elsewhere."""
    return {"name": name, "value": round(value, 3), "fixed": True}


def measured(name: str, value: float) -> Reference:
    """A figure of the same run."""
    return {"name": name, "value": round(value, 3), "fixed": False}


def spread(values: Sequence[float]) -> str:
    """All values, smallest first, for people."""
    return " ".join(f"{value:.3f}" for value in sorted(values))
