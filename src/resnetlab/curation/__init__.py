"""Better photographs: labels that are probably wrong, learning curves, and more photographs.

All of it works on the frozen features of a network, which are computed once for each photograph.
Start with `features.py`, then `suspects.py`.
"""
