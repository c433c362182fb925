"""The check of heat maps measures whether the model loses the class without the marked pixels."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter
from torch import nn

from helpers.commands import check_error_lines, run_command
from helpers.model_folders import write_model
from helpers.pictures import picture, save
from resnetlab.deploy.explain import heat_map_check
from resnetlab.deploy.explain.explainer import Explainer, Explanation
from resnetlab.deploy.explain.heat_map_check import check_heat_maps
from resnetlab.deploy.explain.heat_map_scores import (
    REMOVED_PCT,
    border_heat_pct,
    mean_interval,
    paired_drops,
    rate_heat_maps,
    removal_drops,
    removed_pixels,
    shifted_map,
)
from resnetlab.deploy.explain.imputation import impute
from resnetlab.deploy.inputs import find_images
from resnetlab.deploy.predict import Classifier
from resnetlab.model_folder.store import LoadedModel, load_model_folder

SIDE, PATCH = 20, 7
WEIGHTS = {1: 1 / 6, 2: 1 / 12}
"""Weight of a neighbor by its squared distance (Rong et al. 2022)."""


def smooth(seed: int, side: int = SIDE) -> NDArray[np.float32]:
    """Return a random smooth map, 0 to 1."""
    values = gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), side / 10)
    return ((values - values.min()) / np.ptp(values)).astype(np.float32)


def photo_with_patch(seed: int, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a gray photograph with a white patch anywhere, and the pixels of the patch."""
    generator = np.random.default_rng(1000 + seed)
    top, left = generator.integers(side - PATCH, size=2)
    patch = np.zeros((side, side), bool)
    patch[top : top + PATCH, left : left + PATCH] = True
    gray = np.where(patch, 255, 40 + 60 * smooth(seed, side))
    return np.repeat(gray[..., None], 3, 2).astype(np.uint8), patch


def patch_classifier(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a high probability of class 0 where a white patch is; nothing else matters."""
    brightest = uniform_filter(images[..., 0].astype(float), (0, PATCH - 2, PATCH - 2)).max((1, 2))
    probability = 1 / (1 + np.exp(-(brightest - 180) / 12))
    return np.stack([probability, 1 - probability], 1)


def drops_of(maps: list[NDArray[np.float32]], count: int, seed: int = 0) -> NDArray[np.float64]:
    """Differences (N,) of the drop by each map and by a random map, in percentage points."""
    inputs = [photo_with_patch(number)[0] for number in range(count)]
    drops = np.stack(list(paired_drops(patch_classifier, inputs, maps, [0] * count, seed)))
    return 100 * drops.mean(2)


def test_removed_pixels_are_the_weighted_mean_of_their_neighbors() -> None:
    """Against the same equations for one pixel after another, solved as a dense system."""
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 256, (9, 7, 3), np.uint8)
    removed = generator.random((9, 7)) < 0.6
    removed[0, 0] = removed[8, 6] = removed[0, 6] = True
    matrix, known = np.eye(63), np.zeros((63, 3))
    for y, x in np.ndindex(9, 7):
        if not removed[y, x]:
            known[7 * y + x] = pixels[y, x]
            continue
        near = {
            (j, i): WEIGHTS[(j - y) ** 2 + (i - x) ** 2]
            for j in range(max(0, y - 1), min(9, y + 2))
            for i in range(max(0, x - 1), min(7, x + 2))
            if (j, i) != (y, x)
        }
        for (j, i), weight in near.items():
            matrix[7 * y + x, 7 * j + i] = -weight / sum(near.values())
    expected = np.linalg.solve(matrix, known).reshape(9, 7, 3)
    imputed = impute(pixels, removed, None)
    assert np.abs(imputed - expected).max() <= 0.5 + 1e-6
    assert np.array_equal(imputed[~removed], pixels[~removed])
    noisy = impute(pixels, removed, np.random.default_rng(0)).astype(float)
    assert 1 < (noisy - imputed)[removed].std() < 4
    assert np.array_equal(impute(pixels, np.zeros((9, 7), bool), None), pixels)


def test_the_hottest_pixels_are_removed_first_and_ties_are_broken_at_random() -> None:
    heat = smooth(0)
    shares = list(removed_pixels(heat, REMOVED_PCT, np.random.default_rng(0)))
    for share, removed in zip(REMOVED_PCT, shares, strict=True):
        assert removed.sum() == round(share / 100 * heat.size)
        assert heat[removed].min() >= heat[~removed].max()
    flat = np.zeros((40, 40), np.float32)
    (removed,) = removed_pixels(flat, [50], np.random.default_rng(0))
    assert 300 < removed[:20].sum() < 500  # not the first half of the image


def test_a_random_map_has_the_values_and_the_spectrum_of_its_original() -> None:
    heat, shifted = smooth(1), shifted_map(smooth(1), np.random.default_rng(5))
    assert np.array_equal(np.sort(heat.ravel()), np.sort(shifted.ravel()))
    spectrum, mirrored = (np.abs(np.fft.fft2(each)) for each in (shifted, heat[:, ::-1]))
    assert np.allclose(spectrum, mirrored, atol=1e-3) or np.allclose(
        spectrum, np.abs(np.fft.fft2(heat)), atol=1e-3
    )
    assert np.abs(heat - shifted).max() > 0.2


def test_removing_the_evidence_loses_the_class_and_removing_other_pixels_does_not() -> None:
    pixels, patch = photo_with_patch(2)
    heat, away = patch.astype(np.float32), (~patch).astype(np.float32)
    drops = removal_drops(
        patch_classifier, pixels, [heat, away], 0, np.random.default_rng(0), [15, 50]
    )
    assert drops[0].min() > 0.9
    assert np.abs(drops[1]).max() < 0.1


def test_maps_of_the_evidence_are_better_than_random_maps_and_random_maps_are_not() -> None:
    count = 10
    maps = [gaussian_filter(photo_with_patch(k)[1].astype(np.float32), 2) for k in range(count)]
    points = drops_of(maps, count)
    over_random = mean_interval((points[:, 0] - points[:, 1]).tolist())
    assert rate_heat_maps(over_random) == "better"
    assert over_random.mean > 20
    assert rate_heat_maps(mean_interval((points[:, 0] - points[:, 2]).tolist())) == "better"
    ratings = []
    for trial in range(8):
        random = [smooth(100 * trial + k) for k in range(count)]
        points = drops_of(random, count, seed=trial)
        ratings.append(rate_heat_maps(mean_interval((points[:, 0] - points[:, 1]).tolist())))
    assert ratings.count("better") <= 1, ratings


def test_a_correct_map_that_is_the_same_for_all_photographs_is_no_better_than_another() -> None:
    pixels, patch = photo_with_patch(4)
    heat, count = gaussian_filter(patch.astype(np.float32), 2), 8
    drops = paired_drops(patch_classifier, [pixels] * count, [heat] * count, [0] * count, 0)
    points = 100 * np.stack(list(drops)).mean(2)
    assert rate_heat_maps(mean_interval((points[:, 0] - points[:, 1]).tolist())) == "better"
    assert np.abs(points[:, 0] - points[:, 2]).max() < 5


def test_the_border_heat_is_the_share_of_the_outer_fifth_of_each_side() -> None:
    heat = smooth(7, 30)[:, :20]
    inner = sum(float(heat[y, x]) for y in range(6, 24) for x in range(4, 16))
    assert border_heat_pct(heat) == pytest.approx(100 * (1 - inner / float(heat.sum())), abs=1e-3)
    assert border_heat_pct(np.ones((30, 20), np.float32)) == pytest.approx(64)


class RedDetector(nn.Module):
    """Classes by red: its last feature map is 1 where a pixel is red, and the logit its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.red = nn.Conv2d(3, 1, 1)
        self.clipped = nn.ReLU()
        self.red.weight.data = torch.tensor([1.0, -1.0, 0.0]).reshape(1, 3, 1, 1)
        self.red.bias.data = torch.tensor([-0.5])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        evidence = self.clipped(self.red(images)).mean((1, 2, 3))
        return torch.stack([60 * evidence - 2, *[torch.zeros_like(evidence)] * 5], 1)


@pytest.fixture(scope="module")
def red_model(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """Return a model whose evidence is a red patch."""
    loaded_model = load_model_folder(write_model(tmp_path_factory.mktemp("red") / "red"))
    return Classifier(LoadedModel(RedDetector().eval(), loaded_model.file), device="cpu", threads=1)


@pytest.fixture(scope="module")
def red_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gray photographs with a red patch; the patch of the first is at the border."""
    root = tmp_path_factory.mktemp("red") / "photos"
    for number in range(8):
        pixels = np.repeat((60 + 80 * smooth(number, 56))[..., None], 3, 2).astype(np.uint8)
        top, left = np.random.default_rng(number).integers(6, 34, 2) if number else (6, 6)
        pixels[top : top + 14, left : left + 14] = 250, 20, 20
        save(root / f"{number}.png", Image.fromarray(pixels))
    return root


class RandomExplainer(Explainer):
    """Explainer with a random map in place of Grad-CAM's."""

    def explain(self, *arguments: Any, **options: Any) -> Iterator[Explanation]:
        for number, one in enumerate(super().explain(*arguments, **options)):
            yield replace(one, heat_map=smooth(500 + number, one.heat_map.shape[0]))


def test_grad_cam_passes_for_planted_evidence_and_random_maps_do_not(
    red_model: Classifier, red_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = find_images([red_photos])[0]
    check, _ = check_heat_maps(red_model, images, "photos")
    assert (check.photographs, check.rating) == (8, "better")
    assert check.over_random.low > 10
    assert [score.predicted for score in check.photos] == ["cat"] * 8
    assert max(check.photos, key=lambda score: score.border_heat_pct).path.endswith("0.png")
    mean = sum(score.drop_points - score.random_drop_points for score in check.photos) / 8
    assert check.over_random.mean == pytest.approx(mean)
    assert np.mean([row.over_random.mean for row in check.removal]) == pytest.approx(mean)
    monkeypatch.setattr(heat_map_check, "Explainer", RandomExplainer)
    random, _ = check_heat_maps(red_model, images, "photos")
    assert random.rating == "undecided"


def test_the_command_prints_the_check_and_writes_its_page(
    pets: Path, photos: Path, tmp_path: Path
) -> None:
    words = ("explain", pets, photos, "--check", "--photos", "6", "--out", "check")
    ended = run_command(*words, "--json", folder=tmp_path)
    assert ended.code == 0, ended.text
    result = json.loads(ended.output)
    assert result["photographs"] == len(result["photos"]) == 6
    assert [row["removed_pct"] for row in result["removal"]] == list(REMOVED_PCT)
    stored = json.loads((tmp_path / "check" / "heat-maps.json").read_text())
    assert stored == {key: value for key, value in result.items() if key != "page"}
    with (tmp_path / "check" / "heat-maps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [score["path"] for score in result["photos"]]
    page = (tmp_path / result["page"]).read_text()
    assert f"[{result['border_heat']['low']:.1f}, {result['border_heat']['high']:.1f}]" in page
    assert "The frame is not the background" in page
    assert page.count('<img src="data:image/jpeg') == 12
    assert "<script" not in page
    again = run_command("explain", pets, photos, "--check", "--photos", "6", folder=tmp_path)
    assert f"{result['over_random']['mean']:.1f} [" in again.output  # the same again
    assert "6 of 22 photographs are checked" in again.errors


def test_an_impossible_check_is_refused_in_one_line(
    pets: Path, photos: Path, tmp_path: Path
) -> None:
    save(tmp_path / "few" / "a.png", picture(1, 40, 30))
    (tmp_path / "file").write_text("x")
    for words, message in (
        ((photos, "--check", "--class", "cat"), "explains the predicted class"),
        ((tmp_path / "few" / "a.png", "--check"), "not a folder"),
        (
            (photos, "--check", "--out", tmp_path / "file"),
            "--out: is a file, but a folder is to be written",
        ),
        ((tmp_path / "few", "--check"), "give at least 5 photographs"),
        ((photos,), "is a folder"),
    ):
        ended = run_command("explain", pets, *words, folder=tmp_path)
        check_error_lines(ended)
        assert message in ended.errors
