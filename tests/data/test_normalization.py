"""Pixels get the scale that the recipe requests, and whitening equals its definition."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from resnetlab.data.config import Augment, ChannelStats, LabeledImages
from resnetlab.data.transforms import zca
from resnetlab.data.transforms.augment import center_crop
from resnetlab.data.transforms.normalization import (
    ChannelNormalizer,
    PerImageNormalizer,
    export_normalizer,
    fit_normalizer,
)
from resnetlab.errors import InputError
from resnetlab.recipes.train import Recipe
from resnetlab.schema import decode

CPU = torch.device("cpu")


def images(count: int = 40, side: int = 6, channels: int = 3, seed: int = 0) -> LabeledImages:
    """Smooth images: neighbors are alike, as in photographs."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(count, side + 2, side + 2, channels))
    noise = noise.cumsum(1).cumsum(2)[:, 2:, 2:]
    pixels = np.clip(128 + 12 * noise, 0, 255).astype(np.uint8)
    return LabeledImages(pixels, generator.integers(0, 4, count))


@pytest.mark.parametrize(
    ("normalization", "mean", "std"),
    [
        ("half", [0.5] * 3, [0.5] * 3),
        ("none", [0.0] * 3, [1.0] * 3),
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("practical", [0.491, 0.482, 0.447], [0.202, 0.199, 0.201]),
        (
            ChannelStats(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0)),
            [0.1, 0.2, 0.3],
            [1.0, 2.0, 3.0],
        ),
    ],
)
def test_given_means_and_deviations_are_applied_unchanged(
    normalization: Any, mean: list[float], std: list[float]
) -> None:
    image_set = images()
    scale = fit_normalizer(normalization, image_set, 0, CPU)
    assert export_normalizer(scale) == ({"mean": mean, "std": std}, {})
    expected = (image_set.pixels / 255 - mean) / std
    assert (
        np.abs(
            scale(torch.from_numpy(image_set.pixels)).numpy() - expected.transpose(0, 3, 1, 2)
        ).max()
        < 1e-5
    )


def test_the_train_split_is_normalized_by_its_own_mean_and_deviation() -> None:
    image_set = images()
    scale = fit_normalizer("train", image_set, 0, CPU)
    assert isinstance(scale, ChannelNormalizer)
    assert scale.values[0] == pytest.approx((image_set.pixels / 255).mean((0, 1, 2)))
    assert scale.values[1] == pytest.approx((image_set.pixels / 255).std((0, 1, 2)))


def test_per_image_normalization_gives_mean_0_and_deviation_1_and_0_for_uniform_images() -> None:
    image_set = images()
    pixels = torch.from_numpy(np.concatenate([image_set.pixels, image_set.pixels[:1] * 0 + 77]))
    got = PerImageNormalizer()(pixels)
    for image, one in zip(got[:-1], image_set.pixels, strict=True):
        expected = (one - one.astype(float).mean()) / one.astype(float).std()
        np.testing.assert_allclose(image.numpy(), expected.transpose(2, 0, 1), atol=1e-5)
    assert torch.equal(got[-1], torch.zeros(3, 6, 6))


def naive_zca(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From the definition, by numpy's singular values: (mean, matrix)."""
    x = pixels.reshape(len(pixels), -1) / 255
    u, s, _ = np.linalg.svd(np.cov(x, rowvar=False, bias=True))
    return x.mean(0), u @ np.diag(1 / np.sqrt(s + 0.1)) @ u.T


def test_whitening_equals_its_definition() -> None:
    image_set = images(count=300)
    mean, matrix = naive_zca(image_set.pixels)
    scale = zca.fit(image_set.pixels)
    np.testing.assert_allclose(scale.mean.numpy(), mean, atol=1e-6)
    np.testing.assert_allclose(scale.matrix.numpy(), matrix, atol=1e-5)
    got = scale(torch.from_numpy(image_set.pixels))
    expected = (
        ((image_set.pixels.reshape(300, -1) / 255 - mean) @ matrix)
        .reshape(300, 6, 6, 3)
        .transpose(0, 3, 1, 2)
    )
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-5)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_whitened_directions_have_the_variance_that_epsilon_leaves() -> None:
    image_set = images(count=400)
    flat = (
        zca.fit(image_set.pixels)(torch.from_numpy(image_set.pixels))
        .permute(0, 2, 3, 1)
        .flatten(1)
        .double()
        .numpy()
    )
    before = np.linalg.eigvalsh(
        np.cov(image_set.pixels.reshape(400, -1) / 255, rowvar=False, bias=True)
    )
    after = np.linalg.eigvalsh(np.cov(flat, rowvar=False, bias=True))
    np.testing.assert_allclose(after, np.sort(before / (before + 0.1)), atol=1e-4)


def test_the_mean_and_covariance_do_not_depend_on_the_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image_set = images(count=70)
    mean, covariance = zca.mean_and_covariance(image_set.pixels)
    monkeypatch.setattr(zca, "BLOCK_IMAGES", 7)
    again = zca.mean_and_covariance(image_set.pixels[::-1].copy())
    assert torch.equal(mean, again[0])
    assert torch.equal(covariance, again[1])
    np.testing.assert_allclose(
        covariance,
        np.cov(image_set.pixels.reshape(70, -1) / 255, rowvar=False, bias=True),
        atol=1e-12,
    )


def test_whitening_is_fitted_to_the_center_crop_that_the_network_gets() -> None:
    image_set = images()
    small = fit_normalizer("zca", image_set, 4, CPU)
    assert torch.equal(small.matrix, zca.fit(image_set.pixels[:, 1:5, 1:5]).matrix)  # type: ignore[union-attr]
    assert small(center_crop(torch.from_numpy(image_set.pixels), 4)).shape == (40, 3, 4, 4)


def test_whitening_has_the_same_bits_in_another_process() -> None:
    code = (
        "import hashlib, numpy as np, torch; torch.set_num_threads(1); from "
        "resnetlab.data.transforms import zca\n"
        "pixels = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), np.uint8)\n"
        "print(hashlib.sha256(zca.fit(pixels).matrix.numpy().tobytes()).hexdigest())"
    )
    done = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    matrix = zca.fit(np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), np.uint8)).matrix
    torch.set_num_threads(before)
    assert {run.stdout.strip() for run in done} == {
        hashlib.sha256(matrix.numpy().tobytes()).hexdigest()
    }


def test_whitening_is_fitted_once_in_a_process_for_the_same_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    plain = zca.mean_and_covariance
    monkeypatch.setattr(zca, "mean_and_covariance", lambda pixels: calls.append(1) or plain(pixels))
    first, other = images(seed=5), images(seed=6)
    one, again, two = zca.fit(first.pixels), zca.fit(first.pixels.copy()), zca.fit(other.pixels)
    assert one is again
    assert not torch.equal(one.matrix, two.matrix)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("zac", "recipe.normalize: unknown value"),
        (3, "recipe.normalize: unknown value"),
        ({"mean": [0.5]}, "recipe.normalize.std: missing"),
        (
            {"mean": [0.5], "std": [0.5, 0.5]},
            "recipe.normalize.mean: 1 means and 2 standard deviations",
        ),
        ({"mean": [0.5], "std": [0.0]}, "recipe.normalize.std[0]: out of range"),
        ({"mean": [0.5], "sd": [0.5], "std": [0.5]}, "recipe.normalize.sd: unknown field"),
    ],
)
def test_a_mistake_in_a_normalizer_is_reported_in_one_line(value: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(Recipe, {"epochs": 1, "normalize": value}, "study.toml", "recipe")
    (line,) = str(caught.value).splitlines()
    assert message in line
    assert "Fix: " in line


@pytest.mark.parametrize(
    ("recipe", "side", "channels", "message"),
    [
        (
            Recipe(epochs=1, augment=Augment(crop=28)),
            8,
            1,
            "recipe: augment.crop: the images have 8 pixels per side only",
        ),
        (
            Recipe(epochs=1, normalize="imagenet"),
            32,
            1,
            "recipe: normalize: numbers for 3 channels",
        ),
        (
            Recipe(epochs=1, normalize=ChannelStats(mean=(0.5,), std=(0.5,))),
            32,
            3,
            "recipe: normalize: numbers for 1",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_the_images_is_refused(
    recipe: Recipe, side: int, channels: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        recipe.input_size(side, channels)
    assert Recipe(epochs=1, augment=Augment(crop=28), normalize="practical").input_size(32, 3) == 28
    assert Recipe(epochs=1).input_size(32, 3) == 32
