"""`python -m tests.chaos`: the real farm under random faults, and a verdict.

Owns the command line. The last line is one JSON object; the exit status is 1 if the farm broke
its word, 2 if the run itself could not be carried out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from demo import fasttime, hosts
from demo.farm import ApiError, FarmError
from demo.printer import NotReady
from tests.chaos.run import PRINTERS_LEAST, Plan, run

SEED_MAX = 2**31


def main() -> int:
    """Parse, run, print the verdict."""
    parser = argparse.ArgumentParser(prog="./install.sh chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of faults (default 10)")
    parser.add_argument("--seed", type=int, help="of faults and orders; drawn if not given")
    parser.add_argument("--printers", type=int, default=PRINTERS_LEAST)
    parser.add_argument("--speed", type=float, default=15.0, help="times faster than real time")
    parser.add_argument("--every", type=float, default=4.0, help="seconds from fault to fault")
    parser.add_argument(
        "--run-dir",
        type=Path,
        help="a short path, made anew; a new folder by default, kept if the farm broke its word",
    )
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else secrets.randbelow(SEED_MAX)
    folder = args.run_dir or Path(tempfile.mkdtemp(prefix="mf-chaos-"))
    plan = Plan(seed, args.minutes * 60, folder, args.printers, args.speed, args.every)
    print(f"chaos: seed {seed}, {args.minutes:g} min, logs in {folder}", flush=True)
    try:
        result = asyncio.run(run(plan, lambda text: print(text, flush=True)))
    except (hosts.PartMissing, fasttime.CompilerMissing, NotReady, FarmError, ApiError) as error:
        print(f"error: the run could not be carried out: {error}", file=sys.stderr)
        return 2
    verdict = result.verdict
    for finding in verdict.findings:
        print(f"{finding.what}: {finding.copy} {finding.printer} {finding.text}")
    if verdict.is_good and args.run_dir is None:
        shutil.rmtree(folder)
    else:
        print(f"in order: {result.timeline}")
    line = {"chaos": "good" if verdict.is_good else "bad", "seed": seed, "minutes": args.minutes}
    print(json.dumps({**line, **verdict.figures, "faults": result.faults}), flush=True)
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
