"""Scores with intervals, the recognizers that they need, and the report."""
