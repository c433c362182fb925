"""Ensembles of runs with planted logits have the known answers, from the files of the runs to the
report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.stats import t

from helpers.synthetic import TRUTH, Truth, study_record
from resnetlab import reports
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data, save_study_data
from resnetlab.analysis.study_data import StudyData
from resnetlab.errors import InputError
from resnetlab.reports.render import latex
from resnetlab.reports.write import rebuild
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.plan import StudyRecord
from resnetlab.studies.study import Ensemble

IMAGES = 120
PAIR = Ensemble(
    statement="Together they are better.", source="a slide", conditions=("plain 8", "plain 56")
)


def planted(folder: Path, ensemble: Ensemble = PAIR, truth: Truth = TRUTH) -> StudyData:
    """Run s of `plain 8` is unsure and wrong on every fifth image from s; `plain 56` likewise on
    every third.
    """
    record = study_record(truth, study=replace(load_study("digits"), ensembles=(ensemble,)))
    labels = np.arange(IMAGES) % 10
    study_runs = []
    for study_run in record.runs:
        every = {"plain 8": 5, "plain 56": 3}.get(study_run.planned.condition)
        if every and study_run.record:
            wrong = np.arange(IMAGES) % every == study_run.planned.seed % every
            logits = np.zeros((IMAGES, 10), np.float32)
            logits[np.arange(IMAGES), labels] = np.where(wrong, 1.0, 3.0)
            logits[np.arange(IMAGES)[wrong], (labels[wrong] + 1) % 10] = 1.5
            target = folder / study_run.record.id
            target.mkdir(parents=True)
            save_file({"logits": logits, "labels": labels}, target / "logits-test.safetensors")
            study_run = replace(study_run, record=replace(study_run.record, folder=str(target)))
        study_runs.append(study_run)
    return collect_study_data(StudyRecord(record.study, tuple(study_runs)))


def interval(gains: Sequence[float]) -> tuple[float, float]:
    half = t.ppf(0.975, len(gains) - 1) * np.std(gains, ddof=1) / math.sqrt(len(gains))
    return np.mean(gains) - half, np.mean(gains) + half


def test_complementary_errors_give_a_perfect_ensemble_whose_gain_is_paired_over_images(
    tmp_path: Path,
) -> None:
    joint = planted(tmp_path).ensembles[0]
    assert (joint.condition, joint.seed, joint.members, joint.images) == (
        "plain 8",
        None,
        5,
        IMAGES,
    )
    assert joint.accuracy_pct == 100  # each image is missed by one run of five, which is outvoted
    assert joint.members_pct == pytest.approx(80)
    # Every image gains the same fifth, so that other images would, and the interval is a point.
    assert (joint.gain_low, joint.gain_high) == pytest.approx((20, 20))


def test_the_interval_of_one_ensemble_is_a_t_interval_over_images(tmp_path: Path) -> None:
    """Three runs of `plain 56` trained, of seeds 0, 1 and 3: the first and the last miss the same
    images.
    """
    joint = planted(tmp_path).ensembles[1]
    assert (joint.condition, joint.members) == ("plain 56", 3)
    image = np.arange(IMAGES) % 3
    right = np.array([image != 0, image != 1, image != 0])
    # On the images that two of three miss, the mean of the probabilities still has the true class
    # first, or not.
    sure, unsure = (
        np.exp([a, b, *[0] * 8]) / np.exp([a, b, *[0] * 8]).sum() for a, b in ((3, 0), (1, 1.5))
    )
    both = (2 * unsure + sure) / 3
    together = np.where(image == 0, both[0] > both[1], True)
    assert joint.accuracy_pct == pytest.approx(100 * together.mean())
    gains = 100 * (together - right.mean(0))
    assert (joint.gain_low, joint.gain_high) == pytest.approx(interval(gains))


def test_ensembles_across_conditions_use_every_seed_that_all_conditions_have(
    tmp_path: Path,
) -> None:
    record = planted(tmp_path)
    across = [joint for joint in record.ensembles if not joint.condition]
    assert [(joint.seed, joint.members) for joint in across] == [
        (0, 2),
        (1, 2),
        (3, 2),
    ]  # two of plain 56 died
    row = reports.build_report(record).ensembles.rows[-1]
    gains = [joint.gain for joint in across]
    assert row[0].text == "One of each: plain 8 and plain 56"
    assert row[0].note == "Together they are better.; a slide"
    assert (row[1].text, row[1].note) == ("2", "3 ensembles, one per seed")
    assert float(row[4].text) == pytest.approx(np.mean(gains), abs=0.06)
    low, high = (float(part.replace("\u2212", "-")) for part in row[5].text.strip("[]").split(", "))
    assert (low, high) == pytest.approx(interval(gains), abs=0.06)
    assert row[6].text == "other seeds, these test images"


def test_ensembles_are_in_a_report_that_is_rebuilt_without_the_runs(tmp_path: Path) -> None:
    record = planted(tmp_path / "runs")
    page = reports.write_report(record, tmp_path / "first").read_bytes()
    assert rebuild(tmp_path / "first", tmp_path / "again").read_bytes() == page
    assert load_study_data(tmp_path / "again") == record
    for text in (
        page.decode(),
        (tmp_path / "first" / "report.md").read_text(),
        latex.render(reports.build_report(record)),
    ):
        assert "Ensembles" in text
        assert "but not other trainings" in text


def test_runs_without_outputs_have_no_ensemble_values_and_other_studies_no_table(
    tmp_path: Path,
) -> None:
    bare = collect_study_data(study_record(study=replace(load_study("digits"), ensembles=(PAIR,))))
    assert bare.ensembles == ()
    assert {cell.text for row in reports.build_report(bare).ensembles.rows for cell in row[1:]} == {
        "\u2013"
    }
    none = collect_study_data(study_record())
    assert reports.build_report(none).ensembles is None
    save_study_data(none, tmp_path)
    assert not (tmp_path / "ensembles.csv").exists()


def test_the_answer_of_a_study_without_claims_contains_its_ensemble(tmp_path: Path) -> None:
    record = planted(tmp_path)
    answer = reports.build_report(replace(record, study=replace(record.study, claims=()))).answer
    assert "Plain 8 and plain 56 together reach" in answer
    assert answer.endswith("over the mean of the members.")


OUTLINE = {
    "name": "mine",
    "question": "Together?",
    "seeds": [0, 1],
    "data": "digits",
    "recipe": "digits",
    "grid": {"model.depth": [8, 14]},
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"ensemble": [{"conditions": {"model.depth": 20}}]},
            "ensemble[0].conditions: no condition with model.depth = 20",
        ),
        ({"ensemble": [{"off": {}}]}, "ensemble[0].off"),
        (
            {
                "grid": {"data.split_seed": [0, 1]},
                "model": "cifar-resnet8",
                "ensemble": [{"conditions": {}}],
            },
            "ensemble[0].conditions: conditions of other data",
        ),
        (
            {"grid": {"model": ["bow-svm", "cifar-resnet8"]}, "ensemble": [{"conditions": {}}]},
            "ensemble[0].conditions: the scores of an SVM are no probabilities",
        ),
    ],
)
def test_an_impossible_ensemble_is_refused_when_the_study_is_loaded(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse_study(OUTLINE | changed, "mine.toml", Overrides())
    assert any(message in str(problem) for problem in caught.value.problems), caught.value.problems


def test_a_part_of_the_grid_has_the_ensembles_of_its_conditions() -> None:
    study = load_study("he2016", Overrides(settings=("grid.model.depth=[20, 56]",)))
    assert study.ensembles[0].conditions == ("residual 20 (A)", "residual 56 (A)")
    assert (
        load_study("he2016", Overrides(settings=('grid.model.shortcut=["none"]',))).ensembles == ()
    )
