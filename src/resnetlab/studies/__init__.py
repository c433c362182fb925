"""Studies: conditions, seeds and claims of a study file, its plan, and the training of its runs.

Only the training of a run imports torch. Start with `study.py`, then `plan.py`, `planning.py` and
`execution.py`.
"""
