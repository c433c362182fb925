"""Verdicts on runs that were trained elsewhere: from a table of values to the data of a report.

`open_table` reads a file or a folder, `declaration` says what its columns mean, and
`imported_study` turns both into the data of a study. Free of torch.
Start with `imported_study.py`.
"""
