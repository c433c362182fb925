"""Claims of study files select their conditions and are turned into hypotheses, and claims that
cannot be answered are refused.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnetlab.analysis.hypotheses import ClaimRun, ConditionRuns, to_hypothesis
from resnetlab.errors import InputError
from resnetlab.schema import decode, without_defaults
from resnetlab.stats.hypothesis_types import (
    GREATER,
    LESS,
    FailureHypothesis,
    MeansHypothesis,
    Region,
    SpeedHypothesis,
)
from resnetlab.stats.verdict import compute_verdicts
from resnetlab.studies.claims import Claim, condition_labels, describe_claim
from resnetlab.studies.parsing.claims import parse_claims
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.power_checks import plan_warnings
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.study import Study

GRID = """
name = "depth"
question = "Does depth hurt?"
data = { source = "digits", validation = 0.0 }
recipe = "digits"
seeds = [0, 1, 2, 3, 4]
[grid]
model.depth = [8, 14, 20]
model.shortcut = ["none", "A"]
"""

PLAIN = ("plain 8", "plain 14", "plain 20")
RESIDUAL = ("residual 8 (A)", "residual 14 (A)", "residual 20 (A)")
TWO = (
    'left = { model.depth = 20, model.shortcut = "A" }\nright = { model.depth = 20, '
    'model.shortcut = "none" }\n'
)
SIDES = 'left = { model.shortcut = "A" }\nright = { model.shortcut = "none" }\n'


def study(*claims: str, grid: str = GRID, **changes: Any) -> Study:
    text = grid + "".join(f'[[claim]]\nstatement = "It is so."\n{claim}\n' for claim in claims)
    return parse_study(tomllib.loads(text) | changes, "study.toml", Overrides())


def claim(text: str, **changes: Any) -> Any:
    (parsed,) = study(text, **changes).claims
    return parsed


def error_lines(*claims: str, **changes: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        study(*claims, **changes)
    return [line.removeprefix("study.toml: ") for line in str(caught.value).splitlines()]


def test_curves_of_a_distance_are_selected_in_pairs_if_they_are_recorded() -> None:
    distance = '[[distance]]\nstatement = "They are alike."\n' + SIDES
    followed = GRID.replace("validation = 0.0", "validation = 0.0, test_curve = true")
    (distance_claim,) = study(grid=followed + distance).distances
    assert (distance_claim.left, distance_claim.right, distance_claim.metric) == (
        RESIDUAL,
        PLAIN,
        "top1",
    )
    with pytest.raises(
        InputError, match=r"distance\[0\]: curves of the test images are not recorded"
    ):
        study(grid=GRID + distance)
    with pytest.raises(InputError, match=r"distance\[0\].left: model.deep is not an axis"):
        study(
            grid=followed
            + distance.replace('left = { model.shortcut = "A" }', "left = { model.deep = 8 }")
        )
    with pytest.raises(InputError, match=r"distance\[0\].metrc: unknown field"):
        study(grid=followed + distance + 'metrc = "loss"\n')
    raw = tomllib.loads(followed + distance)
    part = parse_study(raw, "study.toml", Overrides(settings=("grid.model.depth=[8]",)))
    assert part.distances[0].left == ("residual 8 (A)",)
    assert (
        parse_study(raw, "study.toml", Overrides(settings=('grid.model.shortcut=["A"]',))).distances
        == ()
    )


def test_a_condition_is_selected_by_an_axis_whose_value_is_a_table() -> None:
    head = (
        GRID.split("[grid]")[0]
        + '[grid]\nmodel = ["cifar-resnet20", { name = "cifar-resnet20", dropout = 0.5 }]\n'
    )
    sides = (
        'left = { model = { name = "cifar-resnet20", dropout = 0.5 } }\nright = { model = '
        '"cifar-resnet20" }\n'
    )
    parsed = study(sides, grid=head)
    assert (parsed.claims[0].left, parsed.claims[0].right) == tuple(
        c.label for c in reversed(parsed.conditions)
    )


EVERY = {
    "greater": TWO + 'metric = "loss"',
    "about": TWO + "size = 3.0",
    "equal": TWO + "margin = 0.5\nexpected_sd = 0.2",
    "fails-and-trains": TWO,
    "average": SIDES,
    "every": SIDES,
    "relative": SIDES + "size = 28.0\nmargin = 10.0",
    "monotone": 'along = "model.depth"\nchange = "worsens"\nwhere = { model.shortcut = "none" }',
    "best": 'left = { model.depth = 20, model.shortcut = "A" }',
    "faster": TWO + "accuracy_pct = 90.0",
}


def every() -> Study:
    validation = {"source": "digits", "validation": 0.1}
    return study(*(f'kind = "{kind}"\n{text}' for kind, text in EVERY.items()), data=validation)


# Claims of a file
# --------------------------------------------------------------------------------------------------


def test_each_kind_of_claim_selects_its_conditions_in_the_grid() -> None:
    study_of_all_kinds = {parsed.kind: condition_labels(parsed) for parsed in every().claims}
    two = (RESIDUAL[2], PLAIN[2])
    pairs = tuple(label for pair in zip(RESIDUAL, PLAIN, strict=True) for label in pair)
    assert study_of_all_kinds == {
        "greater": two,
        "about": two,
        "equal": two,
        "fails-and-trains": two,
        "faster": two,
        "average": pairs,
        "every": pairs,
        "relative": pairs,
        "monotone": PLAIN,
        "best": (
            RESIDUAL[2],
            "plain 8",
            "residual 8 (A)",
            "plain 14",
            "residual 14 (A)",
            "plain 20",
        ),
    }


def test_a_claim_without_a_kind_has_the_kind_greater() -> None:
    parsed = claim(TWO)
    assert (parsed.kind, parsed.metric, parsed.paired) == ("greater", "top1", False)


def test_every_kind_of_claim_is_decoded_as_encoded_and_has_a_description() -> None:
    for parsed in every().claims:
        assert decode(Claim, without_defaults(parsed), "report.json") == parsed
        assert RESIDUAL[2] in describe_claim(parsed) or PLAIN[2] in describe_claim(parsed)


def test_the_default_margin_of_a_size_is_its_half_and_at_least_0_2_points() -> None:
    assert claim('kind = "about"\nsize = 3.0\n' + TWO).effective_margin == 1.5
    assert claim('kind = "about"\nsize = -0.1\n' + TWO).effective_margin == 0.2
    assert claim('kind = "about"\nsize = 3.0\nmargin = 1.0\n' + TWO).effective_margin == 1.0


def test_steps_along_an_axis_follow_its_numbers_and_not_the_order_in_the_file() -> None:
    mixed = GRID.replace("[8, 14, 20]", "[20, 8, 14]")
    text = 'kind = "monotone"\nalong = "model.depth"\nwhere = { model.shortcut = "none" }'
    assert study(text, grid=mixed).claims[0].order == PLAIN  # type: ignore[union-attr]


# Claims that are refused
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('kind = "about"\n' + TWO, "claim[0].size: missing. Fix: add size = 0.1"),
        (
            'kind = "about"\nsize = 0.0\n' + TWO,
            'claim[0].size: not a difference. Fix: size = 2.5, or kind = "equal"',
        ),
        ('kind = "equal"\n' + TWO, "claim[0].margin: missing. Fix: add margin = 0.1"),
        (
            'kind = "relative"\nsize = 5.0\n' + SIDES,
            "claim[0].margin: missing. Fix: add margin = 0.1",
        ),
        (
            'kind = "faster"\naccuracy_pct = 100.0\n' + TWO,
            "claim[0].accuracy_pct: not below 100 %. Fix: accuracy_pct = 90.0",
        ),
        (
            'kind = "faster"\naccuracy_pct = 90.0\n' + TWO,
            (
                "claim[0]: no split is evaluated at each epoch in both conditions. "
                "Fix: data.validation = 0.1, or data.test_curve = true"
            ),
        ),
        (
            'kind = "fails-and-trains"\nsplit = "train"\n' + TWO,
            (
                "claim[0].split: unknown field (allowed: kind, left, right, source, statement). "
                'Fix: did you mean "left"?'
            ),
        ),
        (
            'metric = "accuracy"\n' + TWO,
            (
                'claim[0].metric: unknown value (got "accuracy"; allowed: top1, error, loss). Fix: '
                'metric = "top1"'
            ),
        ),
        (
            'kind = "average"\nleft = { model.shortcut = "A" }\nright = { model.depth = 8 }',
            (
                "claim[0]: 3 conditions on the left and 2 on the right are no pairs (allowed: "
                "model.depth, model.shortcut). Fix: name the same axes on both sides, with other "
                "values"
            ),
        ),
        (
            'kind = "average"\nleft = { model.shortcut = "A" }\nright = { model.shortcut = "A" }',
            (
                "claim[0]: 3 conditions on the left and 3 on the right are no pairs (allowed: "
                "model.depth, model.shortcut). Fix: name the same axes on both sides, with other "
                "values"
            ),
        ),
        (
            'kind = "monotone"\nalong = "model.dept"\n',
            (
                "claim[0].along: model.dept is not an axis of the grid (allowed: model.depth, "
                "model.shortcut). "
                'Fix: did you mean "model.depth"?'
            ),
        ),
        (
            'kind = "monotone"\nalong = "model.depth"\n',
            (
                "claim[0].where: 6 conditions with nothing are no steps along model.depth. "
                "Fix: where = { model.shortcut = ... }"
            ),
        ),
        (
            (
                'kind = "monotone"\nalong = "model.depth"\n'
                "where = { model.depth = 8, model.shortcut "
                '= "A" }'
            ),
            (
                "claim[0].where: 1 conditions with model.depth = 8, model.shortcut = A are no "
                "steps along model.depth. Fix: two values or more of model.depth"
            ),
        ),
        (
            (
                'kind = "monotone"\nalong = "model.depth"\n'
                'where = { model.shortcut = "A" }\norder = '
                '["a"]'
            ),
            "claim[0].order: unknown field. Fix: remove it",
        ),
        (
            (
                'kind = "best"\nleft = { model.depth = 8, model.shortcut = "A" }\n'
                'among = { model.depth = 8, model.shortcut = "A" }'
            ),
            "claim[0].among: no condition besides left. Fix: pick two or more",
        ),
        (
            'kind = "best"\nleft = { model.depth = 8 }',
            (
                "claim[0].left: 2 conditions with model.depth = 8 (allowed: model.depth, "
                "model.shortcut). Fix: name one condition by its axes"
            ),
        ),
        (
            "paired = true\n" + TWO,
            (
                "claim[0].paired: runs of left and right share only a seed, so they are not pairs. "
                "Fix: remove it: Welch's test compares them"
            ),
        ),
        (
            'kind = "equal"\nmargin = 0.5\nexpected_sd = 0.4\n' + TWO,
            (
                "claim[0].margin: 5 seeds cannot confirm ± 0.5 at a standard deviation of 0.4. "
                "Fix: margin = 0.59, or 7 seeds"
            ),
        ),
        (
            'kind = "relative"\nsize = 28.0\nmargin = 2.0\nexpected_sd = 5.0\n' + SIDES,
            (
                "claim[0].margin: 5 seeds cannot confirm ± 2 at a standard deviation of 5 %. "
                "Fix: margin = 3.31, or 13 seeds"
            ),
        ),
        (
            'kind = "about"\nsize = 0.4\nexpected_sd = 2.0\n' + TWO,
            (
                "claim[0].margin: 5 seeds cannot confirm ± 0.2 at a standard deviation of 2. "
                "Fix: margin = 2.92, or more than 50 seeds"
            ),
        ),
    ],
)
def test_an_unanswerable_claim_is_refused(text: str, line: str) -> None:
    assert error_lines(text) == [line]


HE = """
name = "he"
source = "he2016"
protocol = { summary = "as it was" }
[[value]]
label = "plain"
model = "cifar-plain20"
quantity = "error"
value = 10.0
[[value]]
label = "residual"
model = "cifar-resnet20"
quantity = "error"
value = 8.0
num_runs = 5
sd = 0.4
"""


def write_reference(folder: Path, text: str = HE) -> str:
    (folder / "he.toml").write_text(text, encoding="utf-8")
    return str(folder / "he.toml")


def test_a_margin_too_small_for_the_published_spread_is_refused(
    tmp_path: Path,
) -> None:
    source = write_reference(tmp_path)
    equal = 'kind = "equal"\nmargin = 0.5\n' + TWO
    line = (
        "claim[0].margin: 5 seeds cannot confirm ± 0.5 at a standard deviation of 0.4 (residual 20 "
        "(A): He et al. 2016). Fix: margin = 0.59, or 7 seeds, or an expected_sd of your own"
    )
    assert error_lines(equal, references=source) == [line]
    assert claim(equal + "expected_sd = 0.2", references=source).expected_sd == 0.2
    assert claim(equal.replace("0.5", "0.6"), references=source).margin == 0.6
    for elsewhere in ('metric = "loss"\n', 'split = "train"\n'):  # no spread of that is published
        assert claim(equal + elsewhere, references=source).margin == 0.5


def test_the_runs_of_a_source_determine_the_expected_spread(tmp_path: Path) -> None:
    source = write_reference(
        tmp_path, HE.replace("num_runs = 5\nsd = 0.4", "num_runs = 3\nrun_values = [7.6, 8.0, 8.4]")
    )
    (line,) = error_lines('kind = "about"\nsize = 1.0\n' + TWO, references=source)
    assert (
        "cannot confirm ± 0.5 at a standard deviation of 0.4 (residual 20 (A): He et al. 2016)"
        in line
    )


def test_the_spread_of_a_ratio_is_in_percent_of_the_published_level(tmp_path: Path) -> None:
    sides = TWO.replace("left", "?").replace("right", "left").replace("?", "right")
    text = f'kind = "relative"\nsize = -25.0\n{sides}'
    # In percent of an error of 8 the sd is 5; plain over residual is r, and the variance of a ratio
    # has two parts.
    r = 1.25
    nu = 4 * (1 + r**2) ** 2 / (1 + r**4)
    reach = stats.t.ppf(0.975, nu) * 5 * math.sqrt((1 + r**2) / 5)
    (line,) = error_lines(
        f"{text}margin = {reach - 0.01:.2f}", references=write_reference(tmp_path)
    )
    assert "at a standard deviation of 0.4 (residual 20 (A): He et al. 2016)" in line
    assert (
        claim(f"{text}margin = {reach + 0.01:.2f}", references=write_reference(tmp_path)).kind
        == "relative"
    )


def test_a_single_seed_cannot_confirm_a_margin() -> None:
    (line,) = error_lines('kind = "equal"\nmargin = 5.0\nexpected_sd = 1.0\n' + TWO, seeds=[0])
    assert line.startswith(
        "claim[0].margin: 1 seed cannot confirm ± 5 at a standard deviation of 1. Fix: 2 seeds"
    )


def test_mistakes_in_claims_are_reported_together_with_other_mistakes_of_the_file() -> None:
    lines = error_lines(
        'kind = "about"\nleft = 3\nright = { model.depth = 8 }\nsize = 0.0\n',
        'kind = "best"\nleft = { x = 1 }',
        seeds=[],
    )
    assert [line.split(":")[0] for line in lines] == [
        "seeds",
        "claim[0].left",
        "claim[0].right",
        "claim[0].size",
        "claim[1].left",
    ]
    lines = error_lines(
        'kind = "about"\nleft = 3\nright = { model.depth = 8 }\nsize = 0.0\n',
        'kind = "best"\nleft = { x = 1 }',
    )
    assert [line.split(":")[0] for line in lines] == [
        "claim[0].left",
        "claim[0].right",
        "claim[0].size",
        "claim[1].left",
    ]


def test_runs_with_other_numerics_are_no_pairs() -> None:
    """They are trained separately, though model, data and recipe are the same."""
    grid = (
        GRID.split("[grid]")[0]
        + 'model = "cifar-resnet8"\n[grid]\nnumerics.precision = ["fp32", "bf16-emulated"]\n'
    )
    text = (
        'paired = true\nleft = { numerics.precision = "fp32" }\n'
        'right = { numerics.precision = "bf16-emulated" }'
    )
    with pytest.raises(InputError, match="share only a seed, so they are not pairs"):
        study(text, grid=grid)


def test_runs_of_the_same_training_are_compared_as_pairs() -> None:
    grid = (
        GRID.split("[grid]")[0]
        + 'model = "cifar-resnet8"\n[grid]\nrecipe.select = ["last", "best"]\n'
    )
    text = 'paired = true\nleft = { recipe.select = "best" }\nright = { recipe.select = "last" }'
    parsed = study(text, grid=grid, data={"source": "digits", "validation": 0.1}).claims[0]
    runs = {
        label: ConditionRuns(
            tuple(ClaimRun(seed, "trained", 10.0 * seed + e) for seed, e in enumerate(errors)),
            0.1,
            10,
            1.0,
        )
        for label, errors in zip(
            condition_labels(parsed), ((1.0, 2.0, 3.0), (3.0, 4.5, 5.0)), strict=True
        )
    }
    hypothesis = to_hypothesis(parsed, runs)
    assert isinstance(hypothesis, MeansHypothesis)
    assert hypothesis.pairs == (2.0, 2.5, 2.0)


def test_a_plan_warns_about_claims_that_few_seeds_cannot_decide() -> None:
    study_of_all_kinds = every()
    assert [line.split(": ")[1] for line in plan_warnings(study_of_all_kinds.claims, 5)] == [
        (
            "without an expected_sd or a published standard deviation it is unknown if 5 seeds can "
            "confirm its margin"
        )
    ] * 2
    few = plan_warnings(study_of_all_kinds.claims, 3)
    assert "3 seeds cannot decide it; 4 can" in few[-1]
    assert len(plan_warnings(study_of_all_kinds.claims, 1)) == len(study_of_all_kinds.claims)


FIELDS = st.sampled_from(
    ["kind", "left", "right", "along", "where", "among", "model.depth", "size"]
)
PARTS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(sorted(EVERY))
)
TABLES = st.recursive(
    PARTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner), max_leaves=12
).filter(lambda value: isinstance(value, dict))


@given(TABLES)
def test_no_claim_table_ends_with_a_traceback(table: dict[str, Any]) -> None:
    claims, problems = parse_claims([table], every().conditions, 5, "study.toml")
    assert len(claims) == 1 or problems


# Claims as answers to a question
# --------------------------------------------------------------------------------------------------


def runs(*errors: float, epochs: float = 10.0, **more: Any) -> ConditionRuns:
    return ConditionRuns(
        tuple(ClaimRun(i, "trained", e, e / 100, **more) for i, e in enumerate(errors)),
        0.1,
        10,
        epochs,
    )


def hypothesis_of(kind: str) -> Any:
    parsed = next(parsed for parsed in every().claims if parsed.kind == kind)
    good, bad = runs(3.0, 3.2, 2.9), runs(6.0, 6.3, 5.8)
    return to_hypothesis(
        parsed, {label: good if "residual" in label else bad for label in (*PLAIN, *RESIDUAL)}
    )


def test_hypotheses_have_the_regions_and_directions_of_their_claims() -> None:
    assert hypothesis_of("about").region == Region(1.5, 4.5)
    assert (hypothesis_of("about").direction, hypothesis_of("equal").direction) == (GREATER, None)
    assert hypothesis_of("equal").region == Region(-0.5, 0.5)
    assert (hypothesis_of("relative").region, hypothesis_of("relative").relative) == (
        Region(18, 38),
        True,
    )
    negative = claim('kind = "about"\nsize = -3.0\n' + TWO)
    both = {RESIDUAL[2]: runs(3.0, 3.1), PLAIN[2]: runs(6.0, 6.1)}
    assert to_hypothesis(negative, both).direction == LESS  # type: ignore[union-attr]


def test_less_loss_and_less_error_are_better() -> None:
    hypothesis = hypothesis_of("greater")  # by loss
    assert hypothesis.arms[0].trained == pytest.approx((-0.032, -0.03, -0.029))
    assert hypothesis.arms[0].chance == -math.log(10)
    assert compute_verdicts([hypothesis])[0].label == "reproduced"
    effect = compute_verdicts([hypothesis_of("relative")])[0].effect
    assert effect is not None
    assert effect.estimate == pytest.approx(100 * (1 - (9.1 / 3) / (18.1 / 3)))


def test_a_claim_on_the_train_images_uses_the_train_scores() -> None:
    text = 'kind = "{}"\nsplit = "train"\nmetric = "error"\n'
    claims = [
        claim(text.format(kind) + EVERY[kind].replace('metric = "loss"', ""))
        for kind in (
            "greater",
            "about",
            "equal",
            "average",
            "every",
            "relative",
            "monotone",
            "best",
        )
    ]
    learned = ConditionRuns(
        (
            ClaimRun(0, "trained", 9.0, train_error_pct=1.0),
            ClaimRun(1, "trained", 9.0, train_error_pct=2.0),
        ),
        0.1,
        10,
        10.0,
    )
    for one in claims:
        assert describe_claim(one).endswith(", on the train images")
        assert without_defaults(one)["split"] == "train"
        arms = to_hypothesis(one, dict.fromkeys((*PLAIN, *RESIDUAL), learned)).arms
        assert {arm.trained for arm in arms} == {(-2.0, -1.0)}
    by_loss = ClaimRun(0, "trained", 9.0, 0.3, train_error_pct=1.0, train_loss_nats=0.1)
    assert [by_loss.value("loss", split) for split in ("test", "train")] == [-0.3, -0.1]
    assert by_loss.value("top1", "train") == 99.0


def test_the_default_split_of_a_claim_is_not_written_to_a_report() -> None:
    assert "split" not in without_defaults(claim('split = "test"\n' + TWO))


def test_averages_chains_and_rivals_have_the_expected_weights() -> None:
    assert hypothesis_of("average").weights == (pytest.approx((1 / 3, -1 / 3) * 3),)
    assert hypothesis_of("every").weights == (
        (1.0, -1.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 1.0, -1.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.0, 1.0, -1.0),
    )
    assert hypothesis_of("monotone").weights == (
        (1.0, -1.0, 0.0),
        (0.0, 1.0, -1.0),
    )  # worsens: each better than the next
    assert hypothesis_of("best").weights[1] == (1.0, 0.0, -1.0, 0.0, 0.0, 0.0)


def test_a_failure_claim_counts_runs_and_ignores_accuracy() -> None:
    assert isinstance(hypothesis_of("fails-and-trains"), FailureHypothesis)


def test_a_race_is_limited_to_the_epochs_that_both_conditions_have() -> None:
    parsed = next(parsed for parsed in every().claims if parsed.kind == "faster")
    quick = {"validation": ((1.0, 50.0), (2.0, 91.0), (3.0, 89.0))}
    late = {"validation": ((1.0, 50.0), (2.0, 60.0), (30.0, 95.0))}
    left = ConditionRuns(
        (
            ClaimRun(0, "trained", 5.0, curves=quick),
            ClaimRun(1, "trained", 5.0, curves=late),
            ClaimRun(2, "diverged"),
            ClaimRun(3, "missing"),
            ClaimRun(4, "at chance", 90.0),
        ),
        0.1,
        10,
        30.0,
    )
    hypothesis = to_hypothesis(
        parsed, {RESIDUAL[2]: left, PLAIN[2]: runs(1.0, 1.0, curves=late, epochs=10.0)}
    )
    assert isinstance(hypothesis, SpeedHypothesis)
    assert hypothesis.epochs == (
        (2.0, math.inf, math.inf, math.inf),
        (math.inf, math.inf),
    )  # 30 is beyond the other's 10


def test_a_race_uses_the_test_curve_if_both_conditions_recorded_it() -> None:
    parsed = next(parsed for parsed in every().claims if parsed.kind == "faster")
    curves = {"validation": ((1.0, 95.0),), "test": ((1.0, 10.0), (2.0, 95.0))}
    both = {RESIDUAL[2]: runs(1.0, curves=curves), PLAIN[2]: runs(1.0, curves=curves)}
    assert to_hypothesis(parsed, both).epochs == ((2.0,), (2.0,))  # type: ignore[union-attr]
    both[PLAIN[2]] = runs(1.0, curves={"validation": ((3.0, 95.0),)})
    assert to_hypothesis(parsed, both).epochs == ((1.0,), (3.0,))  # type: ignore[union-attr]
