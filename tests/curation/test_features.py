"""The frozen features that the classifier gets are computed once for each photograph."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.model_folders import write_model
from helpers.texture_photographs import texture
from resnetlab.curation.features import FeatureNetwork, compute_features, open_network
from resnetlab.curation.labeled_photos import open_labeled_photos
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.deploy.predict import load_model
from resnetlab.errors import InputError
from resnetlab.finetuning.network.frozen_features import count_missing
from resnetlab.models.weights import read_weights, write_weights


@pytest.fixture
def network(finetuned: Path) -> FeatureNetwork:
    return open_network(str(finetuned / "models" / "textures"), device="cpu")


def features(network: FeatureNetwork, root: Path, cache: Path) -> np.ndarray:
    return compute_features(network, open_labeled_photos(root, cache=cache).photos, cache)


def test_features_and_classifier_give_the_outputs_of_the_model(
    finetuned: Path, network: FeatureNetwork, tmp_path: Path
) -> None:
    rows = features(network, finetuned / "stripes", tmp_path)
    labeled = open_labeled_photos(finetuned / "stripes", cache=tmp_path)
    paths = [labeled.photos.root / row.path for row in labeled.photos.rows]
    model = load_model(finetuned / "models" / "textures", device="cpu")
    expected = [model.predict([path], top=3)[0].top_classes for path in paths]
    head = network.head
    logits = torch.from_numpy(rows) @ head.weight.T + head.bias
    probabilities = torch.softmax(logits.double(), 1).numpy()
    for row, answers in zip(probabilities, expected, strict=True):
        for answer in answers:
            assert row[model.classes.index(answer.label)] == pytest.approx(
                answer.probability, abs=1e-5
            )


def test_the_features_of_a_photograph_are_computed_once_and_do_not_depend_on_the_batch(
    finetuned: Path, network: FeatureNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = tmp_path / "photos", tmp_path / "cache"
    shutil.copytree(finetuned / "stripes", root)
    counts: list[int] = []
    compute = FeatureNetwork.compute

    def counted(self: FeatureNetwork, pixels: np.ndarray) -> np.ndarray:
        counts.append(len(pixels))
        return compute(self, pixels)

    monkeypatch.setattr(FeatureNetwork, "compute", counted)
    before = features(network, root, cache)
    assert sum(counts) == 60
    texture("plain", 777).save(root / "train" / "plain" / "zz.png")
    after = features(network, root, cache)
    assert sum(counts) == 61
    labeled = open_labeled_photos(root, cache=cache)
    new = [k for k, row in enumerate(labeled.photos.rows) if row.path.endswith("zz.png")]
    assert np.array_equal(np.delete(after, new, 0), before)
    pixels = apply_eval_transform(labeled.photos.load(new[0]), network.transform)
    assert np.array_equal(after[new[0]], compute(network, pixels[None])[0])


def test_a_damaged_cache_is_computed_again(
    finetuned: Path, network: FeatureNetwork, tmp_path: Path
) -> None:
    before = features(network, finetuned / "stripes", tmp_path)
    (path,) = (tmp_path / "features").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    split = open_labeled_photos(finetuned / "stripes", cache=tmp_path).photos
    assert count_missing(split, path) == len(split)
    assert np.array_equal(features(network, finetuned / "stripes", tmp_path), before)
    assert count_missing(split, path) == 0


def other_weights(finetuned: Path, folder: Path) -> Path:
    """Write a model file whose weights differ in one number."""
    tensors, _ = read_weights(finetuned / "tiny.safetensors")
    tensors["stem.weight"][0, 0, 0, 0] += 1e-3
    write_weights(folder / "tiny.safetensors", tensors, {})
    shutil.copy(finetuned / "tiny.toml", folder / "tiny.toml")
    return folder / "tiny.toml"


def test_other_weights_and_sizes_have_another_identity(finetuned: Path, tmp_path: Path) -> None:
    folder = str(finetuned / "models" / "textures")
    model = open_network(folder, device="cpu")
    larger = open_network(folder, size=24, device="cpu")
    other = open_network(str(other_weights(finetuned, tmp_path)), size=16, device="cpu")
    assert len({model.identity, larger.identity, other.identity}) == 3
    # Only the classifier of this model was trained, so its features are those of its backbone.
    start = open_network(str(finetuned / "tiny.toml"), size=16, device="cpu")
    assert start.identity == model.identity
    assert model.identity == open_network(folder, device="cpu").identity
    assert larger.transform.size == 24


def test_a_folder_and_weights_together_are_refused(finetuned: Path) -> None:
    folder = str(finetuned / "models" / "textures")
    with pytest.raises(InputError, match="leave --weights out"):
        open_network(folder, finetuned / "tiny.safetensors")


def test_a_gray_model_has_features(finetuned: Path, tmp_path: Path) -> None:
    transform = EvalTransform(size=24, resize=28, channels=1, mean=(0.4,), std=(0.2,))
    folder = write_model(tmp_path / "gray", eval_transform=transform)
    network = open_network(str(folder), device="cpu")
    photos = open_labeled_photos(finetuned / "stripes", cache=tmp_path / "cache").photos
    rows = compute_features(network, photos, tmp_path / "cache")
    logits = torch.from_numpy(rows) @ network.head.weight.T + network.head.bias
    model = load_model(folder, device="cpu")
    path = photos.root / photos.rows[7].path
    for answer in model.predict([path], top=6)[0].top_classes:
        probability = torch.softmax(logits[7].double(), 0)[model.classes.index(answer.label)]
        assert float(probability) == pytest.approx(answer.probability, abs=1e-5)
