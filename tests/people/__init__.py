"""Tests of coordinator/people: the pure rules, and the hashing of passwords."""
