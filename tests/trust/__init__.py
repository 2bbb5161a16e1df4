"""Tests of coordinator/trust and of the doors that it secures."""
