"""Published numbers of a study without its runs: costs, depths and distances.

The command `study references` prints them.
"""
