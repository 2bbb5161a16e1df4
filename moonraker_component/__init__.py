"""Moonfleet's component for Moonraker: `[moonfleet]`.

Owns `load_component`, Moonraker's entry point, and nothing else. Importing this package imports
neither Moonraker nor anything that is not in Python itself, for the coordinator imports it too.

No ImportError may leave: Moonraker answers one by updating pip and reinstalling its own
requirements, which is not what a missing package of ours needs.
"""

from __future__ import annotations

import sys
from typing import Any

__version__ = "0.1.0"

PACKAGES = "msgspec paho-mqtt requests"


def load_component(config: Any) -> Any:
    """Load `[moonfleet]`; whatever is wrong becomes a warning, and Moonraker runs on."""
    from . import off

    try:
        from .component import load

        return load(config)
    except ImportError as error:
        problem = (
            f"a Python package is missing in Moonraker's environment ({error}). Run"
            " `./install.sh host` in Moonfleet's folder again, or"
            f" `{sys.executable} -m pip install {PACKAGES}`"
        )
        return off.Off(config, [problem])
    except Exception as error:
        return off.Off(config, [f"it could not be loaded: {error!r}"], error)
