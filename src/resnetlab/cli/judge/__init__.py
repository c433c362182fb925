"""Command `judge`. Start with `command.py`, then `questions.py`."""
