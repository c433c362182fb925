"""Export of a model to the files of other programs, compared with PyTorch before they are written.

Start with `network.py`, then `photos.py`.
"""
