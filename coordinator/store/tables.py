"""The tables, with everything that the schema itself refuses.

Owns columns, constraints and indexes. Must not know how rows are read or written. A change here
needs a revision in migrations/ (tests compare the two); columns of printers, copies and attempts
are named as the fields of their types in coordinator/core.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

import msgspec
import sqlalchemy as sa

from coordinator.core.attempts import State
from coordinator.core.jobs import COPIES_MAX, CopyState, JobState, Lane, Policy, Requirements
from coordinator.people.roles import GIVEN
from coordinator.store.columns import Json, OneOf, RoleWord, Words
from moonraker_component.wire import Order, Outcome, Phase, Report, Want

NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}

metadata = sa.MetaData(naming_convention=NAMES)

Strings = Json[tuple[str, ...]]
ROLE_WORDS = [role.word for role in GIVEN]


def _one_of(column: str, values: Iterable[Enum | str]) -> sa.CheckConstraint:
    """The column holds one of these values; the set comes from the enum itself."""
    texts = [value.value if isinstance(value, Enum) else value for value in values]
    listed = ", ".join(f"'{text}'" for text in texts)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


def _words(name: str, **how: Any) -> sa.Column[str]:
    return sa.Column(name, Words, nullable=False, **how)


def _whole(name: str, **how: Any) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, **how)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[float]:
    """A float: epoch seconds, seconds or millimetres, as the name's ending says."""
    return sa.Column(name, sa.Double, nullable=nullable)


def _where(condition: str) -> dict[str, Any]:
    """The condition of a partial index, for every database that is supported."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _at_least(least: int, *columns: str) -> list[sa.CheckConstraint]:
    return [sa.CheckConstraint(f"{column} >= {least}", name=column) for column in columns]


printers = sa.Table(
    "printers",
    metadata,
    _words("id", primary_key=True),
    _words("name"),
    _whole("generation"),
    sa.Column("issued", Json[Order](Order)),
    _words("session"),
    _words("pending_session"),
    _whole("pending_generation"),
    sa.Column("superseded", Strings(tuple[str, ...]), nullable=False),
    _words("machine"),
    _words("hold"),
    _flag("clone"),
    _flag("maintenance"),
    sa.Column("tags", Strings(tuple[str, ...]), nullable=False),
    _words("location"),
    _number("printed_s"),
    _whole("completed"),
    _whole("failed"),
    _whole("refused_in_row"),
    sa.Column("report", Json[Report](Report)),
    _number("created_at"),
    sa.CheckConstraint("id <> ''", name="id"),
    *_at_least(0, "generation", "pending_generation", "completed", "failed", "refused_in_row"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    _words("id", primary_key=True),
    _words("title"),
    _words("file_sha256"),
    _words("file_name"),
    _words("file_title"),
    _whole("file_size_bytes"),
    _whole("copies"),
    sa.Column("requirements", Json[Requirements](Requirements), nullable=False),
    sa.Column("policy", Json[Policy](Policy), nullable=False),
    sa.Column("lane", OneOf(Lane), nullable=False),
    _whole("priority"),
    _number("rank"),
    _number("deadline_at", nullable=True),
    sa.Column("state", OneOf(JobState), nullable=False),
    _words("reason"),
    _words("owner"),
    sa.Column("tags", Strings(tuple[str, ...]), nullable=False),
    _number("estimated_s", nullable=True),
    _number("filament_mm", nullable=True),
    _number("created_at"),
    _number("finished_at", nullable=True),
    _words("reprint_of"),
    sa.CheckConstraint("id <> ''", name="id"),
    sa.CheckConstraint(f"copies BETWEEN 1 AND {COPIES_MAX}", name="copies"),
    *_at_least(0, "file_size_bytes"),
    _one_of("lane", Lane),
    _one_of("state", JobState),
    sa.CheckConstraint(
        "(finished_at IS NOT NULL) = (state IN ('completed', 'cancelled'))", name="finished_at"
    ),
    sa.Index("ix_jobs_queue", "lane", "priority", "rank", **_where("finished_at IS NULL")),
    sa.Index("ix_jobs_finished", "finished_at", "id", **_where("finished_at IS NOT NULL")),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "file_sha256"),
)

copies = sa.Table(
    "copies",
    metadata,
    _words("id", primary_key=True),
    _words("job"),
    _whole("number"),
    sa.Column("state", OneOf(CopyState), nullable=False),
    _words("reason"),
    _whole("failures"),
    _whole("misses"),
    _number("front_at", nullable=True),
    sa.ForeignKeyConstraint(["job"], ["jobs.id"]),
    sa.UniqueConstraint("job", "number"),
    # What an attempt refers to, so that its job is always the job of its copy.
    sa.UniqueConstraint("id", "job"),
    sa.CheckConstraint("id <> ''", name="id"),
    sa.CheckConstraint(f"number BETWEEN 1 AND {COPIES_MAX}", name="number"),
    *_at_least(0, "failures", "misses"),
    _one_of("state", CopyState),
)

attempts = sa.Table(
    "attempts",
    metadata,
    _words("id", primary_key=True),
    _words("copy"),
    _words("job"),
    _words("printer"),
    sa.Column("state", OneOf(State), nullable=False),
    _words("session"),
    sa.Column("phase", OneOf(Phase)),
    _words("pause"),
    _flag("fenced"),
    _words("take_back"),
    _words("why_back"),
    _flag("pause_wanted"),
    _words("resume"),
    sa.Column("outcome", OneOf(Outcome), nullable=False),
    _flag("accepted"),
    _words("cause"),
    _words("message"),
    _flag("restored"),
    _number("assigned_at"),
    _number("armed_at", nullable=True),
    _number("started_at", nullable=True),
    _number("lost_at", nullable=True),
    _number("ended_at", nullable=True),
    sa.ForeignKeyConstraint(["copy", "job"], ["copies.id", "copies.job"]),
    sa.ForeignKeyConstraint(["printer"], ["printers.id"]),
    sa.CheckConstraint("id <> ''", name="id"),
    _one_of("state", State),
    _one_of("phase", Phase),
    _one_of("outcome", Outcome),
    _one_of("take_back", ["", Want.WITHDRAW, Want.CANCEL]),
    sa.CheckConstraint("(ended_at IS NOT NULL) = (state = 'ended')", name="ended_at"),
    sa.CheckConstraint("outcome = '' OR state = 'ended'", name="outcome_ended"),
    sa.CheckConstraint("NOT accepted OR outcome = 'complete'", name="accepted_complete"),
    sa.Index("one_live_attempt_per_printer", "printer", unique=True, **_where("state <> 'ended'")),
    sa.Index("one_accepted_attempt_per_copy", "copy", unique=True, **_where("accepted")),
    sa.Index(None, "job"),
    sa.Index(None, "copy"),
    sa.Index(None, "printer", "assigned_at", "id"),
)

files = sa.Table(
    "files",
    metadata,
    _words("sha256", primary_key=True),
    _whole("size_bytes"),
    _words("name"),
    _words("title"),
    sa.Column("metadata", Json[msgspec.Raw](msgspec.Raw)),
    sa.Column("analysis", Json[msgspec.Raw](msgspec.Raw)),
    _number("created_at"),
    sa.CheckConstraint("length(sha256) = 64 AND sha256 = lower(sha256)", name="sha256"),
    *_at_least(0, "size_bytes"),
    sa.Index(None, "created_at", "sha256"),
)

history = sa.Table(
    "history",
    metadata,
    # SQLite numbers rows by itself only in a column of exactly this type.
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    _number("at"),
    _words("kind"),
    _words("who"),
    _words("origin"),
    _words("job"),
    _words("copy"),
    _words("attempt"),
    _words("printer"),
    _words("text"),
    # No foreign keys: an audit outlives what it tells of.
    sa.Index("ix_history_job", "job", "number", **_where("job <> ''")),
    sa.Index("ix_history_attempt", "attempt", "number", **_where("attempt <> ''")),
    sa.Index("ix_history_printer", "printer", "number", **_where("printer <> ''")),
)

reign = sa.Table(
    "reign",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _whole("term"),
    sa.CheckConstraint("id = 1", name="one_row"),
    *_at_least(0, "term"),
)

settings = sa.Table(
    "settings",
    metadata,
    _words("key", primary_key=True),
    sa.Column("value", Json[msgspec.Raw](msgspec.Raw), nullable=False),
)

users = sa.Table(
    "users",
    metadata,
    _words("name", primary_key=True),
    sa.Column("role", RoleWord, nullable=False),
    _words("password_hash"),
    _flag("disabled"),
    _number("created_at"),
    sa.CheckConstraint("name <> '' AND name = lower(name)", name="name"),
    sa.CheckConstraint("password_hash LIKE '$argon2id$%'", name="password_hash"),
    _one_of("role", ROLE_WORDS),
)

sessions = sa.Table(
    "sessions",
    metadata,
    _words("digest", primary_key=True),
    _words("user"),
    _number("created_at"),
    _number("seen_at"),
    _words("origin"),
    sa.ForeignKeyConstraint(["user"], ["users.name"], ondelete="CASCADE"),
    sa.CheckConstraint("length(digest) = 64", name="digest"),
    sa.Index(None, "user", "created_at"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    _words("id", primary_key=True),
    _words("name"),
    _words("user"),
    sa.Column("role", RoleWord, nullable=False),
    _words("digest"),
    _number("created_at"),
    _number("expires_at", nullable=True),
    _number("used_at", nullable=True),
    sa.ForeignKeyConstraint(["user"], ["users.name"], ondelete="CASCADE"),
    sa.CheckConstraint("length(id) = 12", name="id"),
    sa.CheckConstraint("length(digest) = 64", name="digest"),
    _one_of("role", ROLE_WORDS),
    sa.Index(None, "user", "created_at"),
)

pairings = sa.Table(
    "pairings",
    metadata,
    _words("id", primary_key=True),
    _words("digest"),
    _words("printer"),
    _words("who"),
    _number("created_at"),
    _number("expires_at"),
    _number("used_at", nullable=True),
    sa.UniqueConstraint("digest"),
    sa.CheckConstraint("length(id) = 8", name="id"),
    sa.CheckConstraint("length(digest) = 64", name="digest"),
)
