"""The first schema.

Frozen as it was written: it must not import tables.py, which goes on changing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from coordinator.ports import StoreError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _printers()
    _jobs()
    _copies()
    _attempts()
    _files()
    _history()
    _reign()
    _settings()


def downgrade() -> None:
    raise StoreError(
        "a database is not taken back to an older version: restore the backup made before the"
        " upgrade and run the older Moonfleet on that"
    )


def _printers() -> None:
    op.create_table(
        "printers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("issued", sa.Text(), nullable=True),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("pending_session", sa.Text(), nullable=False),
        sa.Column("pending_generation", sa.BigInteger(), nullable=False),
        sa.Column("superseded", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("hold", sa.Text(), nullable=False),
        sa.Column("clone", sa.Boolean(), nullable=False),
        sa.Column("maintenance", sa.Boolean(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("printed_s", sa.Double(), nullable=False),
        sa.Column("completed", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("refused_in_row", sa.BigInteger(), nullable=False),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint("id <> ''", name=op.f("ck_printers_id")),
        sa.CheckConstraint("completed >= 0", name=op.f("ck_printers_completed")),
        sa.CheckConstraint("failed >= 0", name=op.f("ck_printers_failed")),
        sa.CheckConstraint("generation >= 0", name=op.f("ck_printers_generation")),
        sa.CheckConstraint("pending_generation >= 0", name=op.f("ck_printers_pending_generation")),
        sa.CheckConstraint("refused_in_row >= 0", name=op.f("ck_printers_refused_in_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_printers")),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("file_sha256", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("file_title", sa.Text(), nullable=False),
        sa.Column("file_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("copies", sa.BigInteger(), nullable=False),
        sa.Column("requirements", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.Double(), nullable=False),
        sa.Column("deadline_at", sa.Double(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("estimated_s", sa.Double(), nullable=True),
        sa.Column("filament_mm", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("reprint_of", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('completed', 'cancelled'))",
            name=op.f("ck_jobs_finished_at"),
        ),
        sa.CheckConstraint("id <> ''", name=op.f("ck_jobs_id")),
        sa.CheckConstraint("lane IN ('express', 'standard')", name=op.f("ck_jobs_lane")),
        sa.CheckConstraint(
            "state IN ('active', 'held', 'completed', 'cancelled')", name=op.f("ck_jobs_state")
        ),
        sa.CheckConstraint("copies BETWEEN 1 AND 10000", name=op.f("ck_jobs_copies")),
        sa.CheckConstraint("file_size_bytes >= 0", name=op.f("ck_jobs_file_size_bytes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_created_at_id"), "jobs", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_jobs_file_sha256"), "jobs", ["file_sha256"], unique=False)
    op.create_index(
        "ix_jobs_finished",
        "jobs",
        ["finished_at", "id"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_queue",
        "jobs",
        ["lane", "priority", "rank"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )


def _copies() -> None:
    op.create_table(
        "copies",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("misses", sa.BigInteger(), nullable=False),
        sa.Column("front_at", sa.Double(), nullable=True),
        sa.CheckConstraint("id <> ''", name=op.f("ck_copies_id")),
        sa.CheckConstraint(
            "state IN ('open', 'held', 'done', 'dropped')", name=op.f("ck_copies_state")
        ),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_copies_failures")),
        sa.CheckConstraint("misses >= 0", name=op.f("ck_copies_misses")),
        sa.CheckConstraint("number BETWEEN 1 AND 10000", name=op.f("ck_copies_number")),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_copies_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_copies")),
        sa.UniqueConstraint("id", "job", name=op.f("uq_copies_id_job")),
        sa.UniqueConstraint("job", "number", name=op.f("uq_copies_job_number")),
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("copy", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("printer", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("pause", sa.Text(), nullable=False),
        sa.Column("fenced", sa.Boolean(), nullable=False),
        sa.Column("take_back", sa.Text(), nullable=False),
        sa.Column("why_back", sa.Text(), nullable=False),
        sa.Column("pause_wanted", sa.Boolean(), nullable=False),
        sa.Column("resume", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("restored", sa.Boolean(), nullable=False),
        sa.Column("assigned_at", sa.Double(), nullable=False),
        sa.Column("armed_at", sa.Double(), nullable=True),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("lost_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "(ended_at IS NOT NULL) = (state = 'ended')", name=op.f("ck_attempts_ended_at")
        ),
        sa.CheckConstraint(
            "NOT accepted OR outcome = 'complete'", name=op.f("ck_attempts_accepted_complete")
        ),
        sa.CheckConstraint("id <> ''", name=op.f("ck_attempts_id")),
        sa.CheckConstraint(
            "outcome = '' OR state = 'ended'", name=op.f("ck_attempts_outcome_ended")
        ),
        sa.CheckConstraint(
            "outcome IN ('', 'complete', 'failed', 'cancelled', 'not_started', 'unknown')",
            name=op.f("ck_attempts_outcome"),
        ),
        sa.CheckConstraint(
            "phase IN ('preparing', 'prepared', 'starting', 'printing', 'paused', 'ended')",
            name=op.f("ck_attempts_phase"),
        ),
        sa.CheckConstraint(
            "state IN ('assigned', 'armed', 'started', 'lost', 'ended')",
            name=op.f("ck_attempts_state"),
        ),
        sa.CheckConstraint(
            "take_back IN ('', 'withdraw', 'cancel')", name=op.f("ck_attempts_take_back")
        ),
        sa.ForeignKeyConstraint(
            ["copy", "job"], ["copies.id", "copies.job"], name=op.f("fk_attempts_copy_job")
        ),
        sa.ForeignKeyConstraint(["printer"], ["printers.id"], name=op.f("fk_attempts_printer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_copy"), "attempts", ["copy"], unique=False)
    op.create_index(op.f("ix_attempts_job"), "attempts", ["job"], unique=False)
    op.create_index(
        op.f("ix_attempts_printer_assigned_at_id"),
        "attempts",
        ["printer", "assigned_at", "id"],
        unique=False,
    )
    op.create_index(
        "one_accepted_attempt_per_copy",
        "attempts",
        ["copy"],
        unique=True,
        sqlite_where=sa.text("accepted"),
        postgresql_where=sa.text("accepted"),
    )
    op.create_index(
        "one_live_attempt_per_printer",
        "attempts",
        ["printer"],
        unique=True,
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )


def _files() -> None:
    op.create_table(
        "files",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("analysis", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "length(sha256) = 64 AND sha256 = lower(sha256)", name=op.f("ck_files_sha256")
        ),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_files_size_bytes")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_files")),
    )
    op.create_index(
        op.f("ix_files_created_at_sha256"), "files", ["created_at", "sha256"], unique=False
    )


def _history() -> None:
    op.create_table(
        "history",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("copy", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Text(), nullable=False),
        sa.Column("printer", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_history")),
    )
    op.create_index(
        "ix_history_attempt",
        "history",
        ["attempt", "number"],
        unique=False,
        sqlite_where=sa.text("attempt <> ''"),
        postgresql_where=sa.text("attempt <> ''"),
    )
    op.create_index(
        "ix_history_job",
        "history",
        ["job", "number"],
        unique=False,
        sqlite_where=sa.text("job <> ''"),
        postgresql_where=sa.text("job <> ''"),
    )
    op.create_index(
        "ix_history_printer",
        "history",
        ["printer", "number"],
        unique=False,
        sqlite_where=sa.text("printer <> ''"),
        postgresql_where=sa.text("printer <> ''"),
    )


def _reign() -> None:
    op.create_table(
        "reign",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_reign_one_row")),
        sa.CheckConstraint("term >= 0", name=op.f("ck_reign_term")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reign")),
    )
    op.execute("INSERT INTO reign (id, term) VALUES (1, 0)")


def _settings() -> None:
    op.create_table(
        "settings",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_settings")),
    )
