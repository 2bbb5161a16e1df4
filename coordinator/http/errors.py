"""The one shape of every error, and which status each of the farm's errors has.

Owns the table from exceptions to answers. Must not know any resource.
"""

from __future__ import annotations

import http
import re

import msgspec
from msgspec import Struct

from coordinator.core.requests import Conflict, NotFound, RequestError
from coordinator.engine import EngineBusy
from coordinator.files.content import (
    DiskFull,
    FilesError,
    FileTooLarge,
    NoSuchContent,
    TooManyIntakes,
)
from coordinator.files.inspection import InspectionFailed
from coordinator.files.names import BadFileName
from coordinator.lists import BadQuery
from coordinator.people.logins import LoginRefused, TooSoon
from coordinator.people.passwords import TooManyLogins
from coordinator.people.rules import PasswordRefused
from coordinator.ports import BrokerAway, StoreError


class ErrorAnswer(Struct, frozen=True):
    """Every error. `field` names what of the request is wrong, where it is one field."""

    error: str
    status: int
    field: str | None = None
    ok: bool = False


class ApiError(Exception):
    """An answer other than success, decided by a handler."""

    def __init__(self, status: int, text: str, field: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.field = field


STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (RequestError, 400),
    (PasswordRefused, 400),
    (LoginRefused, 401),
    (TooSoon, 429),
    (TooManyLogins, 503),
    (BadQuery, 400),
    (NotFound, 404),
    (Conflict, 409),
    (EngineBusy, 503),
    (StoreError, 503),
    (BrokerAway, 503),
    (BadFileName, 400),
    (InspectionFailed, 400),
    (DiskFull, 507),
    (FileTooLarge, 413),
    (TooManyIntakes, 503),
    (NoSuchContent, 404),
    (FilesError, 400),
    (msgspec.DecodeError, 400),
    (UnicodeDecodeError, 400),
    (RecursionError, 400),
)
"""Tried in order, so that a kind stands before the kind that it is one of."""

_MSGSPEC_FIELD = re.compile(r"field `(\w+)`|`\$\.(\w+)")
"""msgspec names an unknown or missing field, or the path of a wrong value: "at `$.copies`"."""

UNEXPECTED = "the coordinator failed while it did this; its log tells more"


def answer_of(error: BaseException) -> ErrorAnswer:
    """What whoever asked is told of an error; unexpected ones tell nothing of the inside."""
    if isinstance(error, ApiError):
        return ErrorAnswer(str(error), error.status, error.field)
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return ErrorAnswer(_text_of(error), status, _field_of(error))
    return ErrorAnswer(UNEXPECTED, 500)


def answer_of_status(status: int, reason: str = "") -> ErrorAnswer:
    """An error known only by its status, as Tornado itself raises them."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "error"
    return ErrorAnswer(reason or phrase.lower(), status)


def _text_of(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "the request is nested too deeply"
    if isinstance(error, (msgspec.DecodeError, UnicodeDecodeError)):
        return f"the request cannot be taken: {error}"
    return str(error)


def _field_of(error: BaseException) -> str | None:
    if isinstance(error, RequestError):
        return error.field
    if isinstance(error, BadQuery):
        return str(error).partition(" ")[0]  # it begins with what is wrong: limit or cursor
    if isinstance(error, PasswordRefused):
        return "password"
    if isinstance(error, BadFileName):
        return "name"
    if isinstance(error, (FilesError, InspectionFailed)):
        return "file"
    if isinstance(error, msgspec.ValidationError):
        found = _MSGSPEC_FIELD.search(str(error))
        return found[1] or found[2] if found else None
    return None
