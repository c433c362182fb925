"""Check of a model's heat maps on photographs: are they better than random maps?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.photo_loader import LazyImage, LoadedImage, load_batches
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.deploy.explain.explainer import GRADIENT_BATCH_SIZE, Explainer, Explanation
from resnetlab.deploy.explain.heat_map_scores import (
    BORDER_PCT,
    HeatMapCheck,
    PhotoScore,
    border_heat_pct,
    border_mask,
    mean_interval,
    paired_drops,
    rate_heat_maps,
    removal_scores,
)
from resnetlab.deploy.predict import Classifier
from resnetlab.errors import input_error
from resnetlab.messages import ItemCallback, format_count, silent

MIN_PHOTOGRAPHS = 5
"""Smallest number of photographs that a mean and its interval are computed from."""

SEED = 0
"""Seed of the chosen photographs, the random maps and the noise."""


@dataclass(frozen=True)
class CheckedPhoto:
    """Photograph with the explanation of its predicted class."""

    name: str
    explanation: Explanation


def choose_photographs(images: Sequence[LazyImage], count: int) -> list[LazyImage]:
    """Return at most `count` of the images, drawn at random and in their order."""
    generator = np.random.default_rng(SEED)
    chosen = sorted(generator.permutation(len(images))[:count])
    return [images[index] for index in chosen]


def check_heat_maps(
    model: Classifier, images: Sequence[LazyImage], data: str, on_item: ItemCallback = silent
) -> tuple[HeatMapCheck, list[CheckedPhoto]]:
    """Check the heat maps of the predicted classes on photographs.

    Args:
        model: Model.
        images: Photographs.
        data: Name of the photographs.
        on_item: Receives the progress.

    Returns:
        The check, and each photograph with its explanation.

    Raises:
        InputError: Fewer than MIN_PHOTOGRAPHS photographs have a heat map, or the network has no
            spatial feature map.
    """
    photos, bad_files = _explain(model, images, on_item)
    empty = tuple(photo.name for photo in photos if not photo.explanation.heat_map.any())
    photos = [photo for photo in photos if photo.name not in set(empty)]
    if len(photos) < MIN_PHOTOGRAPHS:
        message = f"{format_count(len(photos), 'photograph')} with a heat map"
        fix = f"give at least {MIN_PHOTOGRAPHS} photographs"
        raise input_error(data, message, fix, got=f"{len(images):,} files")
    explanations = [photo.explanation for photo in photos]
    measured = []
    for drops in paired_drops(
        partial(calibrated_probabilities, model),
        [item.input_pixels for item in explanations],
        [item.heat_map for item in explanations],
        [model.classes.index(item.label) for item in explanations],
        SEED,
    ):
        measured.append(drops)
        on_item("photographs checked", len(measured), len(photos))
    return _summarize(model, data, photos, np.stack(measured), empty, bad_files), photos


def calibrated_probabilities(model: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the probabilities (N, K) of inputs of the network (N, H, W, C), as `predict` does."""
    raw = model.predict_outputs(pixels[:, np.newaxis]).probabilities
    return raw if model.confidence is None else model.confidence.calibrate(raw)


def _explain(
    model: Classifier, images: Sequence[LazyImage], on_item: ItemCallback
) -> tuple[list[CheckedPhoto], tuple[tuple[str, str], ...]]:
    """Return the photographs with their explanations, and the files that cannot be decoded."""
    loaded: list[LoadedImage] = []
    transform = model.file.eval_transform
    for batch in load_batches(
        images, lambda image: apply_eval_transform(image, transform), GRADIENT_BATCH_SIZE
    ):
        loaded += batch
    bad_files = tuple((item.image.name, item.reason) for item in loaded if item.pixels is None)
    inputs = [(item.image.name, item.pixels) for item in loaded if item.pixels is not None]
    explanations = Explainer(model).explain([pixels for _, pixels in inputs], [""] * len(inputs))
    photos = []
    for (name, _), explanation in zip(inputs, explanations, strict=True):
        photos.append(CheckedPhoto(name, explanation))
        on_item("heat maps", len(photos), len(inputs))
    return photos, bad_files


def _summarize(
    model: Classifier,
    data: str,
    photos: Sequence[CheckedPhoto],
    drops: NDArray[np.float64],
    empty: tuple[str, ...],
    bad_files: tuple[tuple[str, str], ...],
) -> HeatMapCheck:
    """Return the check from the drops (N, 3, S) of N photographs, 0 to 1."""
    points = 100 * drops.mean(2)
    scores = tuple(
        PhotoScore(
            path=photo.name,
            predicted=photo.explanation.label,
            probability=photo.explanation.probability,
            drop_points=float(row[0]),
            random_drop_points=float(row[1]),
            other_drop_points=float(row[2]),
            border_heat_pct=border_heat_pct(photo.explanation.heat_map),
        )
        for photo, row in zip(photos, points, strict=True)
    )
    over_random = mean_interval((points[:, 0] - points[:, 1]).tolist())
    areas = [100 * border_mask(photo.explanation.heat_map.shape).mean() for photo in photos]
    return HeatMapCheck(
        model=model.file.name,
        model_sha256=model.file.weights_sha256,
        license=model.file.license,
        data=data,
        layer=photos[0].explanation.layer,
        seed=SEED,
        photographs=len(photos),
        without_evidence=empty,
        rating=rate_heat_maps(over_random),
        over_random=over_random,
        over_other=mean_interval((points[:, 0] - points[:, 2]).tolist()),
        removal=removal_scores(drops),
        border_pct=BORDER_PCT,
        border_area_pct=float(np.mean(areas)),
        border_heat=mean_interval([score.border_heat_pct for score in scores]),
        photos=scores,
        bad_files=bad_files,
    )
