"""API keys of programs: each user's own, and for admins everybody's.

Owns the answers about keys. A key is in one answer, that of its making, and never again.
"""

from __future__ import annotations

from msgspec import Struct

from coordinator.http.base import Answer, ApiHandler
from coordinator.http.logins import caller_for
from coordinator.http.operations import operation
from coordinator.people.records import ApiKey
from coordinator.people.roles import Role


class KeyView(Struct, frozen=True):
    """A key. `role`: the most it may do; its `user`'s role caps it. `used_at` is some minutes
    coarse."""

    id: str
    name: str
    user: str
    role: str
    created_at: float
    expires_at: float | None
    used_at: float | None


class KeysAnswer(Answer):
    """Keys, newest first."""

    keys: list[KeyView]


class NewKeyAnswer(Answer):
    """`secret` is the key itself, as it goes behind `Authorization: Bearer`. Told this once."""

    key: KeyView
    secret: str

    def __repr__(self) -> str:
        return f"NewKeyAnswer({self.key!r})"


class KeyOrder(Struct, forbid_unknown_fields=True):
    """`name`: what it is for. `role`: not above one's own, which it is if left out. `lifetime_s`:
    seconds until it expires; null: never."""

    name: str
    role: str = ""
    lifetime_s: float | None = None


class KeysHandler(ApiHandler):
    """/keys."""

    @operation(answer=KeysAnswer)
    async def get(self) -> None:
        """List API keys: one's own, for an admin everybody's."""
        keys = await self.services.people.accounts.keys(caller_for(self).identity)
        self.answer(KeysAnswer(keys=[key_view(key) for key in keys]))

    @operation(status=201, answer=NewKeyAnswer, body=KeyOrder, needs=Role.VIEWER)
    async def post(self) -> None:
        """Make an API key, which acts for whoever makes it."""
        order, identity = self.body(KeyOrder), caller_for(self).identity
        secret, key = await self.services.people.accounts.make_key(
            identity, order.name, order.role, order.lifetime_s, self.who
        )
        self.answer(NewKeyAnswer(key=key_view(key), secret=secret), 201)


class KeyHandler(ApiHandler):
    """/keys/{id}."""

    @operation(answer=Answer, needs=Role.VIEWER)
    async def delete(self, key_id: str) -> None:
        """Revoke a key: one's own, for an admin anybody's. A key revokes none that may more."""
        identity = caller_for(self).identity
        await self.services.people.accounts.revoke_key(identity, key_id, self.who)
        self.answer(Answer())


def key_view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.name,
        user=key.user,
        role=key.role.word,
        created_at=key.created_at,
        expires_at=key.expires_at,
        used_at=key.used_at,
    )
