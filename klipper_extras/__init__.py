"""Entry of Klipper's `[moonfleet]` when this folder is linked as klippy/extras/moonfleet.

Exposes load_config and nothing else.
"""
from .moonfleet import load_config

__all__ = ["load_config"]
