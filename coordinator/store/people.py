"""Users, sessions and API keys in SQL: `coordinator.people.ports.PeopleStore`.

Owns their statements, and what one transaction holds together: that there is one first user, and
that an admin is left. Must not know how anybody proves who they are.

Needs no term: these rows say the same whichever coordinator writes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from msgspec import UNSET
from msgspec.structs import asdict
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.core.farm import History
from coordinator.core.requests import Conflict
from coordinator.people.ports import LastAdmin
from coordinator.people.records import ApiKey, Session, User, UserChange
from coordinator.people.roles import Role
from coordinator.store.reads import Reads
from coordinator.store.tables import api_keys, history, reign, sessions, users

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Write(Protocol):
    """Run an act in one transaction of the writer."""

    def __call__(
        self, doing: str, act: Callable[[AsyncConnection], Awaitable[T]]
    ) -> Awaitable[T]: ...


class PeopleRows:
    """Reads by the readers' connections, writes by the writer's one."""

    def __init__(self, write: Write, reads: Callable[[], Reads]) -> None:
        self._write = write
        self._reads = reads

    # ---- reading ------------------------------------------------------------------------------

    async def any_user(self) -> bool:
        return bool(await self._all("looking for users", sa.select(users.c.name).limit(1)))

    async def user(self, name: str) -> User | None:
        found = await self._all("reading a user", sa.select(users).where(users.c.name == name))
        return User(**found[0]) if found else None

    async def users(self) -> list[User]:
        found = await self._all("listing users", sa.select(users).order_by(users.c.name))
        return [User(**row) for row in found]

    async def session(self, digest: str) -> tuple[Session, User] | None:
        return await self._with_user("reading a session", sessions, "digest", digest, Session)

    async def key(self, key_id: str) -> tuple[ApiKey, User] | None:
        return await self._with_user("reading a key", api_keys, "id", key_id, ApiKey)

    async def keys(self, user: str = "") -> list[ApiKey]:
        wanted = sa.select(api_keys).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
        if user:
            wanted = wanted.where(api_keys.c.user == user)
        return [ApiKey(**row) for row in await self._all("listing keys", wanted)]

    # ---- users --------------------------------------------------------------------------------

    async def add_first_user(self, user: User, line: History) -> bool:
        async def act(connection: AsyncConnection) -> bool:
            await _one_at_a_time(connection)
            if (await connection.execute(sa.select(users.c.name).limit(1))).first() is not None:
                return False
            await connection.execute(users.insert(), _row(user))
            await _tell(connection, line)
            return True

        return await self._write("making the first user", act)

    async def add_user(self, user: User, users_max: int, line: History) -> bool:
        async def act(connection: AsyncConnection) -> bool:
            await _one_at_a_time(connection)
            same = sa.select(users.c.name).where(users.c.name == user.name)
            if (await connection.execute(same)).first() is not None:
                return False
            many = sa.select(sa.func.count()).select_from(users)
            if (await connection.execute(many)).scalar_one() >= users_max:
                raise Conflict(f"there are {users_max} users, and no more are taken")
            await connection.execute(users.insert(), _row(user))
            await _tell(connection, line)
            return True

        return await self._write("making a user", act)

    async def change_user(self, name: str, change: UserChange, line: History) -> bool:
        values = {key: value for key, value in _row(change).items() if value is not UNSET}

        async def act(connection: AsyncConnection) -> bool:
            await _one_at_a_time(connection)
            changed = users.update().where(users.c.name == name).values(**values)
            if not (await connection.execute(changed)).rowcount:
                return False
            await _keep_an_admin(connection)
            await connection.execute(sessions.delete().where(sessions.c.user == name))
            await _tell(connection, line)
            return True

        return await self._write("changing a user", act)

    async def remove_user(self, name: str, line: History) -> bool:
        async def act(connection: AsyncConnection) -> bool:
            await _one_at_a_time(connection)
            if not (await connection.execute(users.delete().where(users.c.name == name))).rowcount:
                return False
            await _keep_an_admin(connection)
            await _tell(connection, line)
            return True

        return await self._write("removing a user", act)

    async def rehash(self, name: str, old_hash: str, new_hash: str) -> None:
        same = sa.and_(users.c.name == name, users.c.password_hash == old_hash)
        await self._do("keeping a hash", users.update().where(same).values(password_hash=new_hash))

    # ---- sessions -----------------------------------------------------------------------------

    async def open_session(
        self,
        session: Session,
        password_hash: str,
        ended_before: tuple[float, float],
        sessions_max: int,
        line: History,
    ) -> bool:
        seen, made = ended_before
        still = sa.select(users.c.name).where(
            users.c.name == session.user,
            users.c.password_hash == password_hash,
            ~users.c.disabled,
        )
        newest = (
            sa.select(sessions.c.digest)
            .where(sessions.c.user == session.user)
            .order_by(sessions.c.created_at.desc(), sessions.c.digest)
            .limit(sessions_max)
        )

        async def act(connection: AsyncConnection) -> bool:
            if (await connection.execute(still.with_for_update())).first() is None:
                return False
            over = sa.or_(sessions.c.seen_at < seen, sessions.c.created_at < made)
            await connection.execute(sessions.delete().where(over))
            await connection.execute(sessions.insert(), _row(session))
            more = sa.and_(sessions.c.user == session.user, sessions.c.digest.not_in(newest))
            await connection.execute(sessions.delete().where(more))
            await _tell(connection, line)
            return True

        return await self._write("opening a session", act)

    async def end_session(self, digest: str, line: History) -> bool:
        over = sessions.delete().where(sessions.c.digest == digest)
        return await self._do("ending a session", over, line)

    async def note_session(self, digest: str, seen_at: float) -> None:
        seen = sessions.update().where(sessions.c.digest == digest).values(seen_at=seen_at)
        await self._do("noting a session", seen)

    # ---- keys ---------------------------------------------------------------------------------

    async def add_key(self, key: ApiKey, keys_max: int, line: History) -> None:
        async def act(connection: AsyncConnection) -> None:
            await _one_at_a_time(connection)
            many = sa.select(sa.func.count()).where(api_keys.c.user == key.user)
            if (await connection.execute(many)).scalar_one() >= keys_max:
                raise Conflict(f"{key.user} has {keys_max} keys; revoke one that is not needed")
            await connection.execute(api_keys.insert(), _row(key))
            await _tell(connection, line)

        await self._write("making a key", act)

    async def remove_key(self, key_id: str, line: History) -> bool:
        over = api_keys.delete().where(api_keys.c.id == key_id)
        return await self._do("revoking a key", over, line)

    async def note_key(self, key_id: str, used_at: float) -> None:
        used = api_keys.update().where(api_keys.c.id == key_id).values(used_at=used_at)
        await self._do("noting a key", used)

    async def note(self, line: History) -> None:
        await self._write("noting what was done", lambda connection: _tell(connection, line))

    # ---- inside -------------------------------------------------------------------------------

    async def _all(self, doing: str, query: sa.Select[Any]) -> list[dict[str, Any]]:
        async with self._reads().connection(doing) as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def _with_user(
        self, doing: str, table: sa.Table, column: str, value: str, kind: Callable[..., T]
    ) -> tuple[T, User] | None:
        """The row that bears this value, with its user, in one statement."""
        labels = [user.label(f"of_{user.name}") for user in users.c]
        wanted = (
            sa.select(table, *labels)
            .join(users, table.c.user == users.c.name)
            .where(table.c[column] == value)
        )
        found = await self._all(doing, wanted)
        if not found:
            return None
        of_user = {key[3:]: found[0].pop(key) for key in list(found[0]) if key.startswith("of_")}
        return kind(**found[0]), User(**of_user)

    async def _do(self, doing: str, statement: sa.Executable, line: History | None = None) -> bool:
        """One statement; whether it changed a row, and then with its line of history."""

        async def act(connection: AsyncConnection) -> bool:
            done: Any = await connection.execute(statement)
            if done.rowcount and line is not None:
                await _tell(connection, line)
            return bool(done.rowcount)

        return await self._write(doing, act)


async def _one_at_a_time(connection: AsyncConnection) -> None:
    """What is counted stays so until the commit. SQLite has taken its only lock already."""
    await connection.execute(sa.select(reign.c.term).with_for_update())


async def _keep_an_admin(connection: AsyncConnection) -> None:
    able = sa.select(users.c.name).where(users.c.role == Role.ADMIN, ~users.c.disabled).limit(1)
    if (await connection.execute(able)).first() is None:
        raise LastAdmin("there would be no admin left: make another user one first")


async def _tell(connection: AsyncConnection, line: History) -> None:
    await connection.execute(history.insert(), asdict(line))


def _row(value: Any) -> dict[str, Any]:
    row: dict[str, Any] = asdict(value)
    return row
