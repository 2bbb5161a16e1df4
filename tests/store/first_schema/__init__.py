"""A database as the first schema (0001) left it, kept for as long as it can be upgraded."""
