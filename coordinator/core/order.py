"""In which order work is taken: whose turn it is, kept as an index.

Owns the order (lane, then what came back from a printer, priority, deadline, rank) and the line in
which jobs with a waiting copy stand, so that no round has to sort or to look at all of them. Must
not know printers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import merge
from typing import NamedTuple

from msgspec import Struct

from coordinator.core.jobs import Job, Lane, Requirements

NO_DEADLINE_AT = float("inf")
LONG_AGO_AT = float("-inf")

BULK_SHARE = 8
"""Above one changed place in this many, sorting anew costs less than moving one by one."""


class Need(Struct, frozen=True, cache_hash=True):
    """What a job wants of a printer: the same printers refuse all jobs of one need."""

    requirements: Requirements
    fence: bool


class Place(NamedTuple):
    """Where a job stands; less goes first. The job's id makes every place a different one.

    `due_at`: the latest epoch second at which it may start to make its deadline. All slacks shrink
    alike, so that their order does not depend on the time.
    """

    lane: int
    back: int
    priority: int
    due_at: float
    rank: float
    job: str
    need: Need
    created_at: float


def place_of(job: Job, came_back: bool, horizon_at: float) -> Place:
    """The place of a job; a standard one that was made at the horizon or before it is express."""
    due_at = NO_DEADLINE_AT
    if job.deadline_at is not None:
        due_at = job.deadline_at - (job.estimated_s or 0.0)
    return Place(
        lane=0 if job.lane is Lane.EXPRESS or job.created_at <= horizon_at else 1,
        back=0 if came_back else 1,
        priority=-job.priority,
        due_at=due_at,
        rank=job.rank,
        job=job.id,
        need=Need(job.requirements, job.policy.fence),
        created_at=job.created_at,
    )


class Line:
    """Every job with a waiting copy, in order. Changed by `update` alone.

    `horizon_at`: the newest epoch second of which standard jobs were found to be old enough to be
    express. It never goes back, whatever the wall clock does.
    """

    def __init__(self) -> None:
        self.horizon_at = LONG_AGO_AT
        self._places: list[Place] = []
        self._of: dict[str, Place] = {}
        self._needs: Counter[Need] = Counter()
        self._young: list[tuple[float, str]] = []

    def __contains__(self, need: object) -> bool:
        """Whether a job of this need stands in the line."""
        return need in self._needs

    def needs(self) -> int:
        """How many different needs there are."""
        return len(self._needs)

    def grown(self, horizon_at: float) -> list[str]:
        """Standard jobs that are express from this horizon on, and were not before."""
        return [job for _, job in self._young[: self._old(horizon_at)]]

    def in_order(self, changes: Mapping[str, Place | None]) -> Iterator[Place]:
        """All places, as they are with these changes; lazily, for few are looked at."""
        here = (place for place in self._places if place.job not in changes)
        return merge(here, sorted(place for place in changes.values() if place is not None))

    def update(self, changes: Mapping[str, Place | None], horizon_at: float) -> None:
        """Add or move jobs, or take them out (None)."""
        self.horizon_at = max(self.horizon_at, horizon_at)
        changed = {job: place for job, place in changes.items() if self._of.get(job) != place}
        if len(changed) * BULK_SHARE > len(self._places):
            self._build(changed)
            return
        for job, place in changed.items():
            if job in self._of:
                self._leave(self._of.pop(job))
            if place is not None:
                self._of[job] = place
                self._join(place)

    def _build(self, changed: Mapping[str, Place | None]) -> None:
        places = {**self._of, **changed}
        self._of = {job: place for job, place in places.items() if place is not None}
        self._places = sorted(self._of.values())
        self._needs = Counter(place.need for place in self._places)
        self._young = sorted((p.created_at, p.job) for p in self._places if p.lane)

    def _join(self, place: Place) -> None:
        insort(self._places, place)
        self._needs[place.need] += 1
        if place.lane:
            insort(self._young, (place.created_at, place.job))

    def _leave(self, place: Place) -> None:
        del self._places[bisect_left(self._places, place)]
        self._needs[place.need] -= 1
        if not self._needs[place.need]:
            del self._needs[place.need]
        if place.lane:
            del self._young[bisect_left(self._young, (place.created_at, place.job))]

    def _old(self, horizon_at: float) -> int:
        return bisect_right(self._young, horizon_at, key=lambda young: young[0])
