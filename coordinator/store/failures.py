"""What goes wrong in a database, said so that a person can act on it.

Owns the translation of SQLAlchemy's errors into StoreError. Must not know what was being written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from coordinator.ports import StoreError
from coordinator.store.tables import metadata

DAMAGED = (
    "stop Moonfleet, move the file aside (with its -wal and -shm) and put the newest backup in its"
    " place, or save what is left with: sqlite3 FILE .recover | sqlite3 NEW. Hosts put a restored"
    " database right by themselves"
)
FULL = "the disk is full: nothing of this was written; free some space"

WAYS_BACK = {
    "SQLITE_FULL": FULL,
    "53100": FULL,
    "SQLITE_CORRUPT": f"the database is damaged: {DAMAGED}",
    "SQLITE_NOTADB": f"this is no database, or it is damaged: {DAMAGED}",
    "SQLITE_BUSY": "another process holds the database: is a second coordinator or a tool open?",
    "SQLITE_READONLY": "the database cannot be written: look at the file's owner and the mount",
    "SQLITE_CANTOPEN": "the file cannot be opened: does its folder exist, and may it be written?",
    # What SQLite says when the file that readers and writer share finds no room.
    "SQLITE_IOERR_SHMSIZE": FULL,
    "SQLITE_IOERR": "the disk failed to read or write: look at the system's log",
}
"""By SQLite's error name (extended names begin with it) or PostgreSQL's sqlstate."""


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn whatever SQLAlchemy raises inside into a StoreError that says what was being done."""
    try:
        yield
    except IntegrityError as error:
        raise StoreError(f"{doing}: refused by the schema: {_constraint(error)}") from error
    except PoolTimeout as error:
        raise StoreError(f"{doing}: no connection came free: {error}") from error
    except DBAPIError as error:
        raise StoreError(f"{doing}: {_way_back(error)}") from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"{doing}: {error}") from error


def _way_back(error: DBAPIError) -> str:
    code = _code(error.orig)
    for known, text in WAYS_BACK.items():
        if code == known or code.startswith(known + "_"):
            return f"{text} ({error.orig})"
    return str(error.orig)


def _code(original: BaseException | None) -> str:
    """SQLite's error name or PostgreSQL's sqlstate; empty if there is neither."""
    for name in ("sqlite_errorname", "sqlstate"):
        code = getattr(original, name, None)
        if isinstance(code, str):
            return code
    return ""


def _constraint(error: IntegrityError) -> str:
    """The constraint's name, and what the database said."""
    named = getattr(error.orig, "constraint_name", None) or getattr(
        getattr(error.orig, "__cause__", None), "constraint_name", None
    )
    text = str(error.orig)
    if not isinstance(named, str):
        named = _sqlite_constraint(text, error.statement or "")
    return f"{named} ({text})" if named and named not in text else text


def _sqlite_constraint(text: str, statement: str) -> str:
    """SQLite names the columns of a unique constraint, and of a foreign key nothing at all."""
    unique = re.match(r"UNIQUE constraint failed: (.+)", text)
    if unique:
        columns = [part.strip() for part in unique[1].split(",")]
        return " or ".join(sorted(_unique_over(set(columns))))
    if text.startswith("FOREIGN KEY"):
        table = re.search(r"(?:INTO|UPDATE|FROM) (\w+)", statement)
        if table and table[1] in metadata.tables:
            keys = metadata.tables[table[1]].foreign_key_constraints
            return " or ".join(sorted(str(key.name) for key in keys))
    return ""


def _unique_over(columns: set[str]) -> Iterator[str]:
    """Names of all that must be unique over exactly these columns ("table.column")."""
    for table in metadata.tables.values():
        kinds = (sa.UniqueConstraint, sa.PrimaryKeyConstraint)
        unique = {str(i.name): i.columns.keys() for i in table.indexes if i.unique}
        unique |= {str(c.name): c.columns.keys() for c in table.constraints if isinstance(c, kinds)}
        for name, keys in unique.items():
            if {f"{table.name}.{key}" for key in keys} == columns:
                yield name
