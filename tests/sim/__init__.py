"""The farm in one process, under one seed."""
