"""Tests of coordinator/backup: files that can be trusted, and farms that go on from them."""
