"""Data sets: where images come from, how they are split, checked and augmented.

Start with `config.py`, then `sources/folder/source.py` and `transforms/augment.py`.
"""
