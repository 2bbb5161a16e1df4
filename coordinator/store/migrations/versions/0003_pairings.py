"""Codes by which hosts join.

Frozen as it was written: it must not import tables.py, which goes on changing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from coordinator.ports import StoreError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pairings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("printer", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.CheckConstraint("length(digest) = 64", name=op.f("ck_pairings_digest")),
        sa.CheckConstraint("length(id) = 8", name=op.f("ck_pairings_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pairings")),
        sa.UniqueConstraint("digest", name=op.f("uq_pairings_digest")),
    )


def downgrade() -> None:
    raise StoreError(
        "a database is not taken back to an older version: restore the backup made before the"
        " upgrade and run the older Moonfleet on that"
    )
