"""Plays one scenario to its end: the one way in for tests, runner and shrinking."""

from __future__ import annotations

from tests.sim.scenario import Scenario, draw
from tests.sim.world import World


def run(seed: int | Scenario, kind: str = "") -> World:
    """One history: faults, healing, the end. Judge it with `invariants.breaches_of`.

    `kind`: one of scenario.KINDS; left out, the seed draws it.
    """
    scenario = seed if isinstance(seed, Scenario) else draw(seed, kind)
    world = World(scenario)
    world.play()
    return world
