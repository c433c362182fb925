"""Exact tests of failure rates, of epochs to an accuracy (perhaps never), of paired predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnetlab.stats.intervals import Interval


def boschloo(failed_a: int, runs_a: int, failed_b: int, runs_b: int) -> float:
    """Return the one-sided p of "runs of a fail more often than runs of b" (Boschloo 1970).

    The test is exact and has more power than Fisher's exact test.
    """
    from scipy.stats import boschloo_exact

    if failed_a * runs_b <= failed_b * runs_a:  # scipy gives 1, nearly 1, or NaN here
        return 1.0
    table = [
        [failed_a, failed_b],
        [runs_a - failed_a, runs_b - failed_b],
    ]  # scipy's groups are columns
    return float(boschloo_exact(table, alternative="greater").pvalue)


def decision_power(runs: int, rate_a: float, rate_b: float, alpha: float) -> float:
    """Return the probability of a decision, for or against the claim that a fails and b trains.

    Each arm has `runs` runs, which fail at `rate_a` and `rate_b`. Boschloo's p of each outcome is
    the largest tail of Fisher's p-values over a grid of common failure rates.
    """
    import numpy as np
    from scipy.stats import binom, hypergeom

    a, b = np.ogrid[: runs + 1, : runs + 1]
    fisher = hypergeom.sf(a - 1, 2 * runs, runs, a + b).ravel()
    order = np.argsort(fisher)
    common = binom.pmf(b, runs, np.linspace(0.005, 0.995, 199)[:, None])
    tails = np.cumsum((common[:, :, None] * common[:, None, :]).reshape(199, -1)[:, order], 1).max(
        0
    )
    p = tails[np.searchsorted(fisher[order], fisher * (1 + 1e-9), "right") - 1].reshape(
        runs + 1, -1
    )
    reproduced = (2 * a >= runs) & (2 * b <= runs) & (2 * p < alpha)
    contradicted = (2 * a < runs) & (binom.cdf(a, runs, 0.5) < alpha)
    return float(
        np.sum(
            binom.pmf(a, runs, rate_a) * (reproduced | contradicted) * binom.pmf(b, runs, rate_b)
        )
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided exact p of "these two trained networks differ" (McNemar 1947).

    `only_a` and `only_b` count the images that only one of the two classifies correctly. The test
    compares two trained networks, not two recipes: the variance between seeds is larger than the
    variance between images, and as a test of recipes it is wrong in 24 to 39 % of cases (our
    simulations; Dietterich 1998 found the same kind of error).
    """
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def paired_interval(only_a: int, only_b: int, images: int) -> Interval:
    """Return the 95 % interval of the accuracy of a minus b, in points, on the same images.

    It is Wald's interval with one image added to each of the two cells where a and b differ. So it
    covers 95 % even if few images differ, and it has a width even if none does (Bonett and Price
    2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data").
    """
    from scipy.special import ndtri

    a, b = (only_a + 1) / (images + 2), (only_b + 1) / (images + 2)
    half = float(ndtri(0.975)) * math.sqrt((a + b - (a - b) ** 2) / (images + 2))
    return Interval(100 * max(-1.0, a - b - half), 100 * min(1.0, a - b + half))


def sign_flip_p(differences: Sequence[float], flips: int = 20_000) -> float:
    """Return the two-sided p of "the sum of paired differences is not 0", by flips of signs.

    If two methods are equal, each difference has its sign by chance (Fisher 1935). Random flips
    estimate p; the observed signs count as one of them, so that p is never 0. With differences of
    -1, 0 and 1 the test is that of McNemar.

    Args:
        differences: Difference on each image, such as the weight of the image if only the first
            method classifies it correctly, and minus the weight if only the second one does.
        flips: Number of random flips of all signs, from a fixed seed.
    """
    import numpy as np

    values = np.array([value for value in differences if value])
    observed = abs(values.sum())
    signs = np.random.default_rng(0).integers(0, 2, (flips, len(values)), dtype=np.int8)
    sums = (2.0 * signs - 1) @ values
    extreme = int((np.abs(sums) >= observed * (1 - 1e-9)).sum())
    return (1 + extreme) / (1 + flips)


def balanced_accuracy_interval(right: Sequence[int], images: Sequence[int]) -> Interval:
    """Return the 95 % interval of the balanced accuracy, from 0 to 1, of classes with images.

    The accuracy of each class has the distribution Beta(right + 1, wrong + 1), and that of the mean
    over the classes is drawn with a fixed seed (Brodersen et al. 2010, "The balanced accuracy and
    its posterior distribution"). Near 0 and 1 the interval is extended to the measured value.

    Args:
        right: Number of correctly classified images of each class.
        images: Number of images of each class, above 0.
    """
    import numpy as np

    good, total = np.array(right), np.array(images)
    draws = np.random.default_rng(0).beta(good + 1, total - good + 1, (20_000, len(total)))
    low, high = np.quantile(draws.mean(1), (0.025, 0.975))
    measured = float((good / total).mean())
    return Interval(min(float(low), measured), max(float(high), measured))


def time_to_accuracy_rank_test(
    times_a: Sequence[float], times_b: Sequence[float]
) -> tuple[float, float, float]:
    """Return one-sided p of "a is faster" and of "a is slower", and P(a run of a beats one of b).

    The values are times to an accuracy; a run that never reaches it has inf. It ranks behind all
    runs that do and ties with the others that do not. If all runs train for the same number of
    epochs, this is Gehan's test of censored times (1965); with a failed run as the worst rank it is
    Lachin's (1999). The p-values are exact: they count the sums of midranks over every way to split
    the runs into two arms.
    """
    times = [*times_a, *times_b]
    doubled_ranks = [
        2 * sum(y < x for y in times) + sum(y == x for y in times) + 1 for x in times
    ]  # twice the midranks, so that they are integers
    subsets: list[dict[int, int]] = [
        {0: 1},
        *({} for _ in times_a),
    ]  # subsets[k][s]: number of subsets of k runs whose ranks sum to s
    for rank in doubled_ranks:
        for k in range(len(times_a) - 1, -1, -1):
            for total, count in subsets[k].items():
                subsets[k + 1][total + rank] = subsets[k + 1].get(total + rank, 0) + count
    observed, splits = sum(doubled_ranks[: len(times_a)]), sum(subsets[-1].values())
    p_faster = sum(count for total, count in subsets[-1].items() if total <= observed) / splits
    p_slower = sum(count for total, count in subsets[-1].items() if total >= observed) / splits
    win_probability = sum((x < y) + 0.5 * (x == y) for x in times_a for y in times_b) / (
        len(times_a) * len(times_b)
    )
    return p_faster, p_slower, win_probability
