"""The whole farm under seeds: faults for a while, then healing, then everything must hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.invariants import breaches_of
from tests.sim.play import run
from tests.sim.scenario import KINDS, draw


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("block", range(7))
def test_a_farm_under_faults_keeps_its_promises(kind: str, block: int) -> None:
    broken = {seed: breaches_of(run(seed, kind)) for seed in range(block * 8, block * 8 + 8)}
    assert not any(broken.values()), broken


def test_a_seed_replays_exactly() -> None:
    first, second = run(3), run(3)
    assert first.history.digest() == second.history.digest()
    assert first.history.lines() == second.history.lines()
    assert run(4).history.digest() != first.history.digest()


def test_faults_are_drawn_apart_from_everything_else() -> None:
    """Without its last fault, a history is the same up to that fault."""
    scenario = draw(5)
    last = scenario.faults[-1]
    before = [e for e in run(scenario).history.entries if e.at_s < 1_000.0 + last.at_s]
    without = run(scenario.without(last)).history.entries[: len(before)]
    assert without == before
    assert replace(draw(5, "fence"), faults=()).faults == ()
