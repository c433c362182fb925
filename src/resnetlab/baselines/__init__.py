"""Baseline for comparisons with networks: a bag of visual words with a linear classifier.

Start with `bag_of_words.py`.
"""
