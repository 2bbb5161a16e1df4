"""The whole farm under seeds: faults for a while, then healing, then everything must hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core.jobs import CopyState, JobState, Policy
from tests.sim.invariants import breaches_of
from tests.sim.world import Faults, World

POLICIES = {
    "default": Policy(offline_grace_s=40.0, retries=90),
    "never": Policy(offline_grace_s=None, retries=90),
    "fence": Policy(offline_grace_s=40.0, fence=True, retries=90),
}
EVERYTHING = Faults()
CLONES = replace(EVERYTHING, kinds=(*EVERYTHING.kinds, "clone"))
BACKUPS = replace(EVERYTHING, kinds=(*EVERYTHING.kinds, "restore", "restore"))
FAULTY_S = 900.0
HEALED_S = 6_000.0


def run(seed: int, policy: Policy, faults: Faults = EVERYTHING, sections: bool = True) -> World:
    """One history: faults, healing, the end."""
    world = World(seed=seed, policy=policy, faults=faults, sections=sections)
    world.start()
    world.run(world.now_s + FAULTY_S)
    world.heal()

    def finished() -> bool:
        farm = world.coordinator.farm
        waiting = any(c.state is CopyState.OPEN for c in farm.copies.values())
        return farm.jobs[world.job.id].state is JobState.COMPLETED or not waiting

    world.run(world.now_s + HEALED_S, finished)
    world.run(world.now_s + 60.0)
    return world


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("seed", range(25))
def test_a_farm_under_faults_keeps_its_promises(seed: int, policy: str) -> None:
    assert breaches_of(run(seed, POLICIES[policy])) == []


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("seed", range(100, 115))
def test_a_farm_with_cloned_hosts_keeps_its_promises(seed: int, policy: str) -> None:
    assert breaches_of(run(seed, POLICIES[policy], CLONES)) == []


@pytest.mark.parametrize("policy", ["default", "never"])
@pytest.mark.parametrize("seed", range(200, 220))
def test_a_farm_whose_database_is_restored_loses_no_copy(seed: int, policy: str) -> None:
    assert breaches_of(run(seed, POLICIES[policy], BACKUPS)) == []


@pytest.mark.parametrize("policy", ["default", "never"])
@pytest.mark.parametrize("seed", range(300, 315))
def test_a_farm_with_hosts_without_the_section_keeps_its_promises(seed: int, policy: str) -> None:
    assert breaches_of(run(seed, POLICIES[policy], sections=False)) == []


def test_a_seed_replays_exactly() -> None:
    assert run(3, POLICIES["default"]).log == run(3, POLICIES["default"]).log
