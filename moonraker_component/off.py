"""What stands in for the component when it cannot work: it says why, and does nothing.

Owns the warnings of a start that failed and the status endpoint of a component that is off.
Needs nothing but Python and Moonraker.
"""

from __future__ import annotations

from typing import Any, Optional

from .options import NAMES

WARNING_ID = "moonfleet_off"
STATUS_PATH = "/server/moonfleet/status"


class Off:
    """The component, switched off by `problems`."""

    def __init__(
        self, config: Any, problems: list[str], error: Optional[BaseException] = None
    ) -> None:
        self.problems = problems
        for name in NAMES:
            # Read, so that Moonraker does not complain about them too (showing the password).
            config.get(name, None)
        server = config.get_server()
        text = "Moonfleet is off, Moonraker is not affected: " + "; ".join(problems)
        server.add_warning(text + ". Then restart Moonraker.", WARNING_ID, exc_info=error)
        server.register_endpoint(STATUS_PATH, ["GET"], self._handle_status)

    async def _handle_status(self, web_request: Any) -> dict[str, Any]:
        return {"running": False, "problems": self.problems}
