"""Scaled decoding gives training crops of the same distribution with less work, and is never used
in evaluation.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scenes import scenes

from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.folder.manifest import ManifestRow
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.data.transforms.photo_train import (
    Augmentation,
    PhotoDraws,
    apply_train_transform,
    draw_photo_epoch,
    jpeg_draft_factor,
    random_resized_crop_box,
)
from resnetlab.errors import InputError
from resnetlab.files import sha256
from resnetlab.finetuning import dataset as module
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.finetuning.stage.state import PhotoBatches
from resnetlab.recipes.finetune import FinetuneRecipe, Stage, load_finetune_recipe
from resnetlab.schema import decode, without_defaults
from resnetlab.training.rng import make_generator

TRANSFORM = EvalTransform(size=48, mean=(0.5,) * 3, std=(0.5,) * 3)
ORIENTATION = 0x0112


def part_of(
    root: Path, count: int, width: int = 640, height: int = 480, **options: object
) -> PhotoSplit:
    """Photographs like natural ones, as JPEG."""
    rows = []
    for number, image in zip(range(count), scenes(width, height), strict=False):
        path = root / f"{number:03}.jpg"
        image.save(path, quality=90, **options)
        rows.append(ManifestRow(path.name, "scene", "train", sha256(path), (height, width)))
    return PhotoSplit(root, tuple(rows), np.zeros(count, np.int64))


def crops(
    part: PhotoSplit, augment: Augmentation, scaled: bool, draws: PhotoDraws
) -> NDArray[np.float64]:
    """Return the photographs of an epoch, (N, S, S, 3), levels."""
    images = []
    for index in range(len(part)):
        by = (
            partial(jpeg_draft_factor, TRANSFORM, augment, draws, index) if scaled else lambda *_: 1
        )
        photo, size = part.load_reduced(index, by)
        images.append(
            apply_train_transform(photo, TRANSFORM, augment, draws, index, size)
            .permute(1, 2, 0)
            .numpy()
        )
    return np.stack(images).astype(float)


def draws(count: int, epoch: int) -> PhotoDraws:
    return draw_photo_epoch(count, partial(make_generator, 0, "epoch", epoch))


@pytest.mark.parametrize("augment", ["standard", "test-like"])
def test_crops_of_scaled_photographs_have_nearly_the_values_of_exact_ones(
    tmp_path: Path, augment: Augmentation
) -> None:
    """Levels, their spread within a crop, and the steps from pixel to pixel, which depend on its
    sharpness, are compared.
    """
    part = part_of(tmp_path, 12)
    exact, scaled = (
        np.concatenate([crops(part, augment, kind, draws(12, epoch)) for epoch in range(12)])
        for kind in (False, True)
    )
    assert abs(scaled - exact).mean() < 2
    assert scaled.mean((0, 1, 2)) == pytest.approx(exact.mean((0, 1, 2)), abs=0.3)
    assert scaled.std((1, 2)).mean() == pytest.approx(exact.std((1, 2)).mean(), rel=0.02)
    for axis in (1, 2):
        steps = [(np.diff(crop, axis=axis) ** 2).mean() ** 0.5 for crop in (exact, scaled)]
        assert steps[1] == pytest.approx(steps[0], rel=0.05)
    skew = [((crop - crop.mean()) ** 3).mean() / crop.std() ** 3 for crop in (exact, scaled)]
    assert skew[1] == pytest.approx(skew[0], abs=0.02)


@given(
    st.integers(20, 4000),
    st.integers(20, 4000),
    st.integers(0, 999),
    st.sampled_from(["standard", "test-like"]),
)
def test_a_photograph_is_never_decoded_below_the_size_of_its_crop(
    width: int, height: int, epoch: int, augment: Augmentation
) -> None:
    epoch_draws = draws(1, epoch)
    by = jpeg_draft_factor(TRANSFORM, augment, epoch_draws, 0, width, height)
    _, _, h, w = random_resized_crop_box(height, width, epoch_draws.crop[0].tolist())
    size, side = (
        (TRANSFORM.size, min(h, w))
        if augment == "standard"
        else (TRANSFORM.shorter_side, min(width, height))
    )
    assert by in (1, 2, 4, 8)
    assert by == 1 or side / by >= size


def test_most_crops_of_a_photograph_use_the_same_decoding_scale() -> None:
    """So that what is kept serves the next epoch; the rest are small crops, which need more."""
    for width, height, usual in ((400, 300, 2), (1500, 1000, 8), (640, 480, 4)):
        epoch_draws = draws(1000, 0)
        counts = Counter(
            jpeg_draft_factor(TRANSFORM, "standard", epoch_draws, index, width, height)
            for index in range(1000)
        )
        assert max(counts) == usual
        assert counts[usual] > 800


def test_a_rotated_photograph_is_cropped_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    part = part_of(tmp_path, 4, exif=exif)
    assert part.load_reduced(0, lambda width, height: 2 if (width, height) == (480, 640) else 1)[
        0
    ].shape == (320, 240, 3)
    exact, scaled = (crops(part, "standard", kind, draws(4, 0)) for kind in (False, True))
    assert abs(scaled - exact).mean() < 2


def test_the_image_cache_changes_no_bit_and_respects_its_memory_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = part_of(tmp_path, 6)
    bound = 7 * 640 * 480
    for scaled in (False, True):
        monkeypatch.setattr(module, "IMAGE_CACHE_BYTES", bound)
        part = PhotoSplit(first.root, first.rows, first.labels)
        once = [crops(part, "standard", scaled, draws(6, 0)) for _ in range(3)]
        contents = part.image_cache.arrays
        assert (
            0
            < sum(3 * crop.shape[0] * crop.shape[1] for crop in contents.values())
            == part.image_cache.total_bytes
            <= bound
        )
        monkeypatch.setattr(module, "IMAGE_CACHE_BYTES", 0)
        part = PhotoSplit(first.root, first.rows, first.labels)
        for crop in once:
            np.testing.assert_array_equal(crop, crops(part, "standard", scaled, draws(6, 0)))
        assert not part.image_cache.arrays


def test_a_cached_photograph_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, read = part_of(tmp_path, 3), []
    read_bytes = image_decoder.read_bytes
    monkeypatch.setattr(
        image_decoder,
        "read_bytes",
        lambda path, **options: read.append(path) or read_bytes(path, **options),
    )
    for epoch in range(3):
        crops(part, "standard", False, draws(3, epoch))
    assert len(read) == 3


def test_decoding_threads_use_one_torch_thread_each(tmp_path: Path) -> None:
    """Else each of them would start as many threads again, and cores would wait for one another."""
    part, before = part_of(tmp_path, 2), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        train_state = SimpleNamespace(recipe=SimpleNamespace(batch_size=2))
        threads = PhotoBatches(train_state, part, draws(2, 0), 0).prefetcher.pool  # type: ignore[arg-type]
        assert threads.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_evaluation_decodes_whole_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, calls = part_of(tmp_path, 2), []
    for name in ("decode", "decode_rgb"):
        function = getattr(image_decoder, name)
        monkeypatch.setattr(
            image_decoder,
            name,
            lambda raw, by=1, function=function: calls.append(by) or function(raw, by),
        )
    crops(part, "test-like", True, draws(2, 0))
    assert calls == [8, 8]
    calls.clear()
    part.stack(lambda image: np.zeros(image.size))
    assert calls == [1, 1]


def test_scaled_decoding_is_part_of_a_recipe_and_exact_decoding_does_not_change_its_id() -> None:
    table = without_defaults(load_finetune_recipe("full"))
    assert "decode" not in str(table)
    for stage in table["stages"]:
        if stage.get("augment") != "none":
            stage["decode"] = "scaled"
    recipe = decode(FinetuneRecipe, table, "full")
    assert "scaled" in str(without_defaults(recipe))
    with pytest.raises(InputError, match=r'decode: without augmentation .* Fix: decode = "exact"'):
        decode(
            Stage,
            {"name": "a", "augment": "none", "decode": "scaled", "recipe": {"epochs": 1}},
            "a",
        )
