"""The honest runs of a class are a study with one seed for each student, and `verify` reads it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from helpers.course import NAMES, SHORT, lesson_of
from resnetlab.analysis.data_files import load_study_data
from resnetlab.course.class_page import grade_class
from resnetlab.course.class_study import reversal_sentence, variance_sentences
from resnetlab.course.classroom import read_class
from resnetlab.course.student import student_seed


@pytest.mark.usefixtures("reference")
def test_a_class_gives_a_page_and_a_study_of_its_seeds(submissions: Path, tmp_path: Path) -> None:
    result = grade_class(submissions, [lesson_of(SHORT)], tmp_path / "out", "fr")
    assert result.counts["passed"] == 3
    assert not result.has_failures
    (study,) = result.studies
    study_data = load_study_data(study.parent)
    assert sorted(row.seed for row in study_data.rows) == sorted(map(student_seed, NAMES))
    assert {row.status for row in study_data.rows} <= {"trained", "at chance"}
    page = result.page.read_text(encoding="utf-8")
    for name in NAMES:
        assert name in page
    assert result.commands == [f"resnetlab verify {study.parent} --runs 3"]


@pytest.mark.usefixtures("reference")
def test_the_sentence_about_the_spread_has_the_mean_and_deviation_of_the_runs(
    submissions: Path,
) -> None:
    students = read_class(submissions, [lesson_of(SHORT)])
    values = [item.checked[0].test_accuracy_pct for item in students]
    (sentence,) = variance_sentences(students, lesson_of(SHORT))
    assert f"mean {np.mean(values):.1f} %" in sentence.en
    assert f"standard deviation {np.std(values, ddof=1):.2f} points" in sentence.en


def test_reversals_count_pairs_of_two_students() -> None:
    left, right = [50.0, 52.0, 54.0], [49.0, 53.0, 51.0]
    pairs = [
        (a, b) for (i, a), (j, b) in itertools.product(enumerate(left), enumerate(right)) if i != j
    ]
    opposite = sum(a <= b for a, b in pairs)
    assert f"{opposite} of 6 pairs" in reversal_sentence("A", "B", left, right).en
