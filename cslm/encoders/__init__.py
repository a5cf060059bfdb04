"""Frozen networks from audio to vectors, and how they are batched and run."""
