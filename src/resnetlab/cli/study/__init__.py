"""Commands of `resnetlab study`. Start with `commands.py`, then `run.py`."""
