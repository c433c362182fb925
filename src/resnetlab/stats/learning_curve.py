"""Learning curves: error as an inverse power law of the number of train images. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXPONENTS = np.linspace(0.05, 2.0, 196)
"""Exponents at which the law is fitted."""


@dataclass(frozen=True)
class PowerLaws:
    """Fitted laws, error(n) = floor + scale n^-exponent, one for each of B curves.

    All three fields have the shape (B,) and no negative value, so an error never rises with n.
    """

    floor: NDArray[np.float64]
    scale: NDArray[np.float64]
    exponent: NDArray[np.float64]

    def predict(self, size: float) -> NDArray[np.float64]:
        """Return the error at `size` train images (B,)."""
        errors: NDArray[np.float64] = self.floor + self.scale * size**-self.exponent
        return errors


def fit_power_laws(
    sizes: NDArray[np.float64], errors: NDArray[np.float64], *, with_floor: bool = True
) -> PowerLaws:
    """Fit an inverse power law to each of B learning curves by weighted least squares.

    The law and the weights, which grow with the size, are those of Figueroa et al. 2012,
    "Predicting sample size required for classification performance". For each exponent of a grid
    the best floor and scale that are not negative are known in closed form.

    Args:
        sizes: Numbers of train images (S,), at least two different ones.
        errors: Errors (B, S) from 0 to 1.
        with_floor: False for laws whose floor is 0.

    Returns:
        The laws with the smallest sum of weighted squares.
    """
    weights = sizes / sizes.sum()
    floor, scale, exponent = (np.zeros(len(errors)) for _ in range(3))
    smallest = np.full(len(errors), np.inf)
    for candidate in EXPONENTS:
        powers = sizes**-candidate
        if with_floor:
            a, b = _nonnegative_line(powers, errors, weights)
        else:
            a, b = np.zeros(len(errors)), _slope_through_origin(powers, errors, weights)
        residuals = errors - a[:, None] - b[:, None] * powers
        squares = (weights * residuals**2).sum(1)
        better = squares < smallest
        smallest[better] = squares[better]
        floor[better], scale[better], exponent[better] = a[better], b[better], candidate
    return PowerLaws(floor, scale, exponent)


def _nonnegative_line(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a, b >= 0 (B,) that minimize the weighted squares of y (B, S) - a - b x (S,).

    The weights (S,) add up to 1.
    """
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum(1)
    slope = (weights * (x - mean_x) * (y - mean_y[:, None])).sum(1)
    slope /= (weights * (x - mean_x) ** 2).sum()
    through_origin = _slope_through_origin(x, y, weights)
    intercept = mean_y - slope * mean_x
    b = np.where(slope < 0, 0.0, np.where(intercept < 0, through_origin, slope))
    a = np.where(slope < 0, mean_y, np.where(intercept < 0, 0.0, intercept))
    return a, b


def _slope_through_origin(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return b (B,) that minimizes the weighted squares of y (B, S) - b x (S,)."""
    slope: NDArray[np.float64] = (weights * x * y).sum(1) / (weights * x**2).sum()
    return slope
