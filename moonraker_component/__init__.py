"""Moonfleet's component for Moonraker: `[moonfleet]`."""
