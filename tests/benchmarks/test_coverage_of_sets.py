"""The benchmark of prediction sets measures planted classes and OOD images, and its page has its
figures.
"""

from __future__ import annotations

import json
from pathlib import Path

import coverage_of_sets
import numpy as np
import pytest

FOLDER = Path(coverage_of_sets.__file__).parent


def test_the_distance_is_measured_to_the_k_th_nearest_image_of_length_one() -> None:
    generator = np.random.default_rng(0)
    reference, images = generator.normal(size=(30, 8)), generator.normal(size=(5, 8))
    distances = coverage_of_sets.distance_to_neighbor(reference, images, 4)
    for row, image in zip(distances, images, strict=True):
        lengths = [
            np.linalg.norm(other / np.linalg.norm(other) - image / np.linalg.norm(image))
            for other in reference
        ]
        assert row == pytest.approx(sorted(lengths)[3])


def test_a_cut_measures_planted_classes_and_ood_images() -> None:
    """Well separated classes: each image is right, and every measure detects the others."""
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(9), 130)
    rows = (10 * np.eye(9, 12)[labels] + generator.normal(size=(len(labels), 12))).astype(
        np.float32
    )
    names = tuple(map(str, range(9)))
    features = {"planted": coverage_of_sets.Features(rows, labels, names)}
    cut = next(coverage_of_sets.run_cuts(features, "planted"))
    assert cut["accuracy_pct"] == 100
    assert abs(cut["coverage_pct"] - 90) < 8
    assert cut["classes_with_own_threshold"] == 6
    assert cut["near_auroc_novelty"] > 0.99
    summary = coverage_of_sets.summarize([cut, cut])
    assert summary["coverage_pct"] == pytest.approx(cut["coverage_pct"], abs=1e-3)
    assert summary["sd_of_coverage_points"] == 0


def test_the_page_has_the_table_of_the_figures() -> None:
    contents = json.loads((FOLDER / "coverage_of_sets.json").read_text())
    page = (FOLDER / "README.md").read_text()
    assert coverage_of_sets.replace_table(page, contents) == page
    for result in contents["results"].values():
        assert f"{result['coverage_pct']:.1f} %" in coverage_of_sets.table(contents)
