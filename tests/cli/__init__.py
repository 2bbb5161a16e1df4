"""Tests of coordinator/cli: the real program against a real server."""
