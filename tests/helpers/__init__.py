"""Helper modules of the tests: `from helpers.pictures import picture`.

The folder `tests` is on the import path because `pyproject.toml` names it in pytest's option
`pythonpath`.
"""
