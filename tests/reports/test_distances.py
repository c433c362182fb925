"""The report has a table of distances between learning curves as sums of squared residuals, without
verdicts.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.synthetic import TRUTH, build_report_from_record, study_record
from resnetlab import reports
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.study_data import StudyData
from resnetlab.reports import figures
from resnetlab.reports.render import latex
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.study import Distance

PAIRS = Distance(
    statement="They are alike.",
    source="a figure",
    left=("residual 8 (A)", "plain 56"),
    right=("plain 8", "residual 56 (A)"),
)


def distance_study(distance: Distance = PAIRS) -> StudyData:
    study = replace(load_study("digits"), distances=(distance,))
    return collect_study_data(study_record(TRUTH, study=study, test_curve=True))


def curves(values: StudyData, label: str, field: str) -> tuple[list[int], NDArray[np.float64]]:
    """Return an array (runs, epochs) of the trained runs, without step 0."""
    seeds = [row.seed for row in values.rows if row.condition == label and row.status == "trained"]
    result: dict[int, list[float]] = {seed: [] for seed in seeds}
    for point in values.curve_points:
        if (
            (point.condition, point.split) == (label, "test")
            and point.seed in result
            and point.step
        ):
            result[point.seed].append(getattr(point, field))
    return seeds, np.array([result[seed] for seed in seeds])


@pytest.mark.parametrize(
    ("metric", "field", "digits"), [("top1", "top1_error_pct", 1), ("loss", "loss_nats", 4)]
)
def test_distances_equal_the_summed_squared_differences_of_the_curves(
    metric: str, field: str, digits: int
) -> None:
    study_data = distance_study(replace(PAIRS, metric=metric))
    rows = reports.build_report(study_data).distances.rows
    assert [row[0].text for row in rows] == [
        "residual 8 (A) and plain 8",
        "plain 56 and residual 56 (A)",
    ]
    for row, left, right in zip(rows, PAIRS.left, PAIRS.right, strict=True):
        (seeds, a), (others, b) = curves(study_data, left, field), curves(study_data, right, field)
        each = [((a[seeds.index(s)] - b[others.index(s)]) ** 2).sum() for s in seeds if s in others]
        within = [((a[i] - a[j]) ** 2).sum() for i, j in combinations(range(len(seeds)), 2)]
        means = ((a.mean(0) - b.mean(0)) ** 2).sum()
        assert float(row[2].text.split()[0]) == pytest.approx(means, abs=0.6 * 10**-digits)
        assert float(row[3].text.split()[0]) == pytest.approx(np.mean(each), abs=0.6 * 10**-digits)
        assert row[3].note.endswith(f"; {len(each)} seeds")
        assert float(row[4].text.split()[0]) == pytest.approx(
            np.mean(within), abs=0.6 * 10**-digits
        )
        assert row[1].text == "They are alike."
    assert len(seeds) == 3  # two of plain 56 died


def test_the_distance_table_is_in_every_file_of_a_study_that_declares_distances(
    tmp_path: Path,
) -> None:
    study_data = distance_study()
    page = reports.write_report(study_data, tmp_path).read_text(encoding="utf-8")
    for text in (
        page,
        (tmp_path / "report.md").read_text(encoding="utf-8"),
        latex.render(reports.build_report(study_data)),
    ):
        assert "Distances between learning curves" in text
    assert build_report_from_record(study_record()).distances is None
    failed = TRUTH | {"plain 8": [("at chance", 10.0)] * 5}
    study = replace(load_study("digits"), distances=(PAIRS,))
    none = build_report_from_record(
        study_record(failed, study=study, test_curve=True)
    ).distances.rows[0]
    assert [cell.text for cell in none[2:4]] == ["\u2013", "\u2013"]


def published_record() -> StudyData:
    """Return the study `shortcuts` with two epochs of made-up runs on the data of the source."""
    study = load_study("shortcuts")
    truth = {c.label: [("trained", 60.0 + seed) for seed in range(5)] for c in study.conditions}
    record = study_record(truth, study=study, test_curve=True)
    data = collect_study_data(record)
    return replace(data, data=tuple(replace(facts, name="cifar10") for facts in data.data))


def test_the_distances_of_the_source_are_computed_from_its_runs() -> None:
    """By hand from the source's 630 values: options A and B at 20, 32, 44 and 56 layers."""
    study_data = published_record()
    table = reports.build_report(study_data).distances
    assert table.columns[-1].name == "SSR of the published means"
    accuracy, loss = table.rows[:4], table.rows[4:]
    assert [row[-1].text for row in accuracy] == [
        f"{value} points²" for value in ("10.6", "10.6", "65.7", "113.9")
    ]
    assert [row[-1].text for row in loss] == [
        f"{value} nats²" for value in ("0.0062", "0.0092", "0.0429", "0.0701")
    ]
    assert accuracy[0][-1].note == "10 epochs"
    epochs = {
        point.epoch
        for point in study_data.curve_points
        if (point.condition, point.split) == ("residual 20 (A)", "test") and point.step
    }
    assert accuracy[0][2].note == f"{len(epochs)} epochs"  # a sum over fewer epochs is smaller


def test_the_curves_of_the_source_are_drawn_beside_ours_with_its_name() -> None:
    report = reports.build_report(published_record())
    by_key = {plot.key: plot for plot in report.curves}
    loss = next(p for p in by_key["test-loss"].panels if p.label == "plain 20").published
    error = next(p for p in by_key["test-error"].panels if p.label == "plain 20").published
    assert loss.x == error.x == tuple(range(1, 11))
    assert error.y[-1] == pytest.approx(100 - 78.77, abs=0.006)
    assert loss.y[-1] == pytest.approx(0.629, abs=0.0006)
    assert all(panel.published is None for panel in by_key["train-loss"].panels)
    for key in ("test-loss", "test-error", "test-error-pairs"):
        assert "“published”" in by_key[key].caption
        drawing = figures.to_standalone_svg(figures.draw_plot(by_key[key]).wide)
        assert drawing.count(">published<") == len(by_key[key].panels)


def test_an_epoch_with_fewer_images_is_noted_beside_the_curves_of_the_source() -> None:
    data = published_record()
    conditions = tuple(
        replace(c, data=replace(c.data, train_images=1294)) for c in data.study.conditions
    )
    named = "An epoch of these runs has 1,294 train images, not all of them."
    for study_data, is_named in (
        (replace(data, study=replace(data.study, conditions=conditions)), True),
        (data, False),
    ):
        captions = [
            plot.caption for plot in reports.build_report(study_data).curves if "test" in plot.key
        ]
        assert [named in caption for caption in captions] == [is_named] * len(captions)


def test_published_curves_on_other_data_are_not_drawn() -> None:
    data = published_record()
    other = replace(data, data=tuple(replace(facts, name="svhn") for facts in data.data))
    report = reports.build_report(other)
    assert report.distances.columns[-1].name == "SSR within the first"
    assert all(panel.published is None for plot in report.curves for panel in plot.panels)
