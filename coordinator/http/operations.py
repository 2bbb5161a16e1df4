"""What an HTTP method takes and answers, written beside it and read by the OpenAPI document.

Owns the decorator and its value. Must not know any resource.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

from coordinator.people.roles import Role

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "moonfleet_operation"
_READS = frozenset({"GET", "HEAD"})


class Operation(Struct, frozen=True):
    """One method of one path. The method's docstring is its description.

    `answer` is None where the body is not JSON; `media` then names its type. `takes_file`: the
    request's body is a G-code file. `needs`: the least role that may do it, None where the method's
    own rule holds (see `role_needed`).
    """

    status: int = 200
    answer: Any = None
    body: Any = None
    query: Any = None
    media: str = "application/json"
    takes_file: bool = False
    needs: Role | None = None
    description: str = ""


def operation(
    *,
    status: int = 200,
    answer: Any = None,
    body: Any = None,
    query: Any = None,
    media: str = "application/json",
    takes_file: bool = False,
    needs: Role | None = None,
) -> Callable[[F], F]:
    """Mark a handler's method with what it takes and answers, and who may do it.

    `needs=Role.NOBODY` opens it to everybody; such a handler makes its own check.
    """

    def mark(method: F) -> F:
        told = Operation(
            status=status,
            answer=answer,
            body=body,
            query=query,
            media=media,
            takes_file=takes_file,
            needs=needs,
            description=" ".join((method.__doc__ or "").split()),
        )
        setattr(method, _MARK, told)
        return method

    return mark


def operation_of(method: Any) -> Operation | None:
    """What a method was marked with, if it was."""
    found = getattr(method, _MARK, None)
    return found if isinstance(found, Operation) else None


def role_needed(method: str, told: Operation | None) -> Role:
    """The least role for an HTTP method: viewers read, operators change, unless it says else."""
    if told is not None and told.needs is not None:
        return told.needs
    return Role.VIEWER if method in _READS else Role.OPERATOR
