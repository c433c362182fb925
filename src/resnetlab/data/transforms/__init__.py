"""Transforms of images: crops, flips, color, normalization, for training and for evaluation."""
