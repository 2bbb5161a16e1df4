"""Users, as admins see them.

Owns the answers about users; no hash of a password is ever in one.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from coordinator.http.base import Answer, ApiHandler
from coordinator.http.operations import operation
from coordinator.people.accounts import UserWish
from coordinator.people.records import User
from coordinator.people.roles import Role


class UserView(Struct, frozen=True):
    """A user. `role`: viewer, operator or admin. A disabled one cannot log in."""

    name: str
    role: str
    disabled: bool
    created_at: float


class UserAnswer(Answer):
    """One user."""

    user: UserView


class UsersAnswer(Answer):
    """All users, by name."""

    users: list[UserView]


class UserOrder(Struct, forbid_unknown_fields=True):
    """`name`: a-z 0-9 . _ @ -. `password`: at least 10 characters. `role`: viewer, operator or
    admin."""

    name: str
    password: str
    role: str

    def __repr__(self) -> str:
        return f"UserOrder({self.name!r})"


class UserPatch(Struct, forbid_unknown_fields=True):
    """A field left out stays as it is."""

    role: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET

    def __repr__(self) -> str:
        return "UserPatch()"


class UsersHandler(ApiHandler):
    """/users."""

    @operation(answer=UsersAnswer, needs=Role.ADMIN)
    async def get(self) -> None:
        """List users."""
        users = await self.services.people.accounts.users()
        self.answer(UsersAnswer(users=[user_view(user) for user in users]))

    @operation(status=201, answer=UserAnswer, body=UserOrder, needs=Role.ADMIN)
    async def post(self) -> None:
        """Make a user."""
        order = self.body(UserOrder)
        user = await self.services.people.accounts.add_user(
            order.name, order.password, order.role, self.who
        )
        self.answer(UserAnswer(user=user_view(user)), 201)


class UserHandler(ApiHandler):
    """/users/{name}."""

    @operation(answer=UserAnswer, needs=Role.ADMIN)
    async def get(self, name: str) -> None:
        """Show a user."""
        user = await self.services.people.accounts.user(name)
        self.answer(UserAnswer(user=user_view(user)))

    @operation(answer=UserAnswer, body=UserPatch, needs=Role.ADMIN)
    async def patch(self, name: str) -> None:
        """Change a user's role or password, or disable them; their sessions end.

        The last admin who can log in stays one: 409.
        """
        order = self.body(UserPatch)
        wish = UserWish(role=order.role, password=order.password, disabled=order.disabled)
        user = await self.services.people.accounts.change_user(name, wish, self.who)
        self.answer(UserAnswer(user=user_view(user)))

    @operation(answer=Answer, needs=Role.ADMIN)
    async def delete(self, name: str) -> None:
        """Remove a user with their sessions and keys; never the last admin (409)."""
        await self.services.people.accounts.remove_user(name, self.who)
        self.answer(Answer())


def user_view(user: User) -> UserView:
    return UserView(user.name, user.role.word, user.disabled, user.created_at)
