"""`python -m tests.bench NAME [args]`: one measurement, whose last line is one JSON object.

Owns the command line.
"""

from __future__ import annotations

import argparse
import asyncio

from tests.bench import agent, dispatch, failover, fleet, restart, schedule, start, transfer

BENCHES = {
    "dispatch": dispatch,
    "transfer": transfer,
    "start": start,
    "schedule": schedule,
    "fleet": fleet,
    "restart": restart,
    "failover": failover,
    "agent": agent,
}


def main() -> None:
    """Run the bench that is named and print what it found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = parser.add_subparsers(dest="name", required=True)
    for name, bench in BENCHES.items():
        bench.add_arguments(names.add_parser(name, help=bench.__doc__, description=bench.__doc__))
    args = parser.parse_args()
    print(asyncio.run(BENCHES[args.name].run(args)), flush=True)


if __name__ == "__main__":
    main()
