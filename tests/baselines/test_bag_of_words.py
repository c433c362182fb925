"""The bag of visual words has the counts of a plain loop, and it is trained, saved and repeated
like any run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resnetlab as rl
from resnetlab.baselines.bag_of_words import CONTRAST_EPSILON, fit
from resnetlab.data.config import LabeledImages
from resnetlab.errors import InputError
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.models.build import build_model
from resnetlab.models.configs.bag_of_words import BagOfWordsConfig

SMALL = BagOfWordsConfig(words=5, patch=3, stride=2, regions=2)


def pictures(count: int = 40, side: int = 8, channels: int = 1) -> LabeledImages:
    generator = np.random.default_rng(3)
    labels = np.arange(count) % 2
    pixels = generator.integers(0, 60, (count, side, side, channels))
    pixels[labels == 1, ::2] += 150  # stripes
    return LabeledImages(pixels.astype(np.uint8), labels)


def test_scores_equal_a_loop_over_images_and_patches() -> None:
    images = pictures()
    model = fit(SMALL, images, 2, 0)
    for pixels, scores in zip(
        images.pixels[:5], model.decision_function(images.pixels)[:5], strict=True
    ):
        counts = np.zeros((2, 2, 5))
        for row in range(3):
            for column in range(3):
                corner = (
                    pixels[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
                    .astype(float)
                    .transpose(2, 0, 1)
                )
                patch = corner.reshape(-1) - corner.mean()
                patch = patch / np.sqrt(patch.var() + CONTRAST_EPSILON)
                distances = ((model.dictionary - (patch - model.mean) @ model.whitening) ** 2).sum(
                    axis=1
                )
                counts[row * 2 // 3, column * 2 // 3, distances.argmin()] += 1 / 9
        np.testing.assert_allclose(
            model.weights @ np.sqrt(counts.reshape(-1)) + model.bias, scores, atol=1e-9
        )


def test_the_parameter_count_is_the_number_of_learned_values() -> None:
    model = fit(SMALL, pictures(), 2, 0)
    learned = sum(
        part.size
        for part in (model.mean, model.whitening, model.dictionary, model.weights, model.bias)
    )
    assert SMALL.cost(1, 2, 8)[0] == learned


def test_the_same_seed_gives_the_same_dictionary_and_another_seed_gives_another() -> None:
    first, again, other = (fit(SMALL, pictures(), 2, seed).dictionary for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_class_without_train_images_has_a_column_of_scores_and_is_not_predicted() -> None:
    images = pictures()
    moved = LabeledImages(images.pixels, images.labels * 2 + 1)  # classes 1 and 3 of five
    expected = fit(SMALL, images, 2, 0).decision_function(images.pixels)
    scores = fit(SMALL, moved, 5, 0).decision_function(images.pixels)
    np.testing.assert_array_equal(scores[:, [1, 3]], expected)
    assert scores[:, [0, 2, 4]].max() < scores[:, [1, 3]].min() - 1e6
    assert (scores.argmax(axis=1) == moved.labels).mean() > 0.9
    alone = LabeledImages(images.pixels[::2], images.labels[::2])
    with pytest.raises(InputError, match="all of one class"):
        fit(SMALL, alone, 2, 0)


def test_a_bag_of_words_is_trained_as_a_run_with_a_record(small_npz: Path, tmp_path: Path) -> None:
    settings = ["model.words=8", "model.patch=4", "data.validation=0.0"]
    record = rl.train("bow-svm", str(small_npz), "digits", settings=settings, output=tmp_path)
    assert record.result is not None
    assert record.result.status == "trained"
    assert record.result.test is not None
    assert record.result.test.top1_error_pct < 20
    assert record.result.test.loss_nats is None
    folder = tmp_path / "runs" / record.id
    assert {
        "weights.safetensors",
        "logits-test.safetensors",
        "result.json",
        "provenance.jsonl",
    } <= {path.name for path in folder.iterdir()}
    again = rl.train(
        "bow-svm",
        str(small_npz),
        "adam",
        settings=settings,
        output=tmp_path,
        diagnostics=DiagnosticsConfig(ablate_blocks=True),
    )
    assert again.id == record.id
    assert not (folder / "diagnostics").exists()  # it has no blocks, and is not opened for them


def test_a_bag_of_words_is_refused_as_a_network_and_for_too_small_images() -> None:
    with pytest.raises(
        InputError, match=r"bow-svm: has no layers: it is no network\. Fix: name a network"
    ):
        build_model(BagOfWordsConfig(), 3, 10, lambda _: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(
        InputError, match=r"cannot take images of 4 pixels: a patch has 6\. Fix: patch = 4"
    ):
        BagOfWordsConfig().cost(3, 10, 4)
