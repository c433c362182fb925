"""Commands of `resnetlab data`. Start with `commands.py`, then `pack.py`."""
