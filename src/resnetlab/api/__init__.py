"""Public Python API: the functions of `import resnetlab as rl`, with a module for each purpose;
configs and `load_model` are in their packages.

`studies` loads a study, `loaded_study` runs it, and `study_summary` has its result. `single_runs`
trains one network, `sweep` all combinations of a grid. `photographs` fine-tunes a network,
`evaluation` evaluates a trained one, `networks` and `landscapes` inspect it. `verdicts` judges runs
that were trained elsewhere. `verification` repeats runs of a committed result.

This file imports nothing, so that a command imports only the module that it needs. Start with
`studies.py`, then `loaded_study.py`.
"""
