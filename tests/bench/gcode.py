"""G-code of a wanted size, such as a slicer writes.

Owns the text: repeatable, a few centimetres wide, so that any printer can take it.
"""

from __future__ import annotations

from pathlib import Path

HEAD = b"""; filament_type = PLA
; nozzle_diameter = 0.4
M140 S60
M104 S210
G28
G90
M83
"""
BLOCK_LINES = 20_000


def write_gcode(path: Path, size_mb: float) -> int:
    """Write a file of about `size_mb` million bytes (never less); return its size in bytes."""
    wanted_bytes = int(size_mb * 1e6)
    line, written = 0, 0
    with path.open("wb") as file:
        written += file.write(HEAD)
        while written < wanted_bytes:
            block = "".join(_move(n) for n in range(line, line + BLOCK_LINES)).encode()
            last = block.find(b"\n", max(wanted_bytes - written - 1, 0)) + 1
            written += file.write(block[:last] if last else block)
            line += BLOCK_LINES
    return written


def _move(number: int) -> str:
    x_mm = 80 + number % 397 * 0.151
    y_mm = 80 + number % 211 * 0.283
    return f"G1 X{x_mm:.3f} Y{y_mm:.3f} E{0.01 + number % 7 * 0.003:.5f}\n"
