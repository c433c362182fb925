"""Linear classifier whose change from given weights is penalized. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_ITERATIONS = 500

TOLERANCE = 1e-9
"""Relative decrease of the objective below which a fit ends."""

SMALLEST_VARIANCE = 1e-12
"""Smallest variance of a direction, as a share of the largest: smaller ones are rounding errors."""


@dataclass(frozen=True)
class LinearHead:
    """Linear classifier: logits = features weight^T + bias."""

    weight: NDArray[np.float64]
    """Weights (K, F)."""
    bias: NDArray[np.float64]
    """Biases (K,)."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the logits (N, K) of features (N, F)."""
        result: NDArray[np.float64] = features.astype(np.float64) @ self.weight.T + self.bias
        return result

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the softmax (N, K) of the logits."""
        logits = self.logits(features)
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        result: NDArray[np.float64] = exponentials / exponentials.sum(1, keepdims=True)
        return result

    def with_outputs(self, outputs: int) -> LinearHead:
        """Return the classifier with more outputs, whose weights and biases are zero."""
        more = outputs - len(self.bias)
        weight = np.concatenate([self.weight, np.zeros((more, self.weight.shape[1]))])
        return LinearHead(weight, np.concatenate([self.bias, np.zeros(more)]))


def fit_near(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    start: LinearHead,
    penalties: Sequence[float],
) -> Iterator[LinearHead]:
    """Fit softmax classifiers that stay near given weights, one for each penalty.

    Each minimizes the mean cross-entropy plus penalty / 2 x s x ||W - W_0||^2, in which s is the
    mean squared norm of the features, so that the penalty has no unit. A penalty on the change
    keeps what the weights knew (Li et al. 2018, "Explicit inductive bias for transfer learning with
    convolutional networks", L2-SP). Biases are free. The problem is convex. L-BFGS starts at W_0
    for the first penalty, and at the solution of the one before for each other.

    Args:
        features: Features (N, F).
        labels: Labels (N,), from 0 to K - 1.
        start: Classifier of K outputs.
        penalties: Strengths of the penalty, above 0; fastest from the largest to the smallest.

    Yields:
        The classifier of each penalty.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    rows = features.astype(np.float64)
    count, outputs = len(rows), len(start.bias)
    norm, mean = float((rows**2).sum(1).mean()), rows.mean(0)
    start_logits = rows @ start.weight.T + start.bias
    # The matrices are so small that several threads would mostly wait for each other.
    with threadpool_limits(1, "blas"):
        directions, variances = _principal_directions(rows - mean)
    scores = (rows - mean) @ directions  # (N, D)
    targets = np.zeros((count, outputs))
    targets[np.arange(count), labels] = 1.0
    # The change of the weights lies in the span of the features: W - W_0 = change directions^T.
    change, shift = np.zeros((outputs, scores.shape[1])), np.zeros(outputs)
    for penalty in penalties:
        scale = penalty * norm
        # The curvature along a direction is at most variance / 2 + scale. In units of its root, all
        # directions are alike, and L-BFGS needs tens of steps instead of hundreds.
        units = 1 / np.sqrt(variances / 2 + scale)
        with threadpool_limits(1, "blas"):
            result = minimize(
                _penalized_loss,
                np.concatenate([(change / units).ravel(), shift]),
                args=(scores * units, start_logits, targets, scale * units**2),
                jac=True,
                method="L-BFGS-B",
                options={
                    "maxiter": MAX_ITERATIONS,
                    "maxfun": 2 * MAX_ITERATIONS,
                    "ftol": TOLERANCE,
                },
            )
        change = result.x[:-outputs].reshape(outputs, -1) * units
        shift = result.x[-outputs:]
        weight = change @ directions.T
        yield LinearHead(start.weight + weight, start.bias + shift - weight @ mean)


def _penalized_loss(
    values: NDArray[np.float64],
    scores: NDArray[np.float64],
    start_logits: NDArray[np.float64],
    targets: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> tuple[float, NDArray[np.float64]]:
    """Return the mean cross-entropy with the penalty, and its gradient.

    Args:
        values: Change of the weights (K, D), then that of the biases (K,), as one array.
        scores: Features in the units of the change (N, D).
        start_logits: Logits without the change (N, K).
        targets: Labels as indicators (N, K).
        weights: Weight of each squared change in the penalty (D,).
    """
    count, outputs = targets.shape
    change, shift = values[:-outputs].reshape(outputs, -1), values[-outputs:]
    logits = start_logits + scores @ change.T + shift
    logits -= logits.max(1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss = -float((targets * log_probabilities).sum()) / count
    loss += float((weights * change**2).sum()) / 2
    errors = (np.exp(log_probabilities) - targets) / count
    gradient = errors.T @ scores + weights * change
    return loss, np.concatenate([gradient.ravel(), errors.sum(0)])


def _principal_directions(
    centered: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return orthonormal directions (F, D) that span centered rows (N, F), and the variance of the
    rows along each (D,).
    """
    count, size = centered.shape
    if size <= count:
        variances, directions = np.linalg.eigh(centered.T @ centered / count)
        return directions, np.maximum(variances, 0)
    variances, left = np.linalg.eigh(centered @ centered.T / count)
    used = variances > SMALLEST_VARIANCE * variances[-1]
    directions = centered.T @ left[:, used] / np.sqrt(count * variances[used])
    return directions, variances[used]
