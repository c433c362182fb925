"""Statistics of a study: outcomes of runs, summaries of conditions, verdicts on claims.

Plain numbers in, frozen dataclasses out; imports neither torch nor anything that reads a file. scipy is imported inside
functions, and of it the special functions: `scipy.stats` takes seconds to import, and gives Boschloo's test alone.
"""
