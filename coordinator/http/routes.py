"""The routing table: every path of the API, in the order of the documentation.

Owns the paths. A path is written once, as in the OpenAPI document; the pattern follows from it.
"""

from __future__ import annotations

import re

from msgspec import Struct
from tornado.web import RequestHandler

from coordinator.http import (
    attempts,
    farm,
    files,
    jobs,
    keys,
    logins,
    openapi,
    pairing,
    printers,
    socket,
    users,
)

BASE = "/api/v1"

PARAMETERS = {
    "sha256": r"[0-9a-f]{64}",
    "number": r"[0-9]{1,3}",
    "name": r"[a-z0-9][a-z0-9._@-]{0,63}",
    "id": r"[A-Za-z0-9_-]{1,64}",
}
"""What a part of a path may be; anything else is no path of the API."""


class Route(Struct, frozen=True):
    """`path` below BASE, with its parameters in braces."""

    path: str
    handler: type[RequestHandler]

    @property
    def pattern(self) -> str:
        """The regular expression of the whole path."""
        parts = re.split(r"\{(\w+)\}", BASE + self.path)
        return "".join(
            f"({PARAMETERS[part]})" if number % 2 else re.escape(part)
            for number, part in enumerate(parts)
        )


ROUTES = (
    Route("/farm", farm.FarmHandler),
    Route("/history", farm.HistoryHandler),
    Route("/files", files.FilesHandler),
    Route("/files/{sha256}", files.FileHandler),
    Route("/files/{sha256}/content", files.FileContentHandler),
    Route("/files/{sha256}/thumbnails/{number}", files.ThumbnailHandler),
    Route("/jobs", jobs.JobsHandler),
    Route("/jobs/{id}", jobs.JobHandler),
    Route("/jobs/{id}/why", jobs.JobWhyHandler),
    Route("/jobs/{id}/hold", jobs.JobHoldHandler),
    Route("/jobs/{id}/release", jobs.JobReleaseHandler),
    Route("/jobs/{id}/pause", jobs.JobPauseHandler),
    Route("/jobs/{id}/resume", jobs.JobResumeHandler),
    Route("/jobs/{id}/cancel", jobs.JobCancelHandler),
    Route("/jobs/{id}/move", jobs.JobMoveHandler),
    Route("/jobs/{id}/reprint", jobs.JobReprintHandler),
    Route("/attempts", attempts.AttemptsHandler),
    Route("/attempts/{id}", attempts.AttemptHandler),
    Route("/attempts/{id}/file", attempts.AttemptFileHandler),
    Route("/attempts/{id}/settle", attempts.SettleHandler),
    Route("/printers", printers.PrintersHandler),
    Route("/printers/{id}", printers.PrinterHandler),
    Route("/printers/{id}/credentials", printers.CredentialsHandler),
    Route("/printers/{id}/revoke", printers.RevokeHandler),
    Route("/printers/{id}/bed-clear", printers.BedClearHandler),
    Route("/printers/{id}/maintenance", printers.MaintenanceHandler),
    Route("/printers/{id}/service", printers.ServiceHandler),
    Route("/printers/{id}/hold", printers.PrinterHoldHandler),
    Route("/printers/{id}/release", printers.PrinterReleaseHandler),
    Route("/printers/{id}/emergency-stop", printers.EmergencyStopHandler),
    Route("/printers/{id}/firmware-restart", printers.FirmwareRestartHandler),
    Route("/ca", pairing.CaHandler),
    Route("/pair", pairing.PairHandler),
    Route("/pairings", pairing.PairingsHandler),
    Route("/pairings/{id}", pairing.PairingHandler),
    Route("/setup", logins.SetupHandler),
    Route("/login", logins.LoginHandler),
    Route("/logout", logins.LogoutHandler),
    Route("/me", logins.MeHandler),
    Route("/me/password", logins.MyPasswordHandler),
    Route("/users", users.UsersHandler),
    Route("/users/{name}", users.UserHandler),
    Route("/keys", keys.KeysHandler),
    Route("/keys/{id}", keys.KeyHandler),
    Route("/live", socket.LiveHandler),
    Route("/openapi.json", openapi.OpenApiHandler),
)
