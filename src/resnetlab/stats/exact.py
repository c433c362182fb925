"""Exact tests for what has no mean: shares of runs that fail, and epochs to a level that some runs never reach."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnetlab.stats.intervals import Interval


def boschloo(failed_a: int, runs_a: int, failed_b: int, runs_b: int) -> float:
    """One-sided p of "runs of a fail more often than runs of b" (Boschloo 1970): exact, and stronger than Fisher's."""
    from scipy.stats import boschloo_exact

    if failed_a * runs_b <= failed_b * runs_a:  # no sign of it: scipy's answer is 1 or nearly, and not always a number
        return 1.0
    table = [[failed_a, failed_b], [runs_a - failed_a, runs_b - failed_b]]  # scipy's groups are columns
    return float(boschloo_exact(table, alternative="greater").pvalue)


def decision_power(runs: int, rate_a: float, rate_b: float, alpha: float) -> float:
    """How often n runs an arm that fail at these rates decide the claim that a fails and b trains, either way.

    Boschloo's p of every outcome, as tails of Fisher's: the largest over a grid of common rates.
    """
    import numpy as np
    from scipy.stats import binom, hypergeom

    a, b = np.ogrid[: runs + 1, : runs + 1]
    fisher = hypergeom.sf(a - 1, 2 * runs, runs, a + b).ravel()
    order = np.argsort(fisher)
    common = binom.pmf(b, runs, np.linspace(0.005, 0.995, 199)[:, None])
    tails = np.cumsum((common[:, :, None] * common[:, None, :]).reshape(199, -1)[:, order], 1).max(0)
    p = tails[np.searchsorted(fisher[order], fisher * (1 + 1e-9), "right") - 1].reshape(runs + 1, -1)
    reproduced = (2 * a >= runs) & (2 * b <= runs) & (2 * p < alpha)
    contradicted = (2 * a < runs) & (binom.cdf(a, runs, 0.5) < alpha)
    return float(np.sum(binom.pmf(a, runs, rate_a) * (reproduced | contradicted) * binom.pmf(b, runs, rate_b)))


def below_half(failed: int, runs: int) -> float:
    """One-sided exact p of "fewer than half of the runs fail"."""
    from scipy.special import bdtr

    return float(bdtr(failed, runs, 0.5))


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p of "these two checkpoints differ", from the images that one alone gets right (McNemar 1947).

    It says nothing of two recipes: seeds differ more than images do, and as a test of recipes it errs in 24 to 39 %
    (our simulations; Dietterich 1998 has the same in kind).
    """
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def paired_interval(only_a: int, only_b: int, images: int) -> Interval:
    """The 95 % interval of how many per cent points a is more accurate than b, of the same images.

    Wald's, with one image more in each cell where a and b differ: it keeps its 95 % where few do, and has a width
    where none is (Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data").
    """
    from scipy.special import ndtri

    a, b = (only_a + 1) / (images + 2), (only_b + 1) / (images + 2)
    half = float(ndtri(0.975)) * math.sqrt((a + b - (a - b) ** 2) / (images + 2))
    return Interval(100 * max(-1.0, a - b - half), 100 * min(1.0, a - b + half))


def race(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Whether a arrives sooner: one-sided p of "sooner" and of "later", and the chance that a run of a beats one of b.

    A run that never arrives is inf: it is behind all that do and level with the others that never do. Where all runs
    are watched equally long that is Gehan's test of censored times (1965), and with a failed run as the worst rank it
    is Lachin's (1999). The p-values are exact: the sum of midranks over every way to deal the runs to two arms.
    """
    every = [*a, *b]
    doubled = [2 * sum(y < x for y in every) + sum(y == x for y in every) + 1 for x in every]  # midranks, twice
    ways: list[dict[int, int]] = [{0: 1}, *({} for _ in a)]  # ways[k][s]: subsets of k runs whose ranks sum to s
    for rank in doubled:
        for k in range(len(a) - 1, -1, -1):
            for total, count in ways[k].items():
                ways[k + 1][total + rank] = ways[k + 1].get(total + rank, 0) + count
    observed, deals = sum(doubled[: len(a)]), sum(ways[-1].values())
    sooner = sum(count for total, count in ways[-1].items() if total <= observed) / deals
    later = sum(count for total, count in ways[-1].items() if total >= observed) / deals
    beats = sum((x < y) + 0.5 * (x == y) for x in a for y in b) / (len(a) * len(b))
    return sooner, later, beats
