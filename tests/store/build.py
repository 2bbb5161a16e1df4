"""Rows for tests: small farms, and any value that a row type can hold."""

from __future__ import annotations

import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from coordinator.core.attempts import Attempt
from coordinator.core.farm import History, Plan
from coordinator.core.jobs import Copy, Job, JobFile
from coordinator.core.printers import Printer

SHA = "0123456789abcdef" * 4
FILE = JobFile(sha256=SHA, name="part.gcode", title="Part.gcode", size_bytes=12)


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def job(job_id: str = "job", **fields: Any) -> Job:
    return Job(id=job_id, title=fields.pop("title", "Part"), file=FILE, **{"copies": 1, **fields})


def plan(*rows: Job | Copy | Attempt | Printer | History) -> Plan:
    """A plan of these rows."""

    def of(kind: type[Any]) -> dict[str, Any]:
        return {row.id: row for row in rows if isinstance(row, kind)}

    return Plan(
        jobs=of(Job),
        copies=of(Copy),
        attempts=of(Attempt),
        printers=of(Printer),
        contacts={},
        history=tuple(row for row in rows if isinstance(row, History)),
    )


def farm(printers: int = 2, copies: int = 2) -> Plan:
    """A job `job` with copies c1, c2... and printers p1, p2...; no attempt."""
    return plan(
        job(copies=copies),
        *(Copy(id=f"c{n}", job="job", number=n) for n in range(1, copies + 1)),
        *(Printer(id=f"p{n}", name=f"Printer {n}") for n in range(1, printers + 1)),
    )


def attempt(attempt_id: str, copy: str = "c1", printer: str = "p1", **fields: Any) -> Attempt:
    return Attempt(id=attempt_id, copy=copy, job="job", printer=printer, **fields)


# U+0000 and surrogates are replaced on their way in, which has a test of its own.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(0, 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
}


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of an annotation: every field of a struct is drawn, defaults too."""
    if kind in SIMPLE:
        return SIMPLE[kind]
    inner = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return st.one_of([anything(part) for part in inner])
    if typing.get_origin(kind) is tuple:
        return st.lists(anything(inner[0]), max_size=3).map(tuple)
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    if issubclass(kind, msgspec.Struct):
        return struct(kind)
    raise TypeError(f"no values for {kind}")


def struct(kind: Any, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any value of a struct, with the strategies in `fixed` for some of its fields."""
    hints = typing.get_type_hints(kind)
    drawn = {name: anything(hints[name]) for name in kind.__struct_fields__ if name not in fixed}
    return st.builds(kind, **drawn, **fixed)
