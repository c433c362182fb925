"""The variants of an image by crops and flips are counted, and they equal slices of the image."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnetlab.data.config import Augment, DataIdentity, Dataset, LabeledImages
from resnetlab.inspection.augmentation import image_variants, labels_after_flip
from resnetlab.inspection.augmentation import measure_augmentation as measure
from resnetlab.inspection.augmentation_summary import augmentation_sentences, draw_variants

Call = Callable[..., tuple[int, str, str]]


def noise(side: int) -> Dataset:
    """Return a data set of random images, none like another."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, side, side, 3), np.uint8)
    labels = np.tile([0, 1], 3)
    images = LabeledImages(pixels, labels)
    return Dataset("noise", ("a", "b"), images, None, images, DataIdentity(sha256=""))


def test_a_crop_of_28_of_32_and_a_flip_give_fifty_images_that_are_slices() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    augment = Augment(crop=28, flip=True)
    variants = image_variants(torch.from_numpy(image), augment).numpy()
    crops = [image[y : y + 28, x : x + 28] for y in range(5) for x in range(5)]
    expected = [*crops, *(crop[:, ::-1] for crop in crops)]
    assert len(variants) == 50
    assert all(np.array_equal(a, b) for a, b in zip(variants, expected, strict=True))
    limits = measure(noise(32), augment, 6, "practical")
    assert (limits.places, limits.flips, limits.distinct, limits.fewest_distinct) == (25, 2, 50, 50)
    assert (
        "25 places x 2 = 50 variants of an image, 50.0 different"
        in (augmentation_sentences(limits)[0])
    )
    assert "at most 300 from 6 train images" in augmentation_sentences(limits)[0]


def test_correlations_equal_numpy() -> None:
    data, augment = noise(6), Augment(crop=4, flip=True)
    limits = measure(data, augment, 6, "r")
    expected: dict[str, list[float]] = {"its flipped copy": [], "another image of its class": []}
    pixels, labels = data.train.pixels[:, 1:5, 1:5].astype(float), data.train.labels

    def r(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    for number, image in enumerate(pixels):
        expected["its flipped copy"].append(r(image, image[:, ::-1]))
        others = [n for n in range(6) if n != number and labels[n] == labels[number]]
        expected["another image of its class"].append(
            float(np.mean([r(image, pixels[n]) for n in others]))
        )
    for name, values in expected.items():
        assert limits.correlations[name] == pytest.approx(np.mean(values))


def test_a_symmetric_image_has_half_the_variants() -> None:
    data = noise(6)
    pixels = data.train.pixels
    pixels[:] = np.minimum(pixels, pixels[:, :, ::-1])
    limits = measure(data, Augment(flip=True), 6, "r")
    assert limits.distinct == 1
    assert limits.correlations["its flipped copy"] == pytest.approx(1)


def test_a_flip_that_changes_one_class_into_another_is_detected() -> None:
    left = np.zeros((8, 4, 4, 1), np.uint8)
    left[:, :, :2] = np.random.default_rng(0).integers(100, 256, (8, 4, 2, 1))
    images = torch.from_numpy(np.concatenate([left, left[:, :, ::-1]]))
    labels = np.repeat([0, 1], 8)
    rows = labels_after_flip(images, labels, ("left", "right"), 16)
    assert [row["same_label_pct"] for row in rows] == [100, 100]
    assert [row["same_label_flipped_pct"] for row in rows] == [0, 0]
    assert [row["most_frequent_other_label"] for row in rows] == ["right", "left"]


def test_flips_change_the_nearest_class_of_real_digits_and_the_sheet_shows_the_flips(
    call: Call, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    code, out, _ = call(
        "augmentation",
        "cifar",
        "--data",
        "digits",
        "--images",
        "200",
        "--draw",
        str(sheet),
        "--json",
    )
    result = json.loads(out)
    rows = {row["class"]: row for row in result["rows"]}
    assert code == 0
    assert rows["0"]["same_label_flipped_pct"] > 90 > 50 > rows["2"]["same_label_flipped_pct"]
    assert any("many flipped images look like another class" in note for note in result["notes"])
    with Image.open(sheet) as picture:
        assert min(picture.size) > 500


def test_a_sheet_without_flips_has_fewer_columns() -> None:
    sizes = [
        Image.open(io.BytesIO(draw_variants(noise(6), augment, "noise"))).size
        for augment in (Augment(crop=4), Augment(crop=4, flip=True))
    ]
    assert sizes[0][0] < sizes[1][0]


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("practical",), "neither random crops nor flips. Fix: another recipe, such as cifar"),
        (("practical", "--set", "recipe.augment.crop=28"), "the images have 8 pixels a side"),
    ],
)
def test_a_recipe_without_augmentation_is_refused_in_one_line(
    call: Call, arguments: tuple[str, ...], phrase: str
) -> None:
    code, out, err = call("augmentation", *arguments, "--data", "digits")
    assert (code, out) == (2, "")
    assert phrase in err
