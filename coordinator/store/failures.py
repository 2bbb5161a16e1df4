"""What goes wrong in a database, said so that a person can act on it.

Owns the translation of SQLAlchemy's errors into StoreError. Must not know what was being written.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from coordinator.ports import StoreError, StoreUnusable
from coordinator.store.tables import metadata

FULL = "the disk is full: nothing of this was written; free some space"
READ_ONLY = "the database cannot be written: look at the file's owner and the mount"

WAYS_BACK = {
    "SQLITE_FULL": FULL,
    "53100": FULL,
    "SQLITE_BUSY": "another process holds the database: is a second coordinator or a tool open?",
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_CANTOPEN": "the file cannot be opened: does its folder exist, and may it be written?",
    # What SQLite says when the file that readers and writer share finds no room.
    "SQLITE_IOERR_SHMSIZE": FULL,
    "SQLITE_IOERR": "the disk failed to read or write: look at the system's log",
}
"""By SQLite's error name (extended names begin with it) or PostgreSQL's sqlstate."""


DAMAGE = {
    "SQLITE_CORRUPT": "the database is damaged",
    "SQLITE_NOTADB": "this is no database, or it is damaged",
}


def way_back(path: Path | None) -> str:
    """What to do about a database that cannot be used; `path` is its file where it is known."""
    file, folder = (path, path.parent) if path is not None else ("FILE", "DIR")
    return (
        "nothing of it was changed. Restore the newest backup: moonfleet restore BACKUP --data-dir"
        f" {folder} --replace (what is there is kept beside it; hosts put a restored farm right by"
        f" themselves). Without a backup, save what can be read: sqlite3 {file} .dump |"
        " sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 NEW. See docs/operate.md"
    )


@contextmanager
def told(doing: str, path: Path | None = None) -> Iterator[None]:
    """Turn whatever SQLAlchemy raises inside into a StoreError that says what was being done.

    `path`: the file of the database, where it is known.
    """
    try:
        yield
    except IntegrityError as error:
        raise StoreError(f"{doing}: refused by the schema: {_constraint(error)}") from error
    except PoolTimeout as error:
        raise StoreError(f"{doing}: no connection came free: {error}") from error
    except DBAPIError as error:
        raise _failure(doing, path, error.orig) from error
    except sqlite3.Error as error:
        raise _failure(doing, path, error) from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"{doing}: {error}") from error


def _failure(doing: str, path: Path | None, error: BaseException | None) -> StoreError:
    code = _code(error)
    if found := _known(DAMAGE, code):
        return StoreUnusable(f"{doing}: {found} ({error}): {way_back(path)}")
    text = _known(WAYS_BACK, code)
    return StoreError(f"{doing}: {text} ({error})" if text else f"{doing}: {error}")


def _known(texts: dict[str, str], code: str) -> str:
    return next((text for k, text in texts.items() if code == k or code.startswith(k + "_")), "")


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
