"""Runs: the folder that a run owns, from its configuration over checkpoints to its result.

Start with `config.py`, then `session.py` and `lifecycle.py`.
"""
