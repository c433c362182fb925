"""`judge` has its nominal error rates on simulated tables, and its guide states the measured
figures.
"""

from __future__ import annotations

import json
import re

import judge as benchmark
import pytest

from helpers.documents import DOCS, ROOT

FAST = (
    "null, three claims, 5 seeds",
    "null, paired, 5 seeds",
    "null, ten folds, corrected resampled t-test",
)
CASES = benchmark.cases()


def noise(draws: int) -> float:
    """Three standard errors of a rate of 5 % in percent."""
    return 3 * (5 * 95 / draws) ** 0.5


@pytest.mark.parametrize("name", FAST)
def test_false_verdicts_on_equal_conditions_are_as_rare_as_their_limit(name: str) -> None:
    test, limit = CASES[name]
    assert limit is not None
    assert benchmark.share(100, test, 1) <= limit + noise(100)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (_, limit) in CASES.items() if limit])
def test_every_rate_is_within_its_limit(name: str) -> None:
    test, limit = CASES[name]
    assert limit is not None
    assert benchmark.share(1000, test, 2) <= limit + noise(1000)


def test_the_numbers_in_the_guide_equal_the_benchmark() -> None:
    rates = json.loads((ROOT / "benchmarks" / "judge.json").read_text())["rates"]
    guide = (DOCS / "how-to" / "judge.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (.+?) \| ([\d.]+) % \|", guide, re.M))
    assert rows == {name: f"{row['rate_pct']:.2f}" for name, row in rates.items()}
    assert list(rates) == list(CASES)
