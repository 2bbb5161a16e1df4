"""The version of a database, and how it is brought up to this one.

Owns the decision to migrate or to refuse. Alembic, with migrations/, does the migrating; it is
only imported when there is something to migrate, so that a start costs nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.ports import StoreError, StoreUnusable
from coordinator.store.tables import metadata

HEAD = "0003"
"""The newest revision in migrations/versions."""

KNOWN = frozenset({"0001", "0002", HEAD})
"""Every revision that this program can upgrade from."""

VERSION_TABLE = "moonfleet_version"


async def bring_up(connection: AsyncConnection, where: str) -> None:
    """Make the schema that of `HEAD`, inside the caller's transaction; `where` names it in errors.

    Raises StoreUnusable for a database of a newer Moonfleet, StoreError for another program's.
    """
    found = await connection.run_sync(_version, where)
    if found == HEAD:
        return
    if found and found not in KNOWN:
        raise StoreUnusable(f"database {where}: {too_new(found)}; nothing was changed")
    await connection.run_sync(_upgrade)


def too_new(found: str) -> str:
    """What to tell of a database whose version this program does not know."""
    return (
        f"it has version {found!r}, this Moonfleet knows versions up to {HEAD!r}: it was written by"
        " a newer one. Run that one, or restore the backup made before the upgrade"
    )


def _version(connection: sa.Connection, where: str) -> str:
    """The stored version; empty for an empty database."""
    inspector = sa.inspect(connection)
    names = inspector.get_table_names()
    if VERSION_TABLE in names:
        version = connection.execute(
            sa.text(f"SELECT version_num FROM {VERSION_TABLE}")
        ).scalar_one_or_none()
        return str(version or "")
    strangers = sorted(set(names) & set(metadata.tables))
    if strangers:
        raise StoreError(
            f"database {where} holds {', '.join(strangers)} but no version of Moonfleet: it is"
            " another program's; name an empty one"
        )
    return ""


def _upgrade(connection: sa.Connection) -> None:
    from coordinator.store.migrations.run import upgrade

    upgrade(connection)
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if broken:
            raise StoreError(f"the upgrade would leave rows that refer to nothing: {broken[:5]}")
