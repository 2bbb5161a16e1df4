"""The database of a backup: a copy that is consistent while the farm goes on, and what it says.

Owns the copying of SQLite files and the questions that a backup asks of a copy. Must not know where
copies go.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from coordinator.backup.manifest import BackupError

BUSY_S = 30.0
VERSION_TABLE = "moonfleet_version"


def copy(source: Path, target: Path) -> None:
    """Copy a database as of one moment; neither waits for the coordinator nor holds it up.

    One step: the copy reads one snapshot of the log, and starts again for no write that comes
    meanwhile. The source is only read. Raises BackupError, OSError.
    """
    if not source.is_file() or source.stat().st_size == 0:
        raise BackupError(f"database {source}: there is none to be saved")
    try:
        with (
            closing(_reading(source)) as here,
            closing(sqlite3.connect(target, timeout=BUSY_S)) as there,
        ):
            here.backup(there, pages=-1)
            # The copy lies alone: one file, not a file and its log.
            there.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise BackupError(f"database {source}: it could not be copied: {error}") from error


def check(path: Path, what: str) -> str:
    """Read all of a copy, its indexes and references too; returns its schema's revision.

    Raises BackupError naming `what` it is.
    """
    try:
        with closing(_reading(path)) as raw:
            (found,) = raw.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise BackupError(f"{what}: it is damaged ({found}); see docs/operate.md")
            if (broken := raw.execute("PRAGMA foreign_key_check").fetchmany(3)) != []:
                raise BackupError(f"{what}: rows refer to nothing: {broken}; see docs/operate.md")
            row = raw.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"{what}: it cannot be read: {error}; see docs/operate.md") from error
    return str(row[0]) if row else ""


def wanted_files(path: Path) -> list[str]:
    """The sha256 of every file that an unfinished job needs."""
    with closing(_reading(path)) as raw:
        found = raw.execute("SELECT DISTINCT file_sha256 FROM jobs WHERE finished_at IS NULL")
        return sorted(str(sha256) for (sha256,) in found)


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
