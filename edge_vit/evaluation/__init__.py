"""Predictions on pictures: paired statistics, comparisons, drawn pictures."""
