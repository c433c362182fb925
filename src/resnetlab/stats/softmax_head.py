"""Linear classifier whose change from given weights is penalized. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_ITERATIONS = 500


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
    features: NDArray[np.float32], labels: NDArray[np.int64], start: LinearHead, penalty: float
) -> LinearHead:
    """Fit a softmax classifier that stays near given weights.

    It minimizes the mean cross-entropy plus penalty / 2 x s x ||W - W_0||^2, in which s is the mean
    squared norm of the features, so that the penalty has no unit. A penalty on the change keeps
    what the weights knew (Li et al. 2018, "Explicit inductive bias for transfer learning with
    convolutional networks", L2-SP). Biases are free. The problem is convex; L-BFGS starts at W_0.

    Args:
        features: Features (N, F).
        labels: Labels (N,), from 0 to K - 1.
        start: Classifier of K outputs.
        penalty: Strength of the penalty, above 0.
    """
    from scipy.optimize import minimize

    rows = features.astype(np.float64)
    count, outputs = len(rows), len(start.bias)
    scale = penalty * float((rows**2).sum(1).mean())
    targets = np.zeros((count, outputs))
    targets[np.arange(count), labels] = 1.0

    def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = values[: start.weight.size].reshape(outputs, -1), values[-outputs:]
        logits = rows @ weight.T + bias
        logits -= logits.max(1, keepdims=True)
        log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        change = weight - start.weight
        loss = -float((targets * log_probabilities).sum()) / count
        loss += scale / 2 * float((change**2).sum())
        errors = (np.exp(log_probabilities) - targets) / count
        gradient = errors.T @ rows + scale * change
        return loss, np.concatenate([gradient.ravel(), errors.sum(0)])

    result = minimize(
        objective,
        np.concatenate([start.weight.ravel(), start.bias]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS},
    )
    weight = result.x[: start.weight.size].reshape(outputs, -1)
    return LinearHead(weight, result.x[-outputs:])
