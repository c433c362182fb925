"""Claims and published numbers are parsed from text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.errors import InputError
from resnetlab.imported_runs.claim_text import parse_claim, parse_published, quoted_name
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


SIGNS = ("lr = 0.1", "lr = 0.2", "lr", "a > b", "x by 2", "all", 'say "x"', "it's", "B")
"""Names that contain signs and words of the grammar, or quotation marks."""


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ('"lr = 0.1" = "lr = 0.2" within 0.5', "lr = 0.1", "lr = 0.2"),
        ("'lr = 0.1' = lr within 0.5", "lr = 0.1", "lr"),
        ('"LR  =  0.1" = "B" within 0.5', "lr = 0.1", "B"),
        ('"a > b" > B', "a > b", "B"),
        ('B > "a > b" + 0.5', "B", "a > b"),
        ('B > "x by 2" by 2 within 1', "B", "x by 2"),
        ('B > "all"', "B", "all"),
        ('"say "x"" = "it\'s" within 1', 'say "x"', "it's"),
        ('"lr = 0.1" fails and "lr = 0.2" trains', "lr = 0.1", "lr = 0.2"),
    ],
)
def test_a_name_in_quotes_may_contain_signs_of_the_grammar(
    text: str, left: str, right: str
) -> None:
    claim = parse_claim(text, SIGNS, ACCURACY, "--claim")
    assert not isinstance(claim, Best)
    assert (claim.left, claim.right) == (left, right)
    assert "\0" not in claim.statement


@pytest.mark.parametrize("left", SIGNS)
@pytest.mark.parametrize("form", ["{} > {}", "{} > {} + 0.5", "{} = {} within 1", "{} > {} by 2"])
def test_every_name_can_be_claimed_as_the_page_writes_it(left: str, form: str) -> None:
    for right in SIGNS:
        if left != right:
            text = form.format(quoted_name(left), quoted_name(right))
            claim = parse_claim(text, SIGNS, ACCURACY, "--claim")
            assert isinstance(claim, Better | Equivalent | About)
            assert (claim.left, claim.right) == (left, right)


def test_an_unknown_name_in_quotes_is_refused_with_the_names() -> None:
    with pytest.raises(InputError) as error:
        parse_claim('"lr = 0.3" = "lr = 0.2" within 0.5', SIGNS, ACCURACY, "--claim")
    assert "no such condition" in str(error.value)
    assert "allowed: lr = 0.1, lr = 0.2" in str(error.value)
    with pytest.raises(InputError, match=r"""Fix: '"lr = 0\.1" > "lr = 0\.2"'"""):
        parse_claim("?", SIGNS, ACCURACY, "--claim")


@pytest.mark.parametrize("number", [".5", "0.5", "5e-1", "5E-1", "0.50", "50e-2", "00.5"])
def test_a_number_may_have_any_usual_form(number: str) -> None:
    claims = [
        parse(f"A > B + {number}"),
        parse(f"A = B within {number}"),
        parse(f"A > B by 2 within {number}"),
    ]
    better, equal, about = claims
    assert isinstance(better, Better)
    assert isinstance(equal, Equivalent)
    assert isinstance(about, About)
    assert [better.by_more_than, equal.margin, about.margin] == [0.5, 0.5, 0.5]
    assert parse_published(f"A = {number}", NAMES, "--published").value == 0.5


@pytest.mark.parametrize("number", ["5.", "5", "5e0", "+5"])
def test_a_point_without_decimals_is_a_number(number: str) -> None:
    if number != "+5":  # a margin has no sign
        claim = parse(f"A > B + {number}")
        assert isinstance(claim, Better)
        assert claim.by_more_than == 5
    assert parse_published(f"A = {number}", NAMES, "--published").half_width == 0.5


@given(st.text(alphabet="AB><=+ 0.5within failsandtrains'\"\0e", max_size=40))
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
        ("A = .936", 0.936, 1, "mean", 0.0005, ""),
        ("A = -9.36e1", -93.6, 1, "mean", 0.05, ""),
        ("A = 1.5e-3 of 5", 0.0015, 5, "mean", 0.00005, ""),
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
    for runs in ("0", "00", "1000001", "9" * 39):
        with pytest.raises(InputError, match=r"not a number of runs .* 1 to 1,000,000"):
            parse_published(f"A = 93 of {runs}", NAMES, "--published")
    for number in ("1e999", "9" * 400, "1e-400"):
        with pytest.raises(InputError, match="not a published number"):
            parse_published(f"A = {number}", NAMES, "--published")
