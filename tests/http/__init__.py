"""Tests of coordinator/http: a real server, store, content store and engine; only the bus is ours."""
