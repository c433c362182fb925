"""Training recipes: optimizer, learning rate, epochs, augmentation, and the numerics of a run.

Free of torch. Start with `train.py`.
"""
