"""Executors of a plan: this process, worker processes on this machine, or a Ray cluster."""
