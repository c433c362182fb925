"""The heat map of two axes, the stability of the last epochs, the first run that converged, and the
first loss compared with ln K equal independent counts and formulas.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import statistics
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.synthetic import study_record
from resnetlab.analysis.analyze import StudyAnalysis, analyze
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.first_converged import FirstConverged, first_converged, ordering_groups
from resnetlab.analysis.grid import find_grid
from resnetlab.analysis.run_statistics import (
    FirstLosses,
    first_losses,
    num_last_epochs,
    overfitting_gaps,
    spreads_of_last_epochs,
)
from resnetlab.analysis.study_data import StudyData
from resnetlab.reports import build_report, write_report
from resnetlab.reports.figures import draw_plot
from resnetlab.reports.format import format_first_loss
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study

RATES, BATCHES = (0.001, 0.01, 0.1, 0.5), (16, 64, 128, 512)


def accuracy(rate: float, batch: float) -> float:
    """Highest along the diagonal on which the rate divided by the batch size is 0.0008."""
    return 70 - 6 * (math.log10(rate / batch) + 3.1) ** 2


def grid_analysis() -> StudyAnalysis:
    study = load_study("lr-batch", Overrides(settings=("model=cifar-resnet8",)))
    truth = {}
    for condition in study.conditions:
        rate, batch = condition.values["recipe.optimizer.lr"], condition.values["recipe.batch_size"]
        value = accuracy(rate, batch)
        truth[condition.label] = (
            [("diverged", None), ("diverged", None), ("trained", 40.0)]
            if (rate, batch) == (0.5, 16)
            else [("trained", value + change) for change in (0.0, 0.7, -0.7)]
        )
    return analyze(collect_study_data(study_record(truth, study=study, test_curve=True)))


def test_a_grid_without_a_trained_run_is_answered_with_the_number_of_failed_runs() -> None:
    study = load_study("lr-batch", Overrides(settings=("model=cifar-resnet8",)))
    truth = {condition.label: [("at chance", 10.0)] * 3 for condition in study.conditions}
    (answer,) = build_report(
        collect_study_data(study_record(truth, study=study, test_curve=True))
    ).answers
    expected = "No condition has a trained run. Failed runs (at chance or diverged): 48 of 48."
    assert answer.statuses == ("inconclusive",)
    assert answer.measured["en"] == expected
    assert "Aucune condition n’a d’essai entraîné." in answer.measured["fr"]


def test_each_cell_of_the_heat_map_has_its_mean_and_its_failed_runs(tmp_path: Path) -> None:
    analysis = grid_analysis()
    report = build_report(analysis.study_data)
    assert report.grid is not None
    cells = {(cell.row, cell.column): cell for cell in report.grid.plot.cells}
    assert set(cells) == set(itertools.product(RATES, BATCHES))
    for (rate, batch), cell in cells.items():
        failing = (rate, batch) == (0.5, 16)
        assert cell.mean_pct == pytest.approx(40.0 if failing else accuracy(rate, batch))
        assert (cell.failed, cell.runs) == ((2, 3) if failing else (0, 3))
    drawing = draw_plot(report.grid.plot)
    assert "2 of 3 failed" in drawing.wide
    assert f"{accuracy(0.1, 64):.1f}" in drawing.wide
    rows = {row[0].text: row for row in report.grid.table.rows}
    assert rows["0.5"][1].note == "2 of 3 failed"
    write_report(analysis.study_data, tmp_path, report)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "figures" / "grid.csv").read_text())))
    assert len(lines) == 16
    assert float(lines[5]["mean_pct"]) == pytest.approx(accuracy(0.01, 64))
    for name in ("report.html", "report.md"):
        assert "Accuracy by learning rate and batch size" in (tmp_path / name).read_text()


def test_the_answer_names_the_best_cell_and_describes_the_diagonal() -> None:
    (answer,) = build_report(grid_analysis().study_data).answers
    best = max(itertools.product(RATES, BATCHES), key=lambda cell: accuracy(*cell))
    text = answer.measured["en"]
    assert text.startswith(f"“residual 8 (A), lr {best[0]}, batch_size {best[1]}” has the highest")
    assert "the intervals contain" not in text
    for batch in BATCHES:
        rate = max(RATES, key=lambda rate: accuracy(rate, batch))
        assert f"batch size {batch}: learning rate {rate:g} with" in text
    ratios = [max(RATES, key=lambda rate: accuracy(rate, b)) / b for b in BATCHES]
    assert f"is {min(ratios):.2g} to {max(ratios):.2g}" in text
    assert "lie along the diagonal" in text
    assert "suivent la diagonale" in answer.measured["fr"]
    assert "Failed runs (at chance or diverged): 2 of 48." in text


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ('model.depth = [8, 20]\nmodel.shortcut = ["none", "A"]', False),
        ("model.depth = [8, 20]", False),
        ("model.depth = [8, 20]\nrecipe.epochs = [1, 2]", True),
        ("model.depth = [8, 20]\nrecipe.epochs = [1, 2]\nrecipe.batch_size = [16, 32]", False),
        ("model.depth = [8, 20]\nrecipe.epochs = [2]", False),
        ("model.batch_norm = [true, false]\nrecipe.epochs = [1, 2]", False),
        ("model.blocks = [[1, 1, 1], [2, 2, 2]]\nrecipe.epochs = [1, 2]", False),
        (
            'model = [{ family = "cifar", depth = 8 }, "cifar-resnet20"]\nrecipe.epochs = [1, 2]',
            False,
        ),
    ],
)
def test_a_heat_map_needs_exactly_two_numeric_axes(grid: str, expected: bool) -> None:
    text = 'name = "g"\nquestion = "?"\ndata = "digits"\nrecipe = "digits"\nseeds = [0]\n'
    model = '"depth-report-plain8"' if "batch_norm" in grid else '{ family = "cifar", depth = 8 }'
    model = '{ family = "cifar" }' if "blocks" in grid else model
    fixed = "" if "model = " in grid else f"model = {model}\n"
    raw = tomllib.loads(f"{text}{fixed}[grid]\n{grid}")
    study = parse_study(raw, "g.toml", Overrides())
    truth = {condition.label: [("trained", 50.0)] for condition in study.conditions}
    analysis = analyze(collect_study_data(study_record(truth, study=study)))
    assert (find_grid(analysis) is not None) == expected


def digits_analysis() -> StudyAnalysis:
    return analyze(collect_study_data(study_record(test_curve=True)))


def test_stability_is_the_deviation_over_the_last_epochs_of_each_trained_run() -> None:
    analysis = digits_analysis()
    assert num_last_epochs(analysis) == 3  # a fifth of 10 epochs, and at least 3
    expected = []
    for row in analysis.rows("plain 56"):
        if row.status == "trained":
            curve = [
                point.top1_error_pct
                for epoch in (8.0, 9.0, 10.0)
                for point in analysis.points("plain 56")
                if (point.seed, point.split, point.epoch) == (row.seed, "test", epoch)
            ]
            expected.append(statistics.stdev(curve))
    assert len(expected) == 3
    assert spreads_of_last_epochs(analysis, "plain 56") == pytest.approx(expected)


def test_overfitting_is_train_minus_test_accuracy_and_the_first_loss_is_at_step_0() -> None:
    analysis = digits_analysis()
    gaps = [
        0.1 * (row.test_error_pct or 0) for row in analysis.rows("plain 8")
    ]  # as the synthetic runs
    assert overfitting_gaps(analysis, "plain 8") == pytest.approx(gaps)
    losses = first_losses(analysis, "plain 8")
    points = [p for p in analysis.points("plain 8") if (p.step, p.split) == (0, "train")]
    assert losses == FirstLosses("evaluation", tuple(point.loss_nats for point in points))
    assert first_loss_detail(analysis.study_data).endswith(" in evaluation mode, ln 10 = 2.303")
    text = format_first_loss([2.3041], 10, "training")
    assert text == "first loss 2.304 nats in training mode, ln 10 = 2.303"
    text = format_first_loss([2.3, 2.31], 2, "evaluation")
    assert text == "first loss 2.300 to 2.310 nats in evaluation mode, ln 2 = 0.693"


def first_loss_detail(study_data: StudyData) -> str:
    (detail,) = [
        detail.text for detail in build_report(study_data).details if detail.term == "First loss"
    ]
    return detail


def test_the_first_loss_has_its_mode_and_an_explanation_if_it_is_far_from_ln_k() -> None:
    """A new network of 56 layers has a loss of hundreds of nats in evaluation mode."""
    study_data = digits_analysis().study_data
    large = tuple(
        replace(point, loss_nats=2285.568)
        if (point.condition, point.seed, point.step) == ("residual 56 (A)", 0, 0)
        else point
        for point in study_data.curve_points
    )
    detail = first_loss_detail(replace(study_data, curve_points=large))
    assert (
        "to 2285.568 nats in evaluation mode, ln 10 = 2.303; not close to ln 10: residual 56 (A) ("
        in detail
    )
    assert "batch normalization of a new network still has mean 0 and variance 1" in detail
    in_training = tuple(
        replace(point, split="train epoch", loss_nats=2.4)
        for point in large
        if (point.step, point.split) == (0, "train")
    )
    study_data = replace(study_data, curve_points=large + in_training)
    assert first_loss_detail(study_data) == "2.400 nats in training mode, ln 10 = 2.303"


# The first trained run
# --------------------------------------------------------------------------------------------------

RUNS: dict[str, list[float | None]] = {
    "net 8": [50.0, 40.0, None],
    "net 14": [45.0, 30.0, 44.0],
    "net 18": [None, None, 42.0],
    "net 34": [None, None, None],
}
"""Accuracy of each run by seed, None for a run at chance, which has 10 %."""


def by_trial() -> Iterator[dict[str, tuple[float, int]]]:
    """Yield the accuracy and the number of runs that the rule gives for each order of the runs."""
    trained = {label: runs for label, runs in RUNS.items() if any(runs)}
    for orders in itertools.product(*(itertools.permutations(runs) for runs in trained.values())):
        yield {
            label: next((value, i + 1) for i, value in enumerate(order) if value is not None)
            for label, order in zip(trained, orders, strict=True)
        }


def conditions() -> list[FirstConverged]:
    return [
        FirstConverged(
            label,
            tuple(sorted(value for value in runs if value is not None)),
            len(runs),
            statistics.mean(10.0 if value is None else value for value in runs),
        )
        for label, runs in RUNS.items()
    ]


def test_the_counted_orderings_equal_an_enumeration_of_all_orders_of_the_runs() -> None:
    trials = list(by_trial())
    assert len(trials) == 6**3
    (group,) = ordering_groups(conditions())
    assert group.labels == ("net 8", "net 14", "net 18")
    assert group.tables == 2 * 3 * 1
    counted = Counter(
        " > ".join(sorted(trial, key=lambda label: -trial[label][0])) for trial in trials
    )
    shares = {item.text: item.tables / group.tables for item in group.orderings}
    assert shares == pytest.approx({text: n / len(trials) for text, n in counted.items()})
    assert group.mean_ordering == "net 14 > net 8 > net 18"


def test_the_expected_value_and_number_of_runs_equal_an_enumeration_of_all_orders() -> None:
    trials = list(by_trial())
    for condition in conditions()[:3]:
        values, counts = zip(*(trial[condition.label] for trial in trials), strict=True)
        assert condition.expected_pct == pytest.approx(statistics.mean(values))
        assert condition.expected_runs == pytest.approx(statistics.mean(counts))
        mean_of_all = statistics.mean(10.0 if x is None else x for x in RUNS[condition.label])
        assert condition.bias == pytest.approx(statistics.mean(values) - mean_of_all)
    never = conditions()[3]
    assert never.expected_pct is never.expected_runs is never.bias is None


def test_only_the_depth_study_has_the_section_on_the_first_converged_run() -> None:
    names = ("plain", "resnet")
    models = ",".join(f'"depth-report-{name}{depth}"' for name in names for depth in (8, 14))
    study = load_study("depth", Overrides(settings=(f"grid.model=[{models}]",)))
    truth = {
        condition.label: [("trained", 50.0 + seed) for seed in range(4)] + [("at chance", 10.0)]
        for condition in study.conditions
    }
    study_data = collect_study_data(study_record(truth, study=study))
    assert len(first_converged(analyze(study_data))) == 4
    by_condition, orderings = build_report(study_data).first_converged
    assert by_condition.rows[0][1].text == "4 of 5"
    assert by_condition.rows[0][2].text == "1.20"  # (5 + 1) / (4 + 1)
    assert by_condition.rows[0][5].text == f"+{51.5 - (50 + 51 + 52 + 53 + 10) / 5:.1f}"
    assert {row[0].note for row in orderings.rows} == {"16 tables"}
    ties = [row for row in orderings.rows if "=" in row[1].text]
    assert [row[2].text for row in ties] == ["4", "4"]  # 4 of 16 pairs of equal values
    assert build_report(collect_study_data(study_record())).first_converged == ()
