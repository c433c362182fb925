"""Noisy linear imputation: removed pixels become like their neighbors (ROAD, Rong et al. 2022).

A removed part that is painted black or gray has an edge, by which a network can still recognize
its shape. An imputed part has none. Free of torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEIGHBORS = (
    *((dy, dx, 1 / 6) for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))),
    *((dy, dx, 1 / 12) for dy, dx in ((-1, -1), (-1, 1), (1, -1), (1, 1))),
)
"""Row offset, column offset and weight of each neighbor (Rong et al. 2022, sec. 4.2)."""

NOISE_LEVELS = 2.55
"""Standard deviation of the noise in levels of 255: 0.01 of the range, as in the authors' code."""


def impute(
    pixels: NDArray[np.uint8], removed: NDArray[np.bool_], generator: np.random.Generator | None
) -> NDArray[np.uint8]:
    """Return an image whose removed pixels are the weighted mean of their neighbors, with noise.

    The neighbors may be removed too, so that the removed pixels solve one system of linear
    equations. At the border of the image the weights of the neighbors within it are scaled to 1.

    Args:
        pixels: Image (H, W, C).
        removed: True for each pixel to remove (H, W); at least one pixel stays.
        generator: Generator of the noise; None adds no noise.
    """
    from scipy.sparse import csc_array
    from scipy.sparse.linalg import splu

    rows, columns = np.nonzero(removed)
    count = len(rows)
    if count == 0:
        return pixels
    number = np.full(removed.shape, -1)
    number[rows, columns] = np.arange(count)
    weights, known = np.zeros(count), np.zeros((count, pixels.shape[2]))
    entries: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for dy, dx, weight in NEIGHBORS:
        y, x = rows + dy, columns + dx
        (inside,) = np.nonzero(
            (y >= 0) & (y < removed.shape[0]) & (x >= 0) & (x < removed.shape[1])
        )
        y, x = y[inside], x[inside]
        weights[inside] += weight
        neighbor = number[y, x]
        stays = neighbor < 0
        known[inside[stays]] += weight * pixels[y[stays], x[stays]]
        entries.append((inside[~stays], neighbor[~stays], np.full((~stays).sum(), -weight)))
    entries.append((np.arange(count), np.arange(count), weights))
    i, j, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    matrix = csc_array((values, (i, j)), shape=(count, count))
    # The matrix is symmetric and diagonally dominant, so that no rows need to be exchanged.
    factors = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    solution = factors.solve(known)
    if generator is not None:
        solution += generator.normal(0, NOISE_LEVELS, solution.shape)
    imputed = pixels.copy()
    imputed[rows, columns] = solution.round().clip(0, 255).astype(np.uint8)
    return imputed
