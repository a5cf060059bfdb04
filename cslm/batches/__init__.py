"""Batches: sources, their mixture, the order of the data and packing."""
