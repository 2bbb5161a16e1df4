"""The tests: one folder per folder of the product, each of which it may import."""
