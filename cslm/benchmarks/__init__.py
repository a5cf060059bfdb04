"""Measurements: what ``tools/bench_*.py`` call, and the claims of the methods."""
