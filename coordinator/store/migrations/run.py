"""Run Alembic on a connection that somebody else opened and will commit.

Owns Alembic's configuration. Must not know which revisions there are.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def config(connection: sa.Connection | None = None) -> Config:
    """Alembic's settings, without a file; `connection` is what env.py works on."""
    settings = Config()
    # ConfigParser reads % as the start of a variable.
    here = str(Path(__file__).parent).replace("%", "%%")
    settings.set_main_option("script_location", here)
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Apply every revision that is missing."""
    command.upgrade(config(connection), revision)


def downgrade(connection: sa.Connection, revision: str) -> None:
    """Ask the revisions to be undone; each refuses with StoreError and the way back."""
    command.downgrade(config(connection), revision)
