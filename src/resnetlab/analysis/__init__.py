"""From runs to verdicts: what the runs of a study measured, and what its claims are worth.

Free of torch. Start with `analyze.py`, then `hypotheses.py`.
"""
