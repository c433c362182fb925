"""Course on convolutional and residual networks: lessons, checks of runs, reports and classes.

Start with `lessons.py`, then `check.py`.
"""
