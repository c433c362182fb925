"""Frozen features are computed once for each photograph and network, with the bits of a plain
forward pass.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from helpers.commands import run_command
from helpers.texture_photographs import KINDS, QUICK, folder, texture
from resnetlab.curation.features import open_network
from resnetlab.data.photo_loader import LazyImage, LoadedImage, load_batches
from resnetlab.data.transforms.augment import normalize
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.finetuning.confidence import split_outputs
from resnetlab.finetuning.dataset import PhotoSplit, open_photographs
from resnetlab.finetuning.network import frozen_features
from resnetlab.finetuning.network.model import FinetuneModel, PartitionedModel
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.transfer import find_head
from resnetlab.recipes.numerics import Numerics

NUMERICS = Numerics(device="cpu", precision="fp32", memory_format="channels_last", threads=1)


def make_model(config: ExternalConfig, features: Path | None = None) -> FinetuneModel:
    device = torch.device("cpu")
    return FinetuneModel(config, None, KINDS, 0, NUMERICS, device, features_folder=features)


def plain_features(
    model: FinetuneModel, photos: PhotoSplit, transform: EvalTransform
) -> torch.Tensor:
    """Inputs of the classifier in one forward pass over all photographs."""
    pixels = np.stack([apply_eval_transform(photos.load(k), transform) for k in range(len(photos))])
    mean, std = torch.tensor(transform.mean), torch.tensor(transform.std)
    inputs: list[torch.Tensor] = []
    hook = find_head(model.model, "")[1].register_forward_pre_hook(
        lambda _, values: inputs.append(values[0])
    )
    with torch.no_grad():
        model.model.eval()(normalize(torch.from_numpy(pixels), mean, std))
    hook.remove()
    return inputs[0]


def partition_as_a_whole(model: FinetuneModel, *_: object) -> PartitionedModel:
    """Return the partition of a network that cannot be divided before its classifier."""
    return PartitionedModel("", None, model.model)


def test_every_way_to_compute_features_gives_the_bits_of_a_forward_pass(
    photos: Path,
    backbone: Path,
    config: ExternalConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = open_photographs(photos, cache=tmp_path / "cache")
    transform = make_model(config).eval_transform(24)
    for part in (data.train, data.validation):
        plain = plain_features(make_model(config), part, transform)
        for features in (None, tmp_path / "cache" / "features", tmp_path / "cache" / "features"):
            model = make_model(config, features)
            partitioned = model.partition_for_training("classifier", 24)
            rows = model.features_or_pixels(partitioned, part, transform).pixels
            assert torch.equal(rows, plain)
            assert np.array_equal(split_outputs(part, model, transform).features, plain.numpy())
        with monkeypatch.context() as patch:
            patch.setattr(FinetuneModel, "partition_for_training", partition_as_a_whole)
            direct = split_outputs(part, make_model(config), transform)
        assert np.array_equal(direct.features, plain.numpy())
        assert np.allclose(direct.logits, split_outputs(part, model, transform).logits, atol=1e-6)
        network = open_network(str(backbone), size=24, device="cpu")
        pixels = [apply_eval_transform(part.load(k), transform) for k in range(len(part))]
        assert np.array_equal(network.compute(np.stack(pixels)), plain.numpy())
    (file,) = (tmp_path / "cache" / "features").glob("*.safetensors")
    assert network.identity.startswith(file.stem)


def test_no_command_computes_the_features_of_a_photograph_again(
    tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fine-tune a classifier, judge the labels, and add photographs: 90 photographs and then 4."""
    folder(tmp_path / "photos", {"train": 10, "val": 12, "test": 8})
    computed: list[str] = []

    def counted(
        images: list[LazyImage],
        transform: Callable[[Image.Image], NDArray[np.uint8]],
        batch_size: int,
    ) -> Iterator[list[LoadedImage]]:
        computed.extend(image.name for image in images)
        return load_batches(images, transform, batch_size)

    monkeypatch.setattr(frozen_features, "load_batches", counted)
    sizes = ("--train-size", "24", "--test-size", "24", "--name", "stripes")
    words = ("finetune", "photos", "--model", backbone, "--recipe", QUICK, *sizes)
    ended = run_command(
        *words, "--device", "cpu", "--set", "numerics.precision=fp32", folder=tmp_path
    )
    assert ended.code == 0, ended.text
    # The probe needs train and validation; the end also test. Only the classifier was trained.
    assert len(computed) == len(set(computed)) == 90
    words = ("data", "suspects", "photos", "--model", "models/stripes", "--json")
    ended = run_command(*words, folder=tmp_path)
    assert ended.code == 0, ended.text
    assert len(computed) == 90
    (tmp_path / "more" / "train" / "down").mkdir(parents=True)
    for number in range(4):
        texture("down", 7000 + number).save(tmp_path / f"more/train/down/{number}.png")
    ended = run_command("extend", "models/stripes", "--add", "more", "--json", folder=tmp_path)
    assert ended.code == 0, ended.text
    assert sum(json.loads(ended.output)["added_images"]) == 4
    assert len(computed) == 94
    # Without the cache all is computed again, with the same result.
    shutil.rmtree(tmp_path / "cache" / "features")
    again = run_command("extend", "models/stripes", "--add", "more", "--json", folder=tmp_path)
    assert len(computed) == 94 + 94
    for key in ("before", "after", "test", "penalty", "model_folder"):
        assert json.loads(again.output)[key] == json.loads(ended.output)[key]


def test_the_features_of_equal_photographs_are_computed_once(
    photos: Path, config: ExternalConfig, tmp_path: Path
) -> None:
    for number in range(3):
        source = photos / "train" / "down" / "00.png"
        shutil.copy(source, photos / "train" / "down" / f"copy{number}.png")
    data = open_photographs(photos, cache=tmp_path / "cache")
    model, sizes = make_model(config), list[int]()
    partitioned = model.partition_for_training("classifier", 24)
    frozen_part = partitioned.frozen_part
    assert frozen_part is not None
    frozen_part.register_forward_pre_hook(lambda _, values: sizes.append(len(values[0])))
    rows = model.head_inputs(partitioned, data.train, model.eval_transform(24))
    assert rows.shape == (33, 12)
    assert sizes == [32]
    same = [
        k for k, row in enumerate(data.train.rows) if "copy" in row.path or "down/00" in row.path
    ]
    assert len(same) == 4
    assert all(torch.equal(rows[k], rows[same[0]]) for k in same)
