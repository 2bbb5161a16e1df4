"""Run one virtual micro-controller: `python -m demo.mcu --link ... --control ... --ledger ...`.

Owns the command line only.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from .firmware import Options, VirtualMcu
from .wiring import Machine


def _size(text: str) -> tuple[float, float, float]:
    try:
        x_mm, y_mm, z_mm = (float(word) for word in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted is X x Y x Z, as 220x220x250") from None
    return x_mm, y_mm, z_mm


def _ask_for_promptness() -> None:
    # A late answer upsets the host's estimate of this clock. Only root is granted this, and
    # not in every container.
    try:
        os.nice(-5)
    except PermissionError:
        print("no better nice value granted; starting many printers at once may upset clocks")


def main() -> None:
    """Parse the command line and serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo.mcu", description=__doc__)
    parser.add_argument("--link", type=Path, required=True, help="where klippy finds its port")
    parser.add_argument("--control", type=Path, required=True, help="unix socket for faults")
    parser.add_argument("--ledger", type=Path, required=True, help="JSON lines file, appended to")
    parser.add_argument("--speed", type=float, default=1.0, help="times faster than real time")
    parser.add_argument("--bed", type=_size, default="220x220x250", help="millimetres")
    parser.add_argument("--kinematics", choices=("cartesian", "corexy"), default="cartesian")
    parser.add_argument("--strict", action="store_true", help="enforce the firmware's deadlines")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _ask_for_promptness()
    x_mm, y_mm, z_mm = args.bed
    machine = Machine(x_mm, y_mm, z_mm, args.kinematics)
    options = Options(args.link, args.control, args.ledger, machine, args.speed, args.strict)
    mcu = VirtualMcu(options)
    try:
        mcu.run()
    finally:
        mcu.close()


if __name__ == "__main__":
    main()
