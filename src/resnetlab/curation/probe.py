"""Logistic regression on frozen features, and its out-of-fold probabilities.

Free of torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.stratify import assign_folds
from resnetlab.errors import input_error
from resnetlab.messages import ItemCallback, silent

MAX_COMPONENTS = 256
"""Number of principal components that are kept of longer features: a fit on them is faster."""

REGULARIZATIONS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Inverse strengths C of the L2 penalty, for features of mean squared norm 1. The one with the
lowest out-of-fold cross-entropy is taken."""

FOLDS = 5
"""Number of folds, as in cleanlab."""

REPEATS = 3
"""Number of draws of the folds over which the probabilities are averaged."""

LEFT_OUT_MARGIN = -0.5
"""Margin of a label at or below which the second pass does not fit on it: pruning as in confident
learning (Northcutt et al. 2021, "Confident learning", sec. 3.2)."""

SMALLEST = 1e-12
"""Smallest probability in a logarithm."""

MAX_ITERATIONS = 300
TOLERANCE = 1e-3


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold probabilities (N, K): each photograph's come from fits without its group."""

    probabilities: NDArray[np.float64]
    is_predicted: NDArray[np.bool_]
    """True for each photograph (N,) that was predicted by classifiers fitted on its class; False if
    its class had no other group to fit on.
    """
    regularization: float
    """Inverse strength C of the penalty that was chosen."""


def reduce_features(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return standardized features, or their first principal components, of mean squared norm 1.

    No label is used.

    Args:
        features: Features (N, F).

    Returns:
        Array (N, min(F, `MAX_COMPONENTS`)).
    """
    centered = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    deviation = centered.std(0)
    standard = centered / np.where(deviation > 0, deviation, 1.0)
    if standard.shape[1] > MAX_COMPONENTS:
        _, vectors = np.linalg.eigh(standard.T @ standard)  # ascending eigenvalues
        standard = standard @ vectors[:, ::-1][:, :MAX_COMPONENTS]
    norm = float((standard**2).sum(1).mean())
    result: NDArray[np.float64] = standard / np.sqrt(norm if norm > 0 else 1.0)
    return result


def fit_classifier(
    features: NDArray[np.float64], labels: NDArray[np.int64], regularization: float
) -> Any:
    """Fit a multinomial logistic regression with an L2 penalty (scikit-learn).

    Args:
        features: Features (N, D).
        labels: Labels (N,) of two classes or more.
        regularization: Inverse strength C of the penalty.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Weakly regularized fits stop early; the choice of the penalty rarely takes them.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=regularization, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
        return model.fit(features, labels)


def predict_probabilities(
    model: Any, features: NDArray[np.float64], num_classes: int
) -> NDArray[np.float64]:
    """Return the probabilities (N, K) of a classifier; 0 for a class that it was not fitted on."""
    probabilities = np.zeros((len(features), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(features)
    return probabilities


def choose_regularization(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    groups: NDArray[np.int64],
    on_item: ItemCallback = silent,
) -> tuple[float, NDArray[np.float64]]:
    """Return the inverse strength C with the lowest out-of-fold cross-entropy, and the
    probabilities (N, K) of that fit.

    Args:
        features: Reduced features (N, D).
        labels: Labels (N,).
        classes: Names of the K classes.
        groups: Number of the group of each photograph (N,).
        on_item: Callback for the progress.

    Raises:
        InputError: No class has photographs of two groups, so no label can be checked.
    """
    rows, use_all = np.arange(len(labels)), np.ones(len(labels), np.bool_)
    best, best_loss, best_probabilities = REGULARIZATIONS[0], np.inf, np.empty((0, 0))
    for number, regularization in enumerate(REGULARIZATIONS):
        probabilities, is_predicted = _one_draw(
            features, labels, classes, groups, 0, regularization, use_all
        )
        if not is_predicted.any():
            fix = "add photographs to each class, or give groups that are smaller"
            message = (
                "no class has photographs of two groups, so none can be predicted by the others"
            )
            raise input_error("the photographs", message, fix)
        losses = -np.log(np.maximum(probabilities[rows, labels], SMALLEST))
        loss = float(losses[is_predicted].mean())
        if loss < best_loss:
            best, best_loss, best_probabilities = regularization, loss, probabilities
        on_item("penalties tried", number + 1, len(REGULARIZATIONS))
    return best, best_probabilities


def out_of_fold(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    groups: NDArray[np.int64],
    *,
    repeats: int = REPEATS,
    on_item: ItemCallback = silent,
) -> OutOfFold:
    """Compute out-of-fold probabilities by a logistic regression on features.

    The folds are stratified by class and keep the photographs of a group together. A first pass
    chooses the penalty and leaves labels out of the fits that are most probably wrong; a second one
    averages the probabilities over draws of the folds.

    Args:
        features: Features (N, F).
        labels: Labels (N,).
        classes: Names of the K classes.
        groups: Number of the group of each photograph (N,).
        repeats: Number of draws of the folds.
        on_item: Callback for the progress.
    """
    reduced = reduce_features(features)
    regularization, first = choose_regularization(reduced, labels, classes, groups, on_item)
    fitted = label_margins(first, labels) > LEFT_OUT_MARGIN
    probabilities = np.zeros((len(labels), len(classes)))
    is_predicted = np.ones(len(labels), np.bool_)
    for seed in range(repeats):
        draw, is_predicted_by_draw = _one_draw(
            reduced, labels, classes, groups, seed, regularization, fitted
        )
        probabilities += draw / repeats
        is_predicted &= is_predicted_by_draw
        on_item("draws of the folds", seed + 1, repeats)
    return OutOfFold(probabilities, is_predicted, regularization)


def label_margins(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the probability of each label minus the largest of another class (N,).

    Args:
        probabilities: Probabilities (N, K).
        labels: Labels (N,).
    """
    given, other = _label_and_other(probabilities, labels)
    return given - other


def label_log_odds(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return log p(label) - log p(most probable other class) (N,): negative for a suspect.

    Args:
        probabilities: Probabilities (N, K).
        labels: Labels (N,).
    """
    given, other = _label_and_other(probabilities, labels)
    odds: NDArray[np.float64] = np.log(np.maximum(given, SMALLEST))
    return odds - np.log(np.maximum(other, SMALLEST))


def _label_and_other(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probability of each label and the largest of another class, both (N,)."""
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    return probabilities[rows, labels], others.max(1)


def _one_draw(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    groups: NDArray[np.int64],
    seed: int,
    regularization: float,
    fitted: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the probabilities (N, K) of one draw of the folds, and True for each photograph (N,)
    whose class its classifier was fitted on. Photographs outside `fitted` (N,) are in no fit.
    """
    folds = assign_folds(labels, classes, FOLDS, seed, groups)
    probabilities = np.zeros((len(labels), len(classes)))
    is_predicted = np.zeros(len(labels), np.bool_)
    for fold in np.unique(folds):
        inside, train = folds == fold, (folds != fold) & fitted
        if len(np.unique(labels[train])) < 2:
            continue
        model = fit_classifier(features[train], labels[train], regularization)
        probabilities[inside] = predict_probabilities(model, features[inside], len(classes))
        is_predicted[inside] = np.isin(labels[inside], model.classes_)
    return probabilities, is_predicted
