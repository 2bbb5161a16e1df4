"""The coordinator: one small service that decides which printer prints what."""
