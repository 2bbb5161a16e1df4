"""Attacks: each is refused, harms nobody, and leaves the state as it was."""
