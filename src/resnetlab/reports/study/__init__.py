"""Sections of the report of a study, each a function from an analysis to plain values."""
