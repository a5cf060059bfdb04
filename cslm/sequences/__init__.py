"""Sequences: text and units side by side, with the mask of what is trained."""
