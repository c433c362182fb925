"""Pre-trained network of a fine-tuning: its selection, its new classifier and its frozen features.

Start with `backbones.py`, then `model.py`.
"""
