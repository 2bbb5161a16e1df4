"""`./install.sh sim`: many farms under many seeds, on every core. See `--help`.

Owns the command line, the spreading over processes and what is printed. A run is deterministic:
what is found first is what the lowest seed finds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from tests.sim.invariants import breaches_of
from tests.sim.mutants import MUTANTS
from tests.sim.play import run
from tests.sim.scenario import KINDS, draw
from tests.sim.shrink import as_test, shrink

SEEDS = 2_000
MUTANT_SEEDS = 500
CHUNK = 8
PROGRESS_S = 5.0


class Task(NamedTuple):
    """One seed to be run, perhaps of one kind of farm, perhaps with a rule removed."""

    seed: int
    kind: str = ""
    mutant: str = ""


class Found(NamedTuple):
    """What one seed broke, if anything."""

    task: Task
    breaches: tuple[str, ...]


def play(task: Task) -> Found:
    """Run one seed, in whatever process this is."""
    with ExitStack() as stack:
        if task.mutant:
            stack.enter_context(MUTANTS[task.mutant].applied())
        return Found(task, tuple(breaches_of(run(task.seed, task.kind))))


def play_all(tasks: Sequence[Task], processes: int) -> Iterator[Found]:
    """In the order of the seeds; whoever stops to listen stops the processes."""
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap(play, tasks, chunksize=CHUNK)


def report(found: Found, invariant: str) -> None:
    """The first violation: what, where, the shortest way there, and how to see it again."""
    seed, kind = found.task.seed, found.task.kind
    print(f"\nseed {seed} breaks {invariant}:")
    for breach in found.breaches:
        print(f"  {breach}")
    print("shrinking ...", flush=True)
    scenario = shrink(draw(seed, kind), invariant)
    print(f"{len(scenario.faults)} faults are needed, in a farm of kind {scenario.kind.name}:\n")
    print(as_test(scenario, invariant))
    more = f" --kind {kind}" if kind else ""
    print(f"replay: ./install.sh sim --seeds 1 --seed {seed}{more}")


def run_seeds(first: int, number: int, kind: str, processes: int) -> int:
    """The product as it is: no seed may break anything."""
    begun_s = told_s = time.monotonic()
    violations = 0
    worst: Found | None = None
    for done, found in enumerate(
        play_all([Task(seed, kind) for seed in range(first, first + number)], processes), 1
    ):
        if found.breaches:
            violations += 1
            worst = worst or found
        if time.monotonic() - told_s >= PROGRESS_S:
            told_s = time.monotonic()
            spent_s = told_s - begun_s
            print(f"{done} of {number} seeds, {violations} violations, {spent_s:.0f} s", flush=True)
    if worst is not None:
        report(worst, worst.breaches[0].partition(":")[0])
    spent_s = time.monotonic() - begun_s
    print(f"seeds: {number}  violations: {violations}  seconds: {spent_s:.1f}")
    return 1 if violations else 0


def run_mutant(name: str, first: int, number: int, kind: str, processes: int) -> bool:
    """The product with one rule removed: some seed has to notice."""
    begun_s = time.monotonic()
    tasks = [Task(seed, kind, name) for seed in range(first, first + number)]
    for done, found in enumerate(play_all(tasks, processes), 1):
        if found.breaches:
            spent_s = time.monotonic() - begun_s
            told = f"caught after {done} seeds, {spent_s:.1f} s: {found.breaches[0]}"
            print(f"{name}: {told}", flush=True)
            return True
    print(f"{name}: NOT caught by {number} seeds (trace {MUTANTS[name].trace})", flush=True)
    return False


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./install.sh sim",
        description="Whole farms in one process under seeds. Exit 1: a promise was broken, or "
        "(with --mutant) no promise noticed that a rule is gone.",
    )
    usual = f"default {SEEDS}, with --mutant {MUTANT_SEEDS}"
    parser.add_argument("--seeds", type=int, help=f"how many ({usual})")
    parser.add_argument("--seed", type=int, default=0, help="the first one (default 0)")
    parser.add_argument("--kind", default="", choices=["", *KINDS], help="farms of this kind alone")
    parser.add_argument("--mutant", default="", help=f"remove a rule: all, {', '.join(MUTANTS)}")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    if options.mutant not in ("", "all", *MUTANTS):
        parser.error(f"--mutant {options.mutant}: choose all, {', '.join(MUTANTS)}")
    if options.seeds is not None and options.seeds < 1:
        parser.error(f"--seeds {options.seeds}: at least 1")
    return options


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; returns the exit status."""
    options = parse(arguments)
    where = (options.seed, options.seeds or (MUTANT_SEEDS if options.mutant else SEEDS))
    if not options.mutant:
        return run_seeds(*where, options.kind, options.processes)
    names = list(MUTANTS) if options.mutant == "all" else [options.mutant]
    caught = [run_mutant(name, *where, options.kind, options.processes) for name in names]
    return 0 if all(caught) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
