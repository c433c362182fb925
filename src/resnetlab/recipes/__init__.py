"""Training recipes: optimizer, learning rate, epochs, augmentation, and the numerics of a run.

Does not import torch. Start with `train.py`.
"""
