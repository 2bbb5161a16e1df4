"""Tests of coordinator/http: everything is real but the bus, which is ours."""
