"""In which order work is taken.

Owns one key: lane, then what came back from a printer, priority, deadline slack, rank. Must not
know printers.
"""

from __future__ import annotations

from coordinator.core.farm import Draft, Now
from coordinator.core.jobs import Job, Lane

NO_DEADLINE_S = float("inf")


def key(job: Job, came_back: bool, now: Now, express_patience_s: float) -> tuple[float, ...]:
    """Sort key, less goes first. A standard job older than `express_patience_s` is express."""
    aged = now.wall_s - job.created_at >= express_patience_s
    lane = 0.0 if job.lane is Lane.EXPRESS or aged else 1.0
    slack_s = NO_DEADLINE_S
    if job.deadline_at is not None:
        slack_s = job.deadline_at - now.wall_s - (job.estimated_s or 0.0)
    return (lane, 0.0 if came_back else 1.0, -float(job.priority), slack_s, job.rank)


def in_order(draft: Draft, jobs: list[Job], now: Now) -> list[Job]:
    """Jobs in the order in which their next copies are to be placed."""
    patience_s = draft.settings.express_patience_s

    def key_of(job: Job) -> tuple[float, ...]:
        waiting = draft.waiting_of.get(job.id, ())
        came_back = any(draft.copies[c].front_at is not None for c in waiting)
        return key(job, came_back, now, patience_s)

    return sorted(jobs, key=key_of)
