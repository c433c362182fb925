"""Commands `data suspects`, `data enough` and `extend`.

Start with `commands.py`, then `output.py`.
"""
