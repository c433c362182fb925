"""Learning curves: measured without leaks, extrapolated as formulas say, silent without data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.commands import check_error_lines, run_command
from helpers.stripes import folder
from resnetlab.curation import enough
from resnetlab.curation.enough import FRACTIONS, extrapolate, measure_curves
from resnetlab.stats.learning_curve import fit_power_laws

CLASSES = ("hard", "easy")


def noise(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of two classes that overlap, in many dimensions: more images help."""
    random = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    shift = np.where(labels == 0, -0.5, 0.5)[:, None] * np.ones(20) * 0.45
    return (random.standard_normal((images, 20)) + shift).astype(np.float32), labels


def test_sizes_grow_as_declared_and_errors_fall() -> None:
    features, labels = noise(200)
    curves = measure_curves(features, labels, CLASSES, np.arange(200), draws=1)
    assert curves.wrong.shape == (1, len(FRACTIONS), 200)
    assert curves.sizes[:, 0] == pytest.approx([10, 20, 40, 60, 80])
    errors = curves.wrong.mean((0, 2))
    assert errors[0] > errors[-1] + 0.05


def test_labels_without_a_pattern_have_errors_of_guessing_in_spite_of_copies() -> None:
    random = np.random.default_rng(0)
    features = np.repeat(random.standard_normal((60, 5)), 2, 0).astype(np.float32)
    labels = np.repeat(random.permutation(np.arange(60) % 2), 2)
    groups = np.repeat(np.arange(60), 2)
    curves = measure_curves(features, labels, CLASSES, groups, draws=2)
    assert 0.35 < curves.wrong[:, -1].mean() < 0.75


def made_up(seed: int, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors of five draws of independent photographs by an inverse power law, folds, and sizes."""
    random = np.random.default_rng(seed)
    sizes = np.array([10.0, 20, 40, 60, 80])
    chance = (0.05 + 1.2 * sizes**-0.5)[None, :, None]
    folds = np.stack([random.permutation(np.arange(images) % 5) for _ in range(5)])
    return random.random((5, 5, images)) < chance, folds, sizes


def test_the_extrapolation_is_that_of_the_fitted_law_and_spreads_by_the_formula() -> None:
    wrong, folds, sizes = made_up(1, 100)
    result = extrapolate(wrong, folds, sizes, 100, 150)
    law = fit_power_laws(sizes, wrong.mean((0, 2))[None])
    assert result.now[0] == pytest.approx(law.predict(100)[0])
    assert result.gains[0] == pytest.approx(law.predict(100)[0] - law.predict(150)[0])
    assert result.decline[0] == pytest.approx(wrong[:, 0].mean() - wrong[:, -1].mean())
    # Nadeau and Bengio (2003): s^2 (1 / J + test / train), with J = 25 and four folds to train on;
    # a t-distribution with 24 degrees of freedom has the variance 24 / 22.
    declines = [
        wrong[d, 0, folds[d] == f].mean() - wrong[d, -1, folds[d] == f].mean()
        for d in range(5)
        for f in range(5)
    ]
    variance = np.var(declines, ddof=1) * (1 / 25 + 1 / 4) * 24 / 22
    assert result.decline[1:].std() == pytest.approx(np.sqrt(variance), rel=0.1)
    assert result.decline[1:].mean() == pytest.approx(result.decline[0], abs=0.02)


def test_images_of_one_group_count_once() -> None:
    wrong, folds, sizes = made_up(2, 100)
    copies = np.repeat(wrong[:, :, :25], 4, axis=2), np.repeat(folds[:, :25], 4, axis=1)
    alone = extrapolate(wrong, folds, sizes, 100, 150).decline[1:].std()
    grouped = extrapolate(*copies, sizes, 100, 150).decline[1:].std()
    assert grouped == pytest.approx(2 * alone, rel=0.35)


def answers(report: dict[str, object]) -> list[str]:
    return [row["answer"] for row in report["classes"]]  # type: ignore[attr-defined]


def test_the_command_says_that_twenty_photographs_of_easy_classes_do_not_tell(
    finetuned: Path,
) -> None:
    words = ("data", "enough", "stripes", "--model", "models/textures", "--json")
    ended = run_command(*words, folder=finetuned)
    assert ended.code == 0, ended.text
    report = json.loads(ended.output)
    assert report["more"] == enough.MORE == 50
    assert [row["images"] for row in report["classes"]] == [20, 20, 20]
    for row in report["classes"]:
        known = row["gain_points"] is not None
        assert ("cannot tell" in row["answer"]) != known
        if known:
            assert row["gain_low_points"] <= row["gain_high_points"]
            assert row["gain_points"] == pytest.approx(row["error_pct"] - row["more_error_pct"])
    page = (finetuned / report["page"]).read_text()
    assert report["answer"].split(" %")[0][:30] in page
    assert "<script" not in page


def test_too_few_photographs_are_one_line(finetuned: Path, tmp_path: Path) -> None:
    folder(tmp_path / "few", {"train": 5, "test": 3})
    model = finetuned / "models" / "textures"
    ended = run_command("data", "enough", "few", "--model", model, folder=tmp_path)
    check_error_lines(ended)
    assert "the data cannot tell what more are worth (got 8)" in ended.errors
