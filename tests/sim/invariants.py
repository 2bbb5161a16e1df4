"""What must hold, as functions over the recorded history of one run. Each returns its breaches."""

from __future__ import annotations

from coordinator.core.jobs import CopyState, Policy
from tests.sim.hosts import PRINT_S
from tests.sim.world import World


def every_job_ends(world: World) -> list[str]:
    """No copy is lost: when the faults end, every copy is done, or asks a person under `never`."""
    farm = world.coordinator.farm
    ends = {CopyState.DONE}
    if world.policy.offline_grace_s is None:
        ends.add(CopyState.HELD)
    open_copies = [c for c in farm.copies.values() if c.state not in ends]
    return [f"copy {c.number} is {c.state}: {c.reason}" for c in open_copies]


def accepted_once(world: World) -> list[str]:
    """A copy counts once, and what counts was physically printed to its end."""
    breaches = []
    finished = {p.attempt for h in world.all_hosts() for p in h.prints if p.done_s >= PRINT_S}
    accepted: dict[str, str] = {}
    for attempt in world.coordinator.farm.attempts.values():
        if not attempt.accepted:
            continue
        if attempt.copy in accepted:
            breaches.append(f"copy {attempt.copy} accepted twice")
        accepted[attempt.copy] = attempt.id
        if attempt.id not in finished:
            breaches.append(f"attempt {attempt.id} accepted, but was never printed to its end")
    return breaches


def started_once(world: World) -> list[str]:
    """No attempt starts twice, and nothing starts on an uncleared bed."""
    seen: set[str] = set()
    breaches = []
    for host in world.all_hosts():
        if host.dirty_starts:
            breaches.append(f"{host.name}: {host.dirty_starts} starts on an uncleared bed")
        for printed in host.prints:
            if printed.attempt in seen:
                breaches.append(f"attempt {printed.attempt} started twice")
            seen.add(printed.attempt)
    return breaches


def never_doubled(world: World) -> list[str]:
    """Under `never` no copy is printed to its end twice, nor on two printers at once."""
    if world.policy.offline_grace_s is not None or world.restored:
        return []  # what was placed after the backup is known to its host alone
    by_copy: dict[str, list[float]] = {}
    for host in world.all_hosts():
        for printed in host.prints:
            if printed.done_s >= PRINT_S:
                by_copy.setdefault(printed.copy, []).append(printed.begun_s)
    return [f"copy {c} printed {len(n)} times" for c, n in by_copy.items() if len(n) > 1]


def fence_holds(world: World) -> list[str]:
    """Under a fence no two printers extrude the same copy at the same time."""
    policy: Policy = world.policy
    if not policy.fence or world.restored:
        return []
    prints = [p for h in world.all_hosts() for p in h.prints]
    breaches = []
    for i, one in enumerate(prints):
        for other in prints[i + 1 :]:
            if one.copy != other.copy:
                continue
            for a, b in one.runs:
                for c, d in other.runs:
                    if max(a, c) < min(b, d):
                        breaches.append(f"copy {one.copy}: {one.attempt} and {other.attempt}")
    return breaches


def stopped_for_a_reason(world: World) -> list[str]:
    """The farm cancels a print only where another print of the copy was kept or counted."""
    breaches = []
    farm = world.coordinator.farm
    for host in world.all_hosts():
        for attempt_id, why in host.stops:
            attempt = farm.attempts.get(attempt_id)
            copy = attempt.copy if attempt is not None else ""
            others = [
                p for h in world.all_hosts() for p in h.prints
                if p.copy == copy and p.attempt != attempt_id
            ]  # fmt: skip
            if why == "stray" or not others:
                breaches.append(f"{attempt_id} was stopped ({why})")
    return breaches


ALL = (
    every_job_ends,
    accepted_once,
    started_once,
    never_doubled,
    fence_holds,
    stopped_for_a_reason,
)


def breaches_of(world: World) -> list[str]:
    """Every breach of every invariant, by its name."""
    return [f"{check.__name__}: {text}" for check in ALL for text in check(world)]
