"""Every kind of claim gets its verdict for every kind of truth: an effect, its opposite, noise, an
arm without trained runs, a missing run, and a condition out of memory. Each claim is alone in its
study.
"""

from __future__ import annotations

import tomllib

import pytest

from helpers.synthetic import Runs, build_report_from_record, study_record
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import parse_study

STUDY = """
name = "kinds"
question = "Is each truth found by each kind?"
data = { source = "digits", validation = 0.1 }
recipe = "digits"
seeds = [0, 1, 2, 3, 4]
[grid]
model.depth = [8, 14]
model.shortcut = ["none", "A"]
[[claim]]
statement = "So it is."
"""

CONDITIONS = ("plain 8", "residual 8 (A)", "plain 14", "residual 14 (A)")
LEFT = 'left = { model.depth = 14, model.shortcut = "A" }\n'
PAIR = LEFT + 'right = { model.depth = 14, model.shortcut = "none" }\n'
SIDES = 'left = { model.shortcut = "A" }\nright = { model.shortcut = "none" }\n'

CLAIMS = {
    "greater": PAIR,
    "about": PAIR + "size = 5.0\nmargin = 2.0",
    "equal": PAIR + "margin = 1.0",
    "fails-and-trains": PAIR,
    "average": SIDES,
    "every": SIDES,
    "relative": SIDES + "size = 50.0\nmargin = 15.0",
    "monotone": 'along = "model.depth"\nwhere = { model.shortcut = "A" }',
    "best": LEFT,
    "faster": PAIR + "accuracy_pct = 85.0",
}

DEAD = [("at chance", 10.0 + seed / 10) for seed in range(5)]
MEMORY = [("out of memory", None)] * 5
NOISY = [("trained", value) for value in (97.0, 83.0, 95.0, 87.0, 90.5)]


def around(mean: float) -> Runs:
    return [("trained", mean + jitter) for jitter in (-0.3, -0.1, 0.0, 0.1, 0.3)]


def lost(runs: Runs) -> Runs:
    return [*runs[:4], ("missing", None)]


EFFECT = (90.0, 92.0, 90.0, 95.0)
"""Mean accuracies of the conditions, in their order; the last one is the claims' left."""

WITH_A_DEAD_LEFT = {"fails-and-trains": "reproduced", "faster": "contradicted"}

TRUTHS = [
    ("greater", EFFECT, "reproduced"),
    ("greater", (90.0, 92.0, 95.0, 90.0), "contradicted"),
    ("greater", (90.0, 92.0, NOISY, NOISY), "inconclusive"),
    ("about", EFFECT, "reproduced"),
    ("about", (90.0, 92.0, 95.0, 90.0), "contradicted"),
    ("about", (90.0, 92.0, 80.0, 95.0), "partly reproduced"),
    ("about", (90.0, 92.0, NOISY, 95.0), "inconclusive"),
    ("equal", (90.0, 92.0, 95.0, 95.0), "reproduced"),
    ("equal", EFFECT, "contradicted"),
    ("equal", (90.0, 92.0, NOISY, NOISY), "inconclusive"),
    ("fails-and-trains", (90.0, 92.0, 95.0, DEAD), "reproduced"),
    ("fails-and-trains", EFFECT, "contradicted"),
    ("fails-and-trains", (90.0, 92.0, 95.0, [*around(95.0)[:3], *DEAD[:2]]), "inconclusive"),
    ("fails-and-trains", (90.0, 92.0, DEAD, DEAD), "inconclusive"),
    ("average", (90.0, 92.0, 90.0, 95.0), "reproduced"),
    ("average", (92.0, 90.0, 95.0, 90.0), "contradicted"),
    ("average", (90.0, 90.0, NOISY, NOISY), "inconclusive"),
    ("every", (90.0, 92.0, 90.0, 95.0), "reproduced"),
    ("every", (90.0, 92.0, 95.0, 90.0), "contradicted"),
    ("every", (90.0, 92.0, 90.0, NOISY), "inconclusive"),
    ("relative", (90.0, 95.0, 90.0, 95.0), "reproduced"),
    ("relative", (95.0, 90.0, 95.0, 90.0), "contradicted"),
    ("relative", (90.0, 98.0, 90.0, 98.0), "partly reproduced"),
    ("relative", (90.0, 95.0, NOISY, 95.0), "inconclusive"),
    ("monotone", EFFECT, "reproduced"),
    ("monotone", (90.0, 95.0, 90.0, 92.0), "contradicted"),
    ("monotone", (90.0, NOISY, 90.0, NOISY), "inconclusive"),
    ("best", EFFECT, "reproduced"),
    ("best", (99.0, 92.0, 90.0, 95.0), "contradicted"),
    ("best", (95.0, 92.0, 90.0, NOISY), "inconclusive"),
    ("faster", (90.0, 92.0, 86.0, 97.0), "reproduced"),
    ("faster", (90.0, 92.0, 97.0, 86.0), "contradicted"),
    ("faster", (90.0, 92.0, 95.0, 95.0), "inconclusive"),
    # A dead arm: no mean to compare, a failure that is real, and a race that was never run to its
    # end.
    *((kind, (*EFFECT[:3], DEAD), WITH_A_DEAD_LEFT.get(kind, "inconclusive")) for kind in CLAIMS),
    *((kind, (*EFFECT[:3], MEMORY), "untestable") for kind in CLAIMS),
    # A missing run: a clear effect stays, whatever became of it; a race that all finish has none to
    # spare.
    ("greater", (*EFFECT[:3], lost(around(95.0))), "reproduced"),
    ("about", (*EFFECT[:3], lost(around(95.0))), "reproduced"),
    ("equal", (90.0, 92.0, 95.0, lost(around(95.0))), "reproduced"),
    ("fails-and-trains", (*EFFECT[:3], lost(DEAD)), "reproduced"),
    ("fails-and-trains", (*EFFECT[:3], lost(around(95.0))), "inconclusive"),
    ("average", (*EFFECT[:3], lost(around(95.0))), "reproduced"),
    ("every", (*EFFECT[:3], lost(around(95.0))), "reproduced"),
    ("relative", (90.0, 95.0, 90.0, lost(around(95.0))), "reproduced"),
    ("monotone", (*EFFECT[:3], lost(around(95.0))), "reproduced"),
    ("best", (*EFFECT[:3], lost(around(95.0))), "reproduced"),
    ("faster", (90.0, 92.0, 86.0, lost(around(97.0))), "reproduced"),
    ("faster", (90.0, 92.0, 90.0, lost(around(97.0))), "inconclusive"),
]


@pytest.mark.parametrize(("kind", "truth", "word"), TRUTHS)
def test_each_kind_of_claim_gives_the_planted_verdict(
    kind: str, truth: tuple[float | Runs, ...], word: str
) -> None:
    study = parse_study(
        tomllib.loads(f'{STUDY}kind = "{kind}"\n{CLAIMS[kind]}'), "study.toml", Overrides()
    )
    runs = {
        label: around(values) if isinstance(values, float) else values
        for label, values in zip(CONDITIONS, truth, strict=True)
    }
    report = build_report_from_record(study_record(runs, study=study))
    assert report.verdicts[0].badge == word
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in report.outcomes.rows}
    assert cells["all"][0] == "20"  # whatever became of them
    assert all(int(row[0]) == sum(map(int, row[1:])) for row in cells.values())
    failed = [outcome for values in runs.values() for outcome, _ in values if outcome != "trained"]
    if (
        failed
        and word in ("reproduced", "partly reproduced")
        and kind not in ("fails-and-trains", "faster")
    ):
        assert "trained runs only" in report.verdicts[0].note


def test_every_kind_of_claim_is_tested_with_every_possible_verdict() -> None:
    words_by_kind = {
        kind: {word for values, _, word in TRUTHS if values == kind} for kind in CLAIMS
    }
    words = {"reproduced", "contradicted", "inconclusive", "untestable"}
    assert words_by_kind == {
        kind: words | ({"partly reproduced"} if kind in ("about", "relative") else set())
        for kind in CLAIMS
    }
