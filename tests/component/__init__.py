"""Tests of the Moonraker component: pure decisions, its parts, and the whole of it."""
