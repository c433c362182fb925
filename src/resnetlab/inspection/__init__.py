"""Inspection of networks and runs. Trains nothing, writes no run."""
