"""Training: one step, the loop over steps, and the state that they change.

Start with `step.py`, then `loop.py`.
"""
