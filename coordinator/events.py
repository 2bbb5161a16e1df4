"""Which lines of history other systems hear about, and by which name.

Owns the table from history kinds to the events of `{p}/jobs/{id}/event`. Must not know MQTT.
"""

from __future__ import annotations

from coordinator.core.farm import History
from moonraker_component.wire import JobEvent

KINDS = {
    "job_queued": "JobQueued",
    "job_held": "JobHeld",
    "job_paused": "JobPaused",
    "job_resumed": "JobResumed",
    "job_completed": "JobCompleted",
    "job_cancelled": "JobCancelled",
    "attempt_assigned": "JobAssigned",
    "attempt_started": "JobStarted",
    "attempt_paused": "JobPaused",
    "attempt_completed": "JobCopyCompleted",
    "attempt_failed": "JobFailed",
    "attempt_unknown": "JobFailed",
    "attempt_cancelled": "JobFailed",
    "attempt_lost": "JobRequeued",
    "attempt_not_started": "JobRequeued",
}
"""History kind to event kind; everything else stays in the audit table."""


def job_event(line: History, event_id: str) -> JobEvent | None:
    """The event that a line of history is to others, or None."""
    kind = KINDS.get(line.kind)
    if kind is None or not line.job:
        return None
    return JobEvent(
        id=event_id,
        kind=kind,
        job=line.job,
        copy=line.copy,
        attempt=line.attempt,
        printer=line.printer,
        cause=line.text,
    )
