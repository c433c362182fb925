"""Scores of heat maps: are they better than random maps, and does their heat lie on the border?

The pixels with the most heat are removed first, and the probability of the explained class should
then fall faster than after the removal of as many pixels by a random map (Samek et al. 2017; Rong
et al. 2022). Free of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnetlab.deploy.explain.imputation import impute
from resnetlab.model_folder.model_file import License
from resnetlab.schema import strict_dataclass
from resnetlab.stats.intervals import mean, t_interval

REMOVED_PCT = (10.0, 30.0, 50.0, 70.0)
"""Shares of the pixels that are removed, in percent."""

BORDER_PCT = 20.0
"""Width of the frame at each side of the image, in percent of the side."""

ProbabilityFunction = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""Function from images (N, H, W, C) to the probability of each class (N, K)."""

HeatMap = NDArray[np.float32]
"""Heat map (H, W), 0 to 1."""

HeatMapRating = Literal["better", "undecided", "worse"]
"""Rating of heat maps against random maps, by the interval of the mean difference."""


@strict_dataclass
class Mean:
    """Mean over photographs with its 95 % interval (Student's t)."""

    mean: float
    low: float
    high: float


@strict_dataclass
class RemovalScore:
    """Mean drop of the probability of the predicted class, in percentage points, after the removal
    of a share of the pixels.
    """

    removed_pct: float
    """Share of the pixels that are removed."""
    drop: Mean
    """Drop by the heat map of the photograph."""
    random_drop: Mean
    """Drop by a random map: the map of another photograph, shifted at random."""
    other_drop: Mean
    """Drop by the map of another photograph, not shifted."""
    over_random: Mean
    """Difference of `drop` and `random_drop`, paired by photograph."""
    over_other: Mean
    """Difference of `drop` and `other_drop`, paired by photograph."""


@strict_dataclass
class PhotoScore:
    """Scores of one photograph: drops in percentage points, means over the removed shares."""

    path: str
    predicted: str
    probability: float
    drop_points: float
    random_drop_points: float
    other_drop_points: float
    border_heat_pct: float
    """Share of the heat that lies on the frame."""


@strict_dataclass
class HeatMapCheck:
    """Content of heat-maps.json: the check of a model's heat maps on photographs."""

    schema: int = 1
    model: str
    model_sha256: str
    license: License
    data: str
    """Name of the folder of photographs."""
    layer: str
    """Layer whose features Grad-CAM weights."""
    seed: int
    photographs: int
    """Number of photographs with a heat map, which the scores are from."""
    without_evidence: tuple[str, ...] = ()
    """Photographs whose heat map is 0 everywhere. No number includes them."""
    rating: HeatMapRating
    """Rating by the interval of `over_random`."""
    over_random: Mean
    """Difference of the drops by the heat map and by a random map, mean of the removed shares, in
    percentage points.
    """
    over_other: Mean
    """Difference of the drops by the heat map and by that of another photograph, not shifted."""
    removal: tuple[RemovalScore, ...]
    border_pct: float
    """Width of the frame at each side of the image, in percent of the side."""
    border_area_pct: float
    """Share of the area that is the frame; the mean, if images differ in shape."""
    border_heat: Mean
    """Share of the heat that lies on the frame, in percent."""
    photos: tuple[PhotoScore, ...]
    bad_files: tuple[tuple[str, str], ...] = ()
    """Files that cannot be decoded, and the reason."""


def removed_pixels(
    heat: HeatMap, shares_pct: Sequence[float], generator: np.random.Generator
) -> Iterator[NDArray[np.bool_]]:
    """Yield the pixels to remove (H, W) for each share, those with the most heat first.

    Pixels of equal heat follow in a random order; a larger share contains a smaller one.
    """
    flat = heat.ravel()
    order = np.lexsort((generator.random(flat.size), -flat))
    for share in shares_pct:
        removed = np.zeros(flat.size, bool)
        removed[order[: round(share / 100 * flat.size)]] = True
        yield removed.reshape(heat.shape)


def resized_map(heat: HeatMap, shape: tuple[int, int]) -> HeatMap:
    """Return a heat map in another height and width."""
    if heat.shape == shape:
        return heat
    size = shape[1], shape[0]
    return np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR), np.float32)


def shifted_map(heat: HeatMap, generator: np.random.Generator) -> HeatMap:
    """Shift a heat map at random, around the edges, and mirror it or not.

    The values and the amplitudes of the Fourier spectrum stay those of the map, so that it is as
    smooth and as concentrated as before. Its position means nothing any more.
    """
    if generator.integers(2):
        heat = heat[:, ::-1]
    rows, columns = (int(generator.integers(side)) for side in heat.shape)
    return np.roll(heat, (rows, columns), (0, 1))


def removal_drops(
    probabilities: ProbabilityFunction,
    pixels: NDArray[np.uint8],
    maps: Sequence[HeatMap],
    label: int,
    generator: np.random.Generator,
    shares_pct: Sequence[float] = REMOVED_PCT,
) -> NDArray[np.float64]:
    """Return the drop of the probability of class `label` (M, S), 0 to 1, for M maps and S shares.

    Args:
        probabilities: Classifier.
        pixels: Image (H, W, C).
        maps: Heat maps (H, W) that order the pixels.
        label: Index of the explained class.
        generator: Generator of the order of equal pixels and of the noise.
        shares_pct: Shares of the pixels to remove, in percent.
    """
    images = [pixels]
    for heat in maps:
        images += [
            impute(pixels, removed, generator)
            for removed in removed_pixels(heat, shares_pct, generator)
        ]
    values = probabilities(np.stack(images))[:, label]
    drops: NDArray[np.float64] = values[0] - values[1:]
    return drops.reshape(len(maps), len(shares_pct))


def paired_drops(
    probabilities: ProbabilityFunction,
    inputs: Sequence[NDArray[np.uint8]],
    maps: Sequence[HeatMap],
    labels: Sequence[int],
    seed: int,
) -> Iterator[NDArray[np.float64]]:
    """Yield the drops (3, S) of each photograph, 0 to 1: by its map, by a random map, by another's.

    Each photograph is paired with another one, whose map it is compared with, as it is and shifted
    at random.

    Args:
        probabilities: Classifier.
        inputs: Image (H, W, C) of each photograph.
        maps: Heat map (H, W) of each photograph.
        labels: Index of the explained class of each photograph.
        seed: Seed of the pairs, the shifts and the noise.
    """
    generator = np.random.default_rng(seed)
    ring = generator.permutation(len(inputs))  # each photograph follows its partner
    partner = dict(zip(ring, np.roll(ring, 1), strict=True))
    for index, (pixels, heat, label) in enumerate(zip(inputs, maps, labels, strict=True)):
        other = resized_map(maps[partner[index]], heat.shape)
        compared = (heat, shifted_map(other, generator), other)
        yield removal_drops(probabilities, pixels, compared, label, generator)


def border_mask(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return True for each pixel (H, W) of the frame."""
    mask = np.ones(shape, bool)
    top, left = (round(BORDER_PCT / 100 * side) for side in shape)
    mask[top : shape[0] - top, left : shape[1] - left] = False
    return mask


def border_heat_pct(heat: HeatMap) -> float:
    """Return the share of the heat that lies on the frame, in percent."""
    values = heat.astype(np.float64)
    return float(100 * values[border_mask(heat.shape)].sum() / values.sum())


def mean_interval(values: Sequence[float]) -> Mean:
    """Return the mean of at least 2 values with its 95 % interval."""
    interval = t_interval(values)
    assert interval is not None
    return Mean(mean=mean(values), low=interval.low, high=interval.high)


def rate_heat_maps(over_random: Mean) -> HeatMapRating:
    """Return the rating: heat maps are better or worse if the interval excludes 0."""
    if over_random.low > 0:
        return "better"
    return "worse" if over_random.high < 0 else "undecided"


def removal_scores(drops: NDArray[np.float64]) -> tuple[RemovalScore, ...]:
    """Summarize the drops (N, 3, S) of N photographs, 0 to 1, for each removed share."""
    points = 100 * drops
    return tuple(
        RemovalScore(
            removed_pct=share,
            drop=mean_interval(points[:, 0, k].tolist()),
            random_drop=mean_interval(points[:, 1, k].tolist()),
            other_drop=mean_interval(points[:, 2, k].tolist()),
            over_random=mean_interval((points[:, 0, k] - points[:, 1, k]).tolist()),
            over_other=mean_interval((points[:, 0, k] - points[:, 2, k]).tolist()),
        )
        for k, share in enumerate(REMOVED_PCT)
    )


def describe_rating(check: HeatMapCheck) -> str:
    """Return the rating of the heat maps against random maps, without a full stop."""
    return {
        "better": "The heat maps are better than random maps",
        "undecided": "The check does not show that the heat maps are better than random maps",
        "worse": "The heat maps are worse than random maps",
    }[check.rating]


def describe_removal(check: HeatMapCheck) -> str:
    """Return the difference of the drops by the heat maps and by random maps in a sentence."""
    shares = ", ".join(f"{row.removed_pct:g}" for row in check.removal)
    return (
        "Without the pixels of most heat, the probability of the predicted class falls by "
        f"{_points(check.over_random)} more than without as many pixels by a random map "
        f"(95 % interval over {check.photographs:,} photographs, mean of {shares} % of the pixels)."
    )


def describe_other(check: HeatMapCheck) -> str:
    """Return the comparison with the map of another photograph in a sentence."""
    difference = f"the difference is {_points(check.over_other)}"
    match rate_heat_maps(check.over_other):
        case "better":
            return (
                f"The maps depend on the photograph: against the map of another one, {difference}."
            )
        case "worse":
            return f"The map of another photograph is better: {difference}."
        case "undecided":
            return (
                "The check does not show that the maps are better than that of another photograph: "
                f"{difference}."
            )


BORDER_CAVEAT = (
    "The frame is not the background: an object may reach into it, and background may lie in the "
    "middle. So this share alone does not show what a network looks at."
)


def describe_border(check: HeatMapCheck) -> str:
    """Return the share of the heat on the frame in a sentence."""
    heat = check.border_heat
    relation = "about as much as"
    if heat.high < check.border_area_pct:
        relation = "less than"
    elif heat.low > check.border_area_pct:
        relation = "more than"
    return (
        f"The outer {check.border_pct:g} % at each side have {heat.mean:.1f} % "
        f"[{heat.low:.1f}, {heat.high:.1f}] of the heat, {relation} their share of the area, "
        f"{check.border_area_pct:.1f} %."
    )


def _points(value: Mean) -> str:
    return f"{value.mean:.1f} [{value.low:.1f}, {value.high:.1f}] points"
