"""Claims and published numbers are parsed from text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.errors import InputError
from resnetlab.imported_runs.claim_text import parse_claim, parse_published
from resnetlab.studies.claims import About, AnyClaim, Best, Better, Equivalent, FailsAndTrains
from resnetlab.studies.measure import Measure

NAMES = ("plain 56", "residual 56 (A)", "SGD + momentum", "SGD", "a>b", "A", "B")
ACCURACY = Measure(name="accuracy")
LOSS = Measure(name="val_loss", unit="", higher_is_better=False)


def parse(text: str, measure: Measure = ACCURACY) -> AnyClaim:
    return parse_claim(text, NAMES, measure, "--claim")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A > B", Better(statement="A has a higher accuracy than B.", left="A", right="B")),
        ("A < B", Better(statement="B has a higher accuracy than A.", left="B", right="A")),
        (
            "  A   >  'plain 56' ",
            Better(statement="A has a higher accuracy than plain 56.", left="A", right="plain 56"),
        ),
        ("a>b > B", Better(statement="a>b has a higher accuracy than B.", left="a>b", right="B")),
        ("a > b", Better(statement="A has a higher accuracy than B.", left="A", right="B")),
        (
            "A > B + 1",
            Better(
                statement="A has a higher accuracy than B, by more than 1 point.",
                left="A",
                right="B",
                by_more_than=1.0,
            ),
        ),
        (
            "A > SGD + momentum",
            Better(
                statement="A has a higher accuracy than SGD + momentum.",
                left="A",
                right="SGD + momentum",
            ),
        ),
        (
            "SGD + momentum > SGD + 0.5",
            Better(
                statement="SGD + momentum has a higher accuracy than SGD, by more than 0.5 points.",
                left="SGD + momentum",
                right="SGD",
                by_more_than=0.5,
            ),
        ),
        (
            "A = B within 0.5",
            Equivalent(
                statement="A and B are within 0.5 points in accuracy.",
                left="A",
                right="B",
                margin=0.5,
            ),
        ),
        (
            "plain 56 fails and residual 56 (A) trains",
            FailsAndTrains(
                statement="plain 56 fails and residual 56 (A) trains.",
                left="plain 56",
                right="residual 56 (A)",
            ),
        ),
        (
            "A > B by 2",
            About(
                statement="A has a higher accuracy than B, by about 2 points.",
                left="A",
                right="B",
                size=2.0,
            ),
        ),
        (
            "A > B by 2 within 0.5",
            About(
                statement="A has a higher accuracy than B, by about 2 points.",
                left="A",
                right="B",
                size=2.0,
                margin=0.5,
            ),
        ),
        (
            "A > all",
            Best(
                statement="A has the best accuracy of all conditions.",
                left="A",
                rivals=("plain 56", "residual 56 (A)", "SGD + momentum", "SGD", "a>b", "B"),
            ),
        ),
    ],
)
def test_a_claim_is_parsed(text: str, expected: AnyClaim) -> None:
    assert parse(text) == expected


def test_greater_means_better_and_a_lower_loss_is_better() -> None:
    claim = parse("A > B", LOSS)
    assert claim.statement == "A has a lower val_loss than B."
    assert (claim.left, claim.right, claim.metric) == ("A", "B", "error")
    assert parse("A = B within 0.01", LOSS).statement == "A and B are within 0.01 in val_loss."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A beats B", "not a claim (got A beats B; allowed: A > B; A > B + 1"),
        ("A > C", "no such condition (got C; allowed: plain 56"),
        ("plan 56 > A", 'did you mean "plain 56"?'),
        ("A > A", "compares a condition with itself"),
        ("A = B within 0", "margin"),
        ("", "not a claim"),
    ],
)
def test_a_wrong_claim_is_refused_in_one_line_with_a_fix(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text)
    assert message in str(error.value)
    assert "Fix: " in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(alphabet="AB><=+ 0.5within failsandtrains'\"", max_size=40))
def test_any_text_is_parsed_as_a_claim_or_refused(text: str) -> None:
    try:
        parse(text)
    except InputError as error:
        (line,) = str(error).splitlines()
        assert "Fix: " in line


@pytest.mark.parametrize(
    ("text", "value", "runs", "statistic", "half_width", "source"),
    [
        ("A = 93.57", 93.57, 1, "mean", 0.005, ""),
        ("A = 93.6 of 5", 93.6, 5, "mean", 0.05, ""),
        (
            "A = best 93 of 5 (He et al. 2016, table 6)",
            93.0,
            5,
            "best",
            0.5,
            "He et al. 2016, table 6",
        ),
    ],
)
def test_a_published_number_is_parsed_with_its_rounding(
    text: str, value: float, runs: int, statistic: str, half_width: float, source: str
) -> None:
    number = parse_published(text, NAMES, "--published")
    assert (number.condition, number.value, number.num_runs) == ("A", value, runs)
    assert (number.statistic, number.source) == (statistic, source)
    assert number.half_width == pytest.approx(half_width)


def test_a_wrong_published_number_is_refused_in_one_line_with_a_fix() -> None:
    with pytest.raises(InputError, match="not a published number"):
        parse_published("A is 93", NAMES, "--published")
    with pytest.raises(InputError, match="no such condition"):
        parse_published("C = 93", NAMES, "--published")
