"""Runs of a study that travel between machines: export, collection, and copies without paths."""
