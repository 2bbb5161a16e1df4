"""Roles: what a person or a program may do, as four steps of one ladder.

Owns the ladder and its words. Pure.
"""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """Each step may all that the one below it may.

    NOBODY: whoever has not said who they are. VIEWER: sees the farm and changes nothing.
    OPERATOR: jobs, files, printers' beds and holds. ADMIN: printers, credentials, users.
    """

    NOBODY = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """The role as it is written in the API, the database and messages."""
        return self.name.lower()


GIVEN = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
"""The roles that a user or a key can have."""


def role_of(word: str) -> Role | None:
    """The role of this word; None where no user or key can have one of that name."""
    return next((role for role in GIVEN if role.word == word), None)
