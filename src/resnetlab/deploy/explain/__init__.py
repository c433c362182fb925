"""Heat maps of predictions, and the check whether they are better than random maps.

Start with `explainer.py`, then `heat_map_check.py`.
"""
