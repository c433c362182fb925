"""Learning curves are measured without leaks and extrapolated by their formulas, and too little
data is reported.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.commands import check_error_lines, run_command
from helpers.texture_photographs import folder
from resnetlab.curation import learning_curves
from resnetlab.curation.learning_curves import FRACTIONS, extrapolate, measure_curves
from resnetlab.stats.learning_curve import fit_power_laws

CLASSES = ("hard", "easy")


def noise(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of two classes that overlap, in many dimensions: more images help."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    shift = np.where(labels == 0, -0.5, 0.5)[:, None] * np.ones(20) * 0.45
    return (generator.standard_normal((images, 20)) + shift).astype(np.float32), labels


def test_sizes_grow_as_declared_and_errors_decrease() -> None:
    features, labels = noise(200)
    curves = measure_curves(features, labels, CLASSES, np.arange(200), draws=1)
    assert curves.wrong.shape == (1, len(FRACTIONS), 200)
    assert curves.sizes[:, 0] == pytest.approx([10, 20, 40, 60, 80])
    errors = curves.wrong.mean((0, 2))
    assert errors[0] > errors[-1] + 0.05


def test_labels_without_a_pattern_have_the_errors_of_guessing_despite_copies() -> None:
    generator = np.random.default_rng(0)
    features = np.repeat(generator.standard_normal((60, 5)), 2, 0).astype(np.float32)
    labels = np.repeat(generator.permutation(np.arange(60) % 2), 2)
    groups = np.repeat(np.arange(60), 2)
    curves = measure_curves(features, labels, CLASSES, groups, draws=2)
    assert 0.35 < curves.wrong[:, -1].mean() < 0.75


def test_the_extrapolation_uses_the_fitted_law_and_its_samples_are_bootstrap_draws() -> None:
    generator = np.random.default_rng(1)
    sizes = np.array([10.0, 20, 40, 60, 80])
    chance = (0.05 + 1.2 * sizes**-0.5)[None, :, None]
    wrong = np.repeat(generator.random((1, 5, 100)) < chance, 5, 0)
    result = extrapolate(wrong, sizes, np.arange(100), 100, 150)
    law = fit_power_laws(sizes, wrong.mean((0, 2))[None])
    assert result.now[0] == pytest.approx(law.predict(100)[0])
    assert result.gains[0] == pytest.approx(law.predict(100)[0] - law.predict(150)[0])
    assert result.decline[0] == pytest.approx(wrong[:, 0].mean() - wrong[:, -1].mean())
    # The spread of the samples is that of a mean over photographs: both ends by the formula.
    per_photo = (wrong[:, 0] * 1.0 - wrong[:, -1]).mean(0)
    expected = per_photo.std() / np.sqrt(len(per_photo))
    assert result.decline[1:].std() == pytest.approx(expected, rel=0.35)


def test_the_interval_contains_the_gains_with_and_without_a_floor() -> None:
    generator = np.random.default_rng(2)
    sizes = np.array([10.0, 20, 40, 60, 80])
    wrong = generator.random((5, 5, 100)) < (1.2 * sizes**-0.5)[None, :, None]
    result = extrapolate(wrong, sizes, np.arange(100), 100, 150)
    without = result.now_without_floor - result.later_without_floor
    # The best exponent without a floor, by a search that knows nothing of the fit.
    mean, weights = wrong.mean((0, 2)), sizes / sizes.sum()
    candidates = []
    for exponent in np.linspace(0.05, 2, 196):
        for scale in np.linspace(0.05, 4, 800):
            rest = mean - scale * sizes**-exponent
            candidates.append((float(weights @ rest**2), exponent, scale))
    _, exponent, scale = min(candidates)
    assert without[0] == pytest.approx(scale * (100**-exponent - 150**-exponent), abs=3e-3)
    low, high = result.gain_interval
    pairs = list(zip(result.gains[1:], without[1:], strict=True))
    assert low == pytest.approx(np.quantile([min(pair) for pair in pairs], 0.025))
    assert high == pytest.approx(np.quantile([max(pair) for pair in pairs], 0.975))
    assert low < 1.2 * (100**-0.5 - 150**-0.5) < high


def test_images_of_one_group_count_once() -> None:
    generator = np.random.default_rng(1)
    sizes = np.array([10.0, 20, 40, 60, 80])
    wrong = np.repeat(generator.random((5, 5, 25)) < 0.3, 4, axis=2)
    alone, grouped = (
        extrapolate(wrong, sizes, groups, 100, 150).decline[1:].std()
        for groups in (np.arange(100), np.repeat(np.arange(25), 4))
    )
    assert grouped == pytest.approx(2 * alone, rel=0.25)


def answers(report: dict[str, object]) -> list[str]:
    return [row["answer"] for row in report["classes"]]  # type: ignore[attr-defined]


def test_the_command_reports_that_twenty_photographs_of_easy_classes_are_too_few_to_decide(
    finetuned: Path,
) -> None:
    words = ("data", "enough", "stripes", "--model", "models/textures", "--json")
    ended = run_command(*words, folder=finetuned)
    assert ended.code == 0, ended.text
    report = json.loads(ended.output)
    assert report["more"] == learning_curves.MORE == 50
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


def test_too_few_photographs_are_reported_in_one_line(finetuned: Path, tmp_path: Path) -> None:
    folder(tmp_path / "few", {"train": 5, "test": 3})
    model = finetuned / "models" / "textures"
    ended = run_command("data", "enough", "few", "--model", model, folder=tmp_path)
    check_error_lines(ended)
    assert "the data cannot tell what more are worth (got 8)" in ended.errors
