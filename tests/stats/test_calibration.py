"""The statistics have their nominal error rates in simulations with fixed generators. The slow
suite prints the figures.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from helpers.arms import arm
from resnetlab.analysis.looks import ALPHA_SPENDING
from resnetlab.stats.contrasts import welch
from resnetlab.stats.exact import time_to_accuracy_rank_test
from resnetlab.stats.hypothesis_types import GREATER, MeansHypothesis, Region
from resnetlab.stats.prediction import ReportedResult, prediction_interval
from resnetlab.stats.sequential import Looks
from resnetlab.stats.verdict import compute_sequential_verdicts, compute_verdicts, region_test

DRAWS = 20_000


def printed_share(capsys: pytest.CaptureFixture[str], name: str, share_pct: float) -> float:
    with capsys.disabled():
        print(f"\n  {name}: {share_pct:.2f} %", end="")
    return share_pct


def prediction_coverage(draws: int, n: int, source: ReportedResult) -> float:
    """Share of published numbers, of runs that are like ours, within their prediction interval, in
    percent.
    """
    generator = np.random.default_rng(2)
    ours, theirs = (
        generator.normal(90, 0.5, (draws, n)),
        generator.normal(90, 0.5, (draws, source.runs)),
    )
    values = theirs.max(1) if source.is_best else theirs.mean(1)
    covered = 0
    for runs, value in zip(ours.tolist(), values.tolist(), strict=True):
        low, high = prediction_interval([(runs, source)])
        covered += low <= value <= high
    return 100 * covered / draws


def test_prediction_intervals_have_their_stated_coverage() -> None:
    assert prediction_coverage(2_000, 5, ReportedResult(0.0)) == pytest.approx(95, abs=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [1, 3, 5])
def test_prediction_intervals_have_their_stated_coverage_in_many_draws(
    capsys: pytest.CaptureFixture[str], runs: int
) -> None:
    share = prediction_coverage(DRAWS, 5, ReportedResult(0.0, runs))
    assert printed_share(
        capsys, f"prediction interval of a mean of {runs}, 5 runs", share
    ) == pytest.approx(95, abs=0.6)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(3, 5), (5, 5), (10, 5), (5, 3), (5, 10)])
def test_prediction_intervals_of_a_best_run_have_their_stated_coverage_in_many_draws(
    capsys: pytest.CaptureFixture[str], n: int, m: int
) -> None:
    share = prediction_coverage(DRAWS, n, ReportedResult(0.0, m, is_best=True))
    assert printed_share(
        capsys, f"prediction interval of the best of {m}, {n} runs", share
    ) == pytest.approx(95, abs=0.6)


@pytest.mark.slow
@pytest.mark.parametrize("unequal", [1.0, 2.0])
def test_weighted_interim_looks_have_their_stated_error_rate(
    capsys: pytest.CaptureFixture[str], unequal: float
) -> None:
    looks, generator = (
        Looks(tuple(ALPHA_SPENDING), tuple(ALPHA_SPENDING.values())),
        np.random.default_rng(3),
    )
    a, b = generator.normal(0, 1, (DRAWS, 10)), generator.normal(0, unequal, (DRAWS, 10))
    p = np.array([_welch_p(a[:, :n], b[:, :n]) for n in looks.seeds])
    naive = 100 * np.mean(p.min(0) < 0.05)
    weighted = 100 * np.mean((p / np.array(looks.weights)[:, None]).min(0) < 0.05)
    printed_share(capsys, f"three looks, each at 5 %, sd {unequal} to 1", naive)
    assert printed_share(capsys, "three looks that share 5 %", weighted) <= 5
    for row in range(0, DRAWS, 4_000):  # the vectors above are what the library computes
        ours = [2 * min(region_test(welch(a[row, :n], b[row, :n]), GREATER)) for n in looks.seeds]
        assert looks.corrected_p(ours)[0] == pytest.approx(
            min(1, *(p[:, row] / np.array(looks.weights)))
        )


def _welch_p(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    n = a.shape[1]
    va, vb = a.var(1, ddof=1) / n, b.var(1, ddof=1) / n
    nu = (va + vb) ** 2 / (va**2 + vb**2) * (n - 1)
    return 2 * special.stdtr(nu, -np.abs(a.mean(1) - b.mean(1)) / np.sqrt(va + vb))


@pytest.mark.slow
def test_a_race_between_equal_conditions_is_rarely_decided(
    capsys: pytest.CaptureFixture[str],
) -> None:
    generator = np.random.default_rng(4)
    times = np.ceil(generator.exponential(6, (DRAWS // 4, 10)))
    times[times > 10] = np.inf
    wrong = sum(
        2 * min(time_to_accuracy_rank_test(row[:5], row[5:])[:2]) < 0.05 for row in times.tolist()
    )
    assert printed_share(capsys, "race of equals, 5 runs an arm", 100 * wrong / len(times)) <= 5


def family_error(studies: int, claims: int, seed: int) -> float:
    """Share of studies in which eight claims about nothing, with looks and Holm, give any verdict,
    in percent.

    As a study does it: the same new seeds for both arms of each undecided claim, judged anew at
    each look.
    """
    looks, generator = (
        Looks(tuple(ALPHA_SPENDING), tuple(ALPHA_SPENDING.values())),
        np.random.default_rng(seed),
    )
    wrong = 0
    for _ in range(studies):
        values = generator.normal(90, 0.5, (claims, 2, looks.seeds[-1]))
        history: list[list[MeansHypothesis]] = [[] for _ in range(claims)]
        open_claims = set(range(claims))
        for n in looks.seeds:
            for claim in open_claims:
                history[claim].append(
                    MeansHypothesis((arm(values[claim, 0, :n]), arm(values[claim, 1, :n])))
                )
            verdicts = compute_sequential_verdicts(history, looks)
            open_claims = {
                claim for claim in range(claims) if verdicts[claim].label == "inconclusive"
            }
        wrong += len(open_claims) < claims
    return 100 * wrong / studies


def test_a_family_of_null_claims_rarely_gives_a_verdict() -> None:
    assert family_error(60, 8, 5) <= 15


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_family_of_null_claims_rarely_gives_a_verdict_in_many_studies(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        printed_share(
            capsys,
            "family of eight null claims with looks, 2,000 studies",
            family_error(2_000, 8, 6),
        )
        <= 5
    )


@pytest.mark.slow
def test_equality_is_rarely_confirmed_at_the_edge_of_its_margin(
    capsys: pytest.CaptureFixture[str],
) -> None:
    generator = np.random.default_rng(7)
    draws = DRAWS // 4
    a, b = (
        generator.normal(0.5, 0.2, (draws, 5)).tolist(),
        generator.normal(0, 0.2, (draws, 5)).tolist(),
    )
    equal = [
        compute_verdicts([MeansHypothesis((arm(x), arm(y)), region=Region(-0.5, 0.5))])[0].label
        == "reproduced"
        for x, y in zip(a, b, strict=True)
    ]
    assert (
        printed_share(
            capsys, "equality confirmed at the edge of the margin", 100 * sum(equal) / draws
        )
        <= 2.5 + 0.5
    )
