"""Commands `finetune` and `fixres`. Start with `command.py`, then `output.py`."""
