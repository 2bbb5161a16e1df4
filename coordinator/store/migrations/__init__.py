"""Alembic's revisions of the schema, packaged: no alembic.ini is needed."""
