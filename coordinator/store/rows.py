"""Rows as the core's types, and the core's types as rows.

Owns the one place where fields and columns meet. Must not know statements or connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import asdict

from coordinator.core.attempts import Attempt
from coordinator.core.farm import History
from coordinator.core.jobs import Copy, Job, JobFile
from coordinator.core.printers import Printer
from coordinator.lists import StoredFile

Row = sa.RowMapping | Mapping[str, Any]


class LoadedRows(Struct):
    """What a farm starts from (`coordinator.ports.Loaded`)."""

    jobs: list[Job]
    copies: list[Copy]
    attempts: list[Attempt]
    printers: list[Printer]


def job_row(job: Job) -> dict[str, Any]:
    """Columns of a job; its file lies in four columns of its own."""
    row = asdict(job)
    file: JobFile = row.pop("file")
    row.update({f"file_{name}": value for name, value in asdict(file).items()})
    return row


def job_of(row: Row) -> Job:
    fields = dict(row)
    file = JobFile(**{name: fields.pop(f"file_{name}") for name in JobFile.__struct_fields__})
    return Job(file=file, **fields)


def copy_of(row: Row) -> Copy:
    return Copy(**row)


def attempt_of(row: Row) -> Attempt:
    return Attempt(**row)


def printer_of(row: Row) -> Printer:
    return Printer(**row)


def file_of(row: Row) -> StoredFile:
    return StoredFile(**row)


def history_of(row: Row) -> History:
    """A line of history without its number."""
    return History(**{name: row[name] for name in History.__struct_fields__})
