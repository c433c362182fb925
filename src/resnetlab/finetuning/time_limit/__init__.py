"""Time limit of a fine-tuning: fewer epochs, and stages that are left out.

Start with `time_limit.py`, then `stage_time_limit.py`.
"""
