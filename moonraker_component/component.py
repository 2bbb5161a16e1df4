"""Puts the component together from Moonraker's configuration.

Owns which options stop it from working, and where its parts come from. What it must not know:
what the parts do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import off, options
from .agent import Agent


def load(config: Any) -> Any:
    """The agent for `[moonfleet]`, or what stands in for it when an option is bad."""
    try:
        chosen = options.read(config)
    except options.BadOptions as error:
        return off.Off(config, error.problems)
    server = config.get_server()
    data_path = Path(server.get_app_args()["data_path"])
    return Agent(server, chosen, data_path)
