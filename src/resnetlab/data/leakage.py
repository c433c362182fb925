"""Estimate of how much a random split flatters a classifier where images belong to groups.

A test image with an image of its group in train is easier than a new one. The estimate compares a
nearest-neighbor classifier on small images that may use the groups with one that may not. Free of
torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnetlab.data.near_copies import standardize_rows

TEST_FRACTION = 0.15
"""Fraction of the images that the random split tests."""
MAX_QUERIES = 2_000
"""Maximum number of images whose nearest neighbors are sought."""
RESAMPLES = 2_000
"""Number of bootstrap samples of the groups."""
SIDE = 16
"""Side in pixels of the images that are compared."""


@dataclass(frozen=True)
class LeakageEstimate:
    """Accuracy in percent of a nearest neighbor of any group and of another group.

    The interval of the difference, in points, has 95 % by a bootstrap over groups.
    """

    groups: int
    largest_group: int
    leaked_pct: float
    """Percentage of the test images of a random split with an image of their group in train."""
    nearest_of_all_pct: float
    nearest_of_other_groups_pct: float
    gain_low_points: float
    gain_high_points: float

    @property
    def gain_points(self) -> float:
        """Difference of the two accuracies in percentage points."""
        return self.nearest_of_all_pct - self.nearest_of_other_groups_pct

    def sentence(self) -> str:
        """Describe the estimate."""
        return (
            f"a random split that ignores the groups (the largest of {self.groups:,} has "
            f"{self.largest_group:,} images) would flatter: {self.leaked_pct:.0f} % of its test "
            "images would have an image of their group in train; a nearest-neighbor classifier on "
            f"{SIDE} x {SIDE} pixels gains {self.gain_points:.1f} points "
            f"[{self.gain_low_points:.1f}, {self.gain_high_points:.1f}] by them (95 %, bootstrap "
            "over groups); a network may gain more or less"
        )


def estimate_leakage(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> LeakageEstimate | None:
    """Estimate the effect of a random split of images (N, H, W, C) with `labels` (N,).

    Returns None if every group has one image, or if one group has all images.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if sizes.max(initial=1) == 1 or len(sizes) == 1:
        return None
    generator = np.random.default_rng(0)
    features = _features(pixels)
    queries = np.sort(generator.permutation(len(labels))[:MAX_QUERIES])
    any_right, other_right = _nearest_neighbor_hits(features, labels, group, queries)
    clusters, cluster = np.unique(group[queries], return_inverse=True)
    totals = np.bincount(cluster, minlength=len(clusters))
    gains = np.bincount(cluster, any_right.astype(float) - other_right, minlength=len(clusters))
    drawn = generator.integers(len(clusters), size=(RESAMPLES, len(clusters)))
    resampled = 100 * gains[drawn].sum(1) / totals[drawn].sum(1)
    low, high = np.quantile(resampled, (0.025, 0.975))
    leaked = 1 - TEST_FRACTION ** (sizes[group] - 1.0)
    return LeakageEstimate(
        groups=len(sizes),
        largest_group=int(sizes.max()),
        leaked_pct=float(100 * leaked.mean()),
        nearest_of_all_pct=float(100 * any_right.mean()),
        nearest_of_other_groups_pct=float(100 * other_right.mean()),
        gain_low_points=float(low),
        gain_high_points=float(high),
    )


def _features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the images as vectors of mean 0 and length 1, (N, 16 x 16 x C)."""
    images = (Image.fromarray(image[..., 0] if image.shape[2] == 1 else image) for image in pixels)
    size, box = (SIDE, SIDE), Image.Resampling.BOX
    flat = np.stack([np.asarray(image.resize(size, box), np.float32).ravel() for image in images])
    return standardize_rows(flat)


def _nearest_neighbor_hits(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    group: NDArray[np.intp],
    queries: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return if the nearest other image has the label of each query, and the nearest image of
    another group.
    """
    hits: list[list[bool]] = [[], []]
    for query in queries:
        similarity = features @ features[query]
        similarity[query] = -np.inf
        hits[0].append(bool(labels[similarity.argmax()] == labels[query]))
        similarity[group == group[query]] = -np.inf
        hits[1].append(bool(labels[similarity.argmax()] == labels[query]))
    return np.array(hits[0]), np.array(hits[1])
