"""Judging models: against a floor, against each other, where they are served, and over time."""
