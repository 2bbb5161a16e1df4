"""The farm in one value: who reigns, whether it is connected, how much there is.

Owns the counting. Must not know HTTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from coordinator.core.jobs import JobState
from coordinator.http.printer_view import PrinterView
from coordinator.http.services import Services


class FarmCounts(Struct, frozen=True):
    """`printers` by state; `jobs` that are not finished, by state; copies of those jobs."""

    printers: dict[str, int]
    jobs: dict[str, int]
    copies_waiting: int
    attempts_live: int


class FarmView(Struct, frozen=True, kw_only=True):
    """`connected`: the coordinator hears its own beacon, so it can reach and hear hosts.

    `file_bytes_max`: the largest file that is taken. `files_bytes`: what stored files take.
    """

    version: str
    term: int
    connected: bool
    lease_s: float
    fence_s: float
    offline_grace_s: float
    file_bytes_max: int
    files_bytes: int
    counts: FarmCounts


def farm_view(services: Services, views: Iterable[PrinterView]) -> FarmView:
    """The farm, given the views of its printers."""
    farm, settings = services.engine.farm, services.engine.farm.settings
    printers = Counter(view.state.value for view in views)
    jobs = Counter(job.state.value for job in farm.jobs.values() if not job.finished)
    waiting = sum(
        len(copies)
        for job_id, copies in farm.waiting_of.items()
        if farm.jobs[job_id].state is JobState.ACTIVE
    )
    return FarmView(
        version=services.version,
        term=farm.reign.term,
        connected=farm.reign.connected_s is not None,
        lease_s=settings.lease_s,
        fence_s=settings.fence_s,
        offline_grace_s=settings.offline_grace_s,
        file_bytes_max=services.content.file_bytes_max,
        files_bytes=services.content.used_bytes,
        counts=FarmCounts(
            printers=dict(sorted(printers.items())),
            jobs=dict(sorted(jobs.items())),
            copies_waiting=waiting,
            attempts_live=len(farm.live_on),
        ),
    )
