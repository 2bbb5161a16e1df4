"""From a history that breaks a promise to the shortest list of faults that still breaks it.

Owns the search (delta debugging over the faults) and how its result is written down as a test.
Every try is a whole run, and their number has a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.sim.invariants import breaches_of
from tests.sim.play import run
from tests.sim.scenario import Fault, Scenario

RUNS_MAX = 600

Faults = tuple[Fault, ...]


def first_breach(scenario: Scenario) -> str:
    """The name of the first promise that this history breaks, or empty."""
    return next((breach.partition(":")[0] for breach in breaches_of(run(scenario))), "")


def breaks(scenario: Scenario, invariant: str) -> bool:
    """Whether this history breaks this one promise."""
    return any(b.partition(":")[0] == invariant for b in breaches_of(run(scenario)))


def shrink(scenario: Scenario, invariant: str) -> Scenario:
    """The same farm with as few faults as needed: without any one of them it keeps its promise."""

    def still(faults: Faults) -> bool:
        return breaks(replace(scenario, faults=faults), invariant)

    return replace(scenario, faults=minimal(scenario.faults, still))


def minimal(faults: Faults, still: Callable[[Faults], bool], runs_max: int = RUNS_MAX) -> Faults:
    """Leave out halves, quarters, ... and at last single faults, as long as `still` holds.

    The result is minimal unless `runs_max` tries were not enough.
    """
    runs = 0
    size = max(len(faults) // 2, 1)
    while faults:
        at, shorter = 0, False
        while at < len(faults) and runs < runs_max:
            less = faults[:at] + faults[at + size :]
            runs += 1
            if still(less):
                faults, shorter = less, True
            else:
                at += size
        if runs >= runs_max or (size == 1 and not shorter):
            break
        size = max(size // 2, 1) if size > 1 or shorter else 1
    return faults


def as_test(scenario: Scenario, invariant: str) -> str:
    """A test, ready to be kept, that fails as long as this history breaks the promise."""
    faults = "".join(f"        {fault!r},\n" for fault in scenario.faults)
    name = f"test_seed_{scenario.seed}_{scenario.kind.name}_{invariant}"
    return (
        f"def {name}() -> None:\n"
        f"    faults = (\n{faults}    )\n"
        f"    scenario = replace(draw({scenario.seed}, {scenario.kind.name!r}), faults=faults)\n"
        f"    assert breaches_of(run(scenario)) == []\n"
    )
