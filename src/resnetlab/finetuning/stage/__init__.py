"""Stage of a fine-tuning: its training, its state and its cache.

Start with `train_stage.py`, then `state.py`.
"""
