"""Which machine this is: so that a cloned card is noticed.

Owns what names a machine. What it must not know: sessions, printers' ids.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

CPU_SERIAL = Path("/sys/firmware/devicetree/base/serial-number")
MACHINE_ID = Path("/etc/machine-id")


def computer_id() -> str:
    """The CPU's serial number where the board has one (a cloned card copies machine-id), else
    machine-id; empty where there is neither."""
    for path in (CPU_SERIAL, MACHINE_ID):
        try:
            found = path.read_text(encoding="ascii", errors="replace").strip("\0 \n")
        except OSError:
            continue
        if found.strip("0"):
            return found
    return ""


def machine_id(computer: str, data_path: str, mcus: str) -> str:
    """One machine: computer, instance of Moonraker on it, and its MCUs. Empty if not known yet.

    `mcus` is empty until Klipper was ready once; then it is remembered, so that the name does not
    change with every restart.
    """
    if not mcus:
        return ""
    text = "\n".join((computer, data_path, mcus))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
