"""What the component says of itself over Moonraker's HTTP API.

Owns the endpoints below /server/moonfleet/. What it must not know: how anything is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from . import __version__, gate
from .attempt import Attempt

if TYPE_CHECKING:
    from .agent import Agent

ENDED_SHOWN = 10


class Endpoints:
    """GET /server/moonfleet/status, POST /server/moonfleet/clear."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def register(self) -> None:
        """Tell Moonraker of them; only possible while it loads."""
        server = self._agent.server
        server.register_endpoint("/server/moonfleet/status", ["GET"], self._handle_status)
        server.register_endpoint("/server/moonfleet/clear", ["POST"], self._handle_clear)

    async def _handle_status(self, web_request: Any) -> dict[str, Any]:
        agent = self._agent
        host, view = agent.host, agent.host.view
        connection = agent.reporter.connection
        now_s = agent.boottime_s()
        ended = [a for a in host.attempts if a.phase.value == "ended"][-ENDED_SHOWN:]
        live = [a for a in host.attempts if a.phase.value != "ended"]
        return {
            "running": not agent.problem,
            "problems": [agent.problem] if agent.problem else [],
            "version": __version__,
            "printer_id": agent.options.printer_id,
            "session": host.session,
            "machine": agent.machine,
            "broker": {
                "address": f"{connection.address.host}:{connection.address.port}",
                "connected": connection.connected,
                "fault": connection.fault,
            },
            "term": host.term,
            "generation": host.generation,
            "lease_left_s": round(max(0.0, host.lease_until_s - now_s), 3),
            "reports": host.sequence,
            "wanted": msgspec.to_builtins(host.order),
            "attempts": [_attempt(a) for a in live + ended],
            "refusals": [msgspec.to_builtins(r) for r in gate.refusals(view)],
            "klipper": {
                "link": view.link.value,
                "message": view.message,
                "print_state": view.print_state,
                "filename": view.path,
            },
            "section": view.section,
            "without_section": "" if view.section else WITHOUT_SECTION,
            "bed": {"clear": view.bed.clear, "token": view.bed.token},
            "filament": msgspec.to_builtins(view.filament),
            "profile": msgspec.to_builtins(agent.klippy.profile),
            "cache": agent.reporter.disk,
        }

    async def _handle_clear(self, web_request: Any) -> dict[str, Any]:
        """A person at this printer; without a token it is the bed that they see now."""
        agent = self._agent
        token = web_request.get_str("token", "") or agent.host.view.bed.token
        await agent.clear_bed(token)
        return {"token": token, "clear": True}


WITHOUT_SECTION = (
    "Klipper has no [moonfleet] section: a start has no deadline inside Klipper, a print cannot be"
    " fenced, and each restart of Moonraker calls the bed not clear"
)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.id,
        "job": attempt.order.job,
        "copy": attempt.order.copy,
        "file": attempt.order.file.name,
        "phase": attempt.phase.value,
        "outcome": attempt.outcome.value,
        "cause": attempt.cause,
        "message": attempt.message,
        "pause": attempt.pause,
    }
