"""Instruments to look inside a network or a run. Trains nothing, writes no run."""
