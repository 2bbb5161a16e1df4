"""What is wanted of a printer, derived from its live attempt.

Owns the one function from attempt to order, so that what is published can always be derived
from what is committed. Must not decide anything.
"""

from __future__ import annotations

from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import Draft
from coordinator.core.printers import Contact, Printer
from moonraker_component.wire import Desired, Echo, FileRef, Order, Want


def order_of(draft: Draft, attempt: Attempt | None) -> Order | None:
    """The order for this attempt; None where nothing is wanted of the printer."""
    if attempt is None or not attempt.live:
        return None
    job = draft.jobs[attempt.job]
    want = _want(attempt)
    return Order(
        attempt=attempt.id,
        copy=attempt.copy,
        job=attempt.job,
        want=want,
        file=FileRef(
            name=job.file.name,
            sha256=job.file.sha256,
            size_bytes=job.file.size_bytes,
            url=draft.settings.file_url.replace("{attempt}", attempt.id),
        ),
        session=attempt.session if want is Want.START else "",
        fence_s=draft.settings.fence_s if job.policy.fence else 0.0,
        resume=attempt.resume if want is Want.RUN else "",
    )


def desired_of(printer: Printer, contact: Contact | None, term: int, lease_s: float) -> Desired:
    """The message for a printer: its issued order with the echo of its newest committed report."""
    echo = None
    if contact is not None and contact.session == printer.session and contact.sequence:
        echo = Echo(session=contact.session, sequence=contact.sequence)
    return Desired(
        term=term,
        generation=printer.generation,
        lease_s=lease_s,
        order=printer.issued,
        echo=echo,
    )


def _want(attempt: Attempt) -> Want:
    if attempt.take_back:
        return Want(attempt.take_back)
    if attempt.state is State.ASSIGNED:
        return Want.PREPARE
    if attempt.state is State.ARMED:
        return Want.START
    if attempt.state is State.LOST:
        return Want.WITHDRAW
    return Want.PAUSE if attempt.pause_wanted and not attempt.resume else Want.RUN
