"""Column types that turn the core's values into what SQL keeps, and back.

Owns the conversion of enums, structured values and text. Must not know any table.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from coordinator.people.roles import Role, role_of

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


class Words(TypeDecorator[str]):
    """Text that every database can keep: U+0000 becomes U+FFFD, half a surrogate pair "?".

    PostgreSQL refuses both. They would come in a host's message, and what a host says must not be
    able to fail a commit.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None:
            return None
        if not value.isascii():
            value = value.encode("utf-8", "replace").decode()
        return value.replace("\0", "\ufffd")


class OneOf(TypeDecorator[E], Generic[E]):
    """A member of an enum of strings, kept as its value; the table adds the CHECK."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: type[E]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: E | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(self.kind(value).value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> E | None:
        return None if value is None else self.kind(value)


class RoleWord(TypeDecorator[Role]):
    """A role, kept as its word; the table adds the CHECK."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Role | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.word

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Role | None:
        return None if value is None else role_of(value)


class Json(TypeDecorator[T], Generic[T]):
    """A structured value as JSON text, checked against its type when it is read."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)

    def process_bind_param(self, value: T | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> T | None:
        return None if value is None else self._decoder.decode(value)
