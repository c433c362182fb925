"""Statistics of a study: outcomes of runs, summaries of conditions, verdicts on claims.

Functions take plain numbers and return frozen dataclasses. The package does not import torch, nor a
module that reads files. scipy is imported inside functions because its import is slow. Most
functions need only `scipy.special`; `scipy.stats` takes seconds to import and is used for
Boschloo's test and for the power of that test. Start with `verdict.py`, then `contrasts.py`.
"""
