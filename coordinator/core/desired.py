"""What is wanted of a printer, derived from its live attempt.

Owns the one function from attempt to order, so that what is published can always be derived
from what is committed. Must not decide anything.
"""

from __future__ import annotations

from coordinator.core import links
from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import Draft, Now
from coordinator.core.printers import Contact, Printer
from moonraker_component.wire import Desired, Echo, FileRef, Order, Phase, Want


def order_of(draft: Draft, attempt: Attempt | None, now: Now) -> Order | None:
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
            url=_link(draft, attempt, now),
        ),
        session=attempt.session if want is Want.START else "",
        fence_s=draft.settings.fence_s if job.policy.fence else 0.0,
        resume=attempt.resume if want is Want.RUN else "",
    )


def link_is_due(draft: Draft, attempt: Attempt, now: Now) -> bool:
    """Whether its host still prepares and has to be given a new link."""
    if attempt.state is not State.ASSIGNED or attempt.phase not in (None, Phase.PREPARING):
        return False
    issued = draft.printers[attempt.printer].issued
    url = issued.file.url if issued is not None and issued.attempt == attempt.id else ""
    return links.is_due(url, now.wall_s, draft.settings.prepare_s)


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


def _link(draft: Draft, attempt: Attempt, now: Now) -> str:
    """The link that was issued for this attempt, until it is due: desired changes for no less."""
    settings = draft.settings
    issued = draft.printers[attempt.printer].issued
    until = links.until_of(issued.file.url) if issued and issued.attempt == attempt.id else 0
    if not until or link_is_due(draft, attempt, now):
        until = links.fresh_until(now.wall_s, settings.prepare_s)
    return links.url_of(settings.file_url, settings.link_key, attempt.id, until)


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
