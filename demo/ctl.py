"""Switch the faults of a virtual printer by hand: `python -m demo.ctl SOCKET COMMAND ...`.

Owns the words of the command line; what they do is in demo.mcu.control.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from demo.mcu.control import Control, ControlError
from demo.mcu.faults import SENSOR_FAULTS
from demo.mcu.wiring import HEATERS

_PLAIN = ("status", "unplug", "replug", "shutdown", "bed-clear")


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.ctl", description=__doc__)
    parser.add_argument("socket", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in _PLAIN:
        commands.add_parser(name)
    commands.add_parser("filament").add_argument("state", choices=("out", "in"))
    commands.add_parser("ejector").add_argument("state", choices=("stuck", "free"))
    for name, states in (("thermistor", SENSOR_FAULTS), ("heating", ("off", "on"))):
        command = commands.add_parser(name)
        command.add_argument("heater", choices=tuple(HEATERS))
        command.add_argument("state", choices=states)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Carry out one command; for `status`, print the answer."""
    args = _parse(words)
    control = Control(args.socket)
    try:
        if args.command == "filament":
            control.filament(args.state == "in")
        elif args.command == "ejector":
            control.ejector(args.state == "stuck")
        elif args.command == "thermistor":
            control.thermistor(args.heater, args.state)
        elif args.command == "heating":
            control.heating(args.heater, args.state == "on")
        else:
            answer = control.ask(args.command.replace("-", "_"))
            if answer:
                print(json.dumps(answer, indent=2))
    except ControlError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
