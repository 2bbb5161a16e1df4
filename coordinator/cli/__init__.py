"""The command line for people and scripts: `moonfleet`. A client of the HTTP API and no more.

Owns words, tables and exit codes. Knows the coordinator only by its address; may run elsewhere.
"""

from coordinator.cli.main import main

__all__ = ["main"]
