"""${message}

Frozen as it was written: it must not import tables.py, which goes on changing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from coordinator.ports import StoreError

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "raise NotImplementedError"}


def downgrade() -> None:
    raise StoreError(
        "a database is not taken back to an older version: restore the backup made before the"
        " upgrade and run the older Moonfleet on that"
    )
