"""How much filament a G-code file asks for: the yardstick that the ledger is held against.

Pure: G-code in, millimetres out. It knows the moves that slicers write, not a printer's macros.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_WORD = re.compile(r"([A-Z])\s*([-+]?(?:\d+\.?\d*|\.\d+))")
_MOVES = frozenset({"G0", "G1", "G2", "G3"})


def extrusion_mm(lines: Iterable[str]) -> float:
    """The highest point of the summed E moves, in mm of filament.

    Retractions are paid back before anything new comes out, so that what leaves the nozzle is
    the rise of the highest point reached; for a file that ends primed this is the sum of all E.
    Klipper starts a file with absolute E (M82) and takes G90/G91 for X, Y and Z only.
    """
    absolute = True
    position_mm = highest_mm = 0.0
    last_e_mm = 0.0
    for raw in lines:
        line = raw.partition(";")[0].strip().upper()
        command = line.partition(" ")[0]
        if command in ("M82", "M83"):
            absolute = command == "M82"
        elif command in _MOVES or command == "G92":
            words = dict(_WORD.findall(line))
            if "E" not in words:
                continue
            e_mm = float(words["E"])
            if command != "G92":
                position_mm += e_mm - last_e_mm if absolute else e_mm
                highest_mm = max(highest_mm, position_mm)
            # In relative mode only G92 moves the origin that a later M82 counts from.
            last_e_mm = e_mm if absolute or command == "G92" else last_e_mm + e_mm
    return highest_mm


def expected_extrusion_mm(path: Path | str) -> float:
    """`extrusion_mm` of a file."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return extrusion_mm(file)
