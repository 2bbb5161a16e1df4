"""Setting up, logging in and out, and who one is.

Owns these answers and the life of the session's cookie.
"""

from __future__ import annotations

from msgspec import Struct

from coordinator.http.base import LOOPBACK_NAMES, Answer, ApiHandler, host_name_of
from coordinator.http.errors import ApiError
from coordinator.http.identity import (
    Caller,
    drop_session,
    is_local,
    put_session,
    session_token,
)
from coordinator.http.operations import operation
from coordinator.people.logins import LoginRefused, Opened
from coordinator.people.roles import Role


class Me(Struct, frozen=True):
    """Who asks. `role`: what that may do now. `key`, `key_name`: of the API key, if by one."""

    name: str
    role: str
    key: str = ""
    key_name: str = ""


class MeAnswer(Answer):
    """`csrf`: what a session sends as X-Moonfleet-Csrf with whatever changes something."""

    me: Me
    csrf: str = ""


class Login(Struct, forbid_unknown_fields=True):
    """A user's `name` and `password`."""

    name: str
    password: str

    def __repr__(self) -> str:
        return "Login()"


class PasswordChange(Struct, forbid_unknown_fields=True):
    """`current`: the password of now; `password`: the new one."""

    current: str
    password: str

    def __repr__(self) -> str:
        return "PasswordChange()"


class SetupHandler(ApiHandler):
    """/setup."""

    @operation(status=201, answer=MeAnswer, body=Login, needs=Role.NOBODY)
    async def post(self) -> None:
        """Make the first user, an admin, and log in. Only from the coordinator's own computer, by
        a program of its own user or of root.

        Once there is a user, 409.
        """
        if not is_local(self.request, LOOPBACK_NAMES, host_name_of(self.request.host)):
            raise ApiError(
                403, "set-up is done on the coordinator's own computer, by 127.0.0.1, as the user"
                " that it runs as"
            )  # fmt: skip
        order = self.body(Login)
        opened = await self.services.people.logins.set_up(order.name, order.password, self.who)
        answer_opened(self, opened, 201)


class LoginHandler(ApiHandler):
    """/login."""

    @operation(answer=MeAnswer, body=Login, needs=Role.NOBODY)
    async def post(self) -> None:
        """Log in: opens a session, whose cookie is set, and ends the one that was open.

        After several failures the next try has to wait: 429, and Retry-After tells how long.
        """
        order, logins = self.body(Login), self.services.people.logins
        if not await logins.is_set_up():
            raise ApiError(409, "this farm is not set up yet: there is no user to log in as")
        address = self.request.remote_ip or ""
        opened = await logins.log_in(order.name, order.password, address, self.origin)
        await self._end_former()
        answer_opened(self, opened)

    async def _end_former(self) -> None:
        """A session that came along is over: nobody goes on with it under another name."""
        token, logins = session_token(self.request), self.services.people.logins
        former = await logins.by_session(token) if token else None
        if former is not None:
            await logins.log_out(former, self.origin)


class LogoutHandler(ApiHandler):
    """/logout."""

    @operation(answer=Answer, needs=Role.VIEWER)
    async def post(self) -> None:
        """End the session that asks. A key is revoked instead: DELETE /keys/{id}."""
        caller = caller_for(self)
        if not caller.token:
            raise ApiError(409, "a key has no session to end; revoke it by DELETE /keys/{id}")
        await self.services.people.logins.log_out(caller.identity, self.origin)
        drop_session(self)
        self.answer(Answer())


class MeHandler(ApiHandler):
    """/me."""

    @operation(answer=MeAnswer)
    async def get(self) -> None:
        """Who asks, and what they may do."""
        caller = caller_for(self)
        self.answer(MeAnswer(me=me_of(caller), csrf=caller.csrf))


class MyPasswordHandler(ApiHandler):
    """/me/password."""

    @operation(answer=MeAnswer, body=PasswordChange, needs=Role.VIEWER)
    async def post(self) -> None:
        """Change one's own password. All sessions of the user end; this one goes on as a new one.

        API keys stay as they are.
        """
        order, caller = self.body(PasswordChange), caller_for(self)
        logins, address = self.services.people.logins, self.request.remote_ip or ""
        try:
            opened = await logins.change_password(
                caller.identity, order.current, order.password, address, self.origin
            )
        except LoginRefused as error:
            raise ApiError(403, "current: this is not the password", "current") from error
        if opened is None:
            self.answer(MeAnswer(me=me_of(caller)))
        else:
            answer_opened(self, opened)


def caller_for(handler: ApiHandler) -> Caller:
    """Who asks, where the operation needs a role, so that somebody does."""
    if handler.caller is None:
        raise ApiError(401, "log in first")
    return handler.caller


def me_of(caller: Caller) -> Me:
    """The view of whoever asks."""
    identity = caller.identity
    return Me(identity.user, identity.role.word, identity.key, identity.key_name)


def answer_opened(handler: ApiHandler, opened: Opened, status: int = 200) -> None:
    """Hand out a new session."""
    caller = Caller(opened.identity, opened.token)
    put_session(handler, opened, handler.services.people.logins.lifetimes.max_s)
    handler.answer(MeAnswer(me=me_of(caller), csrf=caller.csrf), status)
