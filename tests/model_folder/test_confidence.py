"""The file confidence.safetensors is read back as it was written, or refused with its file name."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from helpers.model_folders import (
    CLASSES,
    add_confidence,
    planted_confidence,
    planted_outputs,
    write_model,
)
from resnetlab.errors import InputError
from resnetlab.files import json_sha256
from resnetlab.model_folder.confidence import (
    CONFIDENCE_FILE,
    MIN_VALIDATION_IMAGES,
    describe_missing,
    read_confidence,
)
from resnetlab.model_folder.read import read_model_file
from resnetlab.model_folder.store import load_model_folder
from resnetlab.schema import encode


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model folder with the file."""
    return add_confidence(write_model(tmp_path / "pets"))


def test_a_written_file_is_read_back_with_the_same_values(model: Path) -> None:
    file = read_model_file(model)
    expected, actual = planted_confidence(file.weights_sha256), read_confidence(model, file)
    assert actual is not None
    assert actual.metadata == expected.metadata
    for name in ("reference", "reference_labels", "label_probabilities", "labels"):
        assert np.array_equal(getattr(actual, name), getattr(expected, name))
    assert load_model_folder(model).confidence is not None
    assert load_model_folder(model).confidence_note == ""


def test_the_threshold_covers_the_stated_share_of_the_validation_images() -> None:
    confidence = planted_confidence("")
    logits, features, _ = planted_outputs(np.random.default_rng(0), 120)
    novelty = confidence.novelty(logits, features)
    # ceil(121 * 0.95) = 115 of the 120 images are at most as novel as the threshold.
    assert sum(confidence.is_novel(value) for value in novelty.tolist()) == 5
    generator = np.random.default_rng(1)
    others = confidence.novelty(generator.normal(size=(200, 6)), generator.normal(size=(200, 8)))
    assert others.mean() > novelty.mean()


def test_a_changed_bit_or_a_missing_end_is_refused_by_name(model: Path) -> None:
    path, file = model / CONFIDENCE_FILE, read_model_file(model)
    content, generator = path.read_bytes(), random.Random(0)
    header = int.from_bytes(content[:8], "little") + 8
    for number in range(150):
        changed = bytearray(content)
        position = generator.randrange(header if number % 2 else len(content))
        changed[position] ^= 1 << generator.randrange(8)
        end = generator.randrange(len(content)) if number % 5 == 0 else len(content)
        path.write_bytes(changed[:end])
        with pytest.raises(InputError, match=f"{CONFIDENCE_FILE}: ") as caught:
            read_confidence(model, file)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(InputError, match=CONFIDENCE_FILE):
        load_model_folder(model)


def test_the_file_of_other_weights_is_ignored_and_the_reason_is_reported(model: Path) -> None:
    other = write_model(model.parent / "other", seed=5)
    (other / CONFIDENCE_FILE).write_bytes((model / CONFIDENCE_FILE).read_bytes())
    loaded_model = load_model_folder(other)
    assert loaded_model.confidence is None
    assert "belongs to other weights" in loaded_model.confidence_note
    (other / CONFIDENCE_FILE).unlink()
    assert f"at least {MIN_VALIDATION_IMAGES} validation photographs" in describe_missing(other)


def rewrite(model: Path, **changes: object) -> None:
    """Change fields of the metadata and make their hash right again."""
    confidence = read_confidence(model, read_model_file(model))
    assert confidence is not None
    table = encode(confidence.metadata) | changes
    table["sha256"] = json_sha256({k: v for k, v in table.items() if k != "sha256"})
    arrays = safetensors.numpy.load_file(model / CONFIDENCE_FILE)
    data = safetensors.numpy.save(arrays, {"resnetlab": json.dumps(table)})
    (model / CONFIDENCE_FILE).write_bytes(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 9}, r"schema version \(got 9; allowed: 1\)"),
        ({"classes": 5}, "do not fit each other or the model"),
        ({"temperature": -1.0}, "temperature"),
        ({"measure_medians": [1.0]}, "do not fit each other or the model"),
        ({"surprise": 1}, "unknown field"),
    ],
)
def test_invalid_values_are_reported_in_one_line(
    model: Path, changes: dict[str, object], message: str
) -> None:
    rewrite(model, **changes)
    with pytest.raises(InputError, match=message) as caught:
        read_confidence(model, read_model_file(model))
    assert len(str(caught.value).splitlines()) == 1


def test_a_coverage_that_the_images_cannot_give_is_refused_with_the_highest_possible_one() -> None:
    confidence = planted_confidence("", images=30)
    assert confidence.thresholds(0.9).shape == (len(CLASSES),)
    with pytest.raises(InputError, match=r"99 validation photographs.*at most 0\.967"):
        confidence.thresholds(0.99)


def test_equal_metadata_have_equal_hashes() -> None:
    first, second = planted_confidence("a").metadata, planted_confidence("b").metadata
    assert first == planted_confidence("a").metadata
    assert replace(second, weights_sha256="a", sha256="") == replace(first, sha256="")
