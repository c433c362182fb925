"""Learning curves by class on frozen features, and the gain by more photographs.

Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.curation.labeled_photos import LabeledPhotos
from resnetlab.curation.probe import FOLDS, choose_regularization, fit_classifier, reduce_features
from resnetlab.curation.results import ClassCurve, LearningCurveReport
from resnetlab.data.stratify import assign_folds
from resnetlab.errors import input_error
from resnetlab.messages import ItemCallback, format_count, silent
from resnetlab.stats.learning_curve import fit_power_laws

MORE = 50
"""Number of additional photographs of each class."""

FRACTIONS = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Fractions of the train photographs of each class at which the error is measured."""

DRAWS = 5
"""Number of repeated draws of folds and of train photographs."""

RESAMPLES = 1_000
"""Number of bootstrap samples."""

MIN_PHOTOS = 20
"""Number of photographs (groups count once) that a class needs for a curve of its own."""

MAX_WIDTH_POINTS = 15.0
"""Largest width of an interval, in percentage points, that is reported as an answer."""

OVERALL = "all classes"
"""Name of the curve over all photographs."""

METHOD = (
    f"A logistic regression on frozen features is fitted to growing parts of the photographs, in "
    f"{DRAWS} draws of {FOLDS} folds that keep copies and groups together; the photographs of the "
    "other fold measure the error. All classes grow in the same proportion. An inverse power law "
    "(Figueroa et al. 2012) is fitted to each curve and extrapolated. The interval, 95 %, is that "
    f"of {RESAMPLES:,} bootstrap samples of photographs and draws. Whether a curve has a floor "
    "cannot be seen at these numbers of photographs, so a law with a floor and one without are "
    "fitted to each sample, and the interval contains the gains of both. A fine-tuned network may "
    "gain more or less than this classifier."
)
"""Method in sentences, for a page."""


@dataclass(frozen=True)
class MeasuredCurves:
    """Errors of classifiers that were fitted to growing numbers of photographs."""

    wrong: NDArray[np.bool_]
    """True for a photograph that is not recognized: (draws, S, N)."""
    sizes: NDArray[np.float64]
    """Mean number of train photographs of each class at each fraction (S, K)."""


@dataclass(frozen=True)
class Extrapolation:
    """Bootstrap samples of a curve: errors now and with more photographs, from 0 to 1.

    The first element of each array comes from the measured curve itself, the others are samples.
    """

    now: NDArray[np.float64]
    later: NDArray[np.float64]
    decline: NDArray[np.float64]
    """Measured error at the smallest size minus that at the largest."""
    now_without_floor: NDArray[np.float64]
    later_without_floor: NDArray[np.float64]
    """The two errors by laws without a floor."""

    @property
    def gains(self) -> NDArray[np.float64]:
        """Decrease of the error by more photographs."""
        return self.now - self.later

    @property
    def gain_interval(self) -> tuple[float, float]:
        """Ends of the 95 % interval of the gain, by both laws."""
        return two_law_interval(self.gains, self.now_without_floor - self.later_without_floor)

    @property
    def later_interval(self) -> tuple[float, float]:
        """Ends of the 95 % interval of the error with more photographs."""
        return two_law_interval(self.later, self.later_without_floor)


def two_law_interval(
    values: NDArray[np.float64], values_without_floor: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the 95 % interval of the samples of a value (B,) under either of two laws.

    A fit whose floor may not be negative takes a part of the noise for a floor, so that it
    flattens too early where there is no floor: its intervals lie too low, and were never too high
    in simulations.
    """
    both = np.stack([values, values_without_floor])[:, 1:]
    return float(np.quantile(both.min(0), 0.025)), float(np.quantile(both.max(0), 0.975))


def measure_curves(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    groups: NDArray[np.int64],
    *,
    draws: int = DRAWS,
    on_item: ItemCallback = silent,
) -> MeasuredCurves:
    """Measure learning curves by cross-validation.

    The penalty is that with the lowest out-of-fold cross-entropy on all photographs.

    Args:
        features: Features (N, F).
        labels: Labels (N,).
        classes: Names of the K classes.
        groups: Number of the group of each photograph (N,).
        draws: Number of draws of the folds.
        on_item: Callback for the progress.
    """
    reduced = reduce_features(features)
    regularization, _ = choose_regularization(reduced, labels, classes, groups)
    wrong = np.ones((draws, len(FRACTIONS), len(labels)), np.bool_)
    sizes = np.zeros((len(FRACTIONS), len(classes)))
    for draw in range(draws):
        folds = assign_folds(labels, classes, FOLDS, draw, groups)
        generator = np.random.default_rng(draw)
        for fold in range(FOLDS):
            order = _random_order(labels, groups, np.flatnonzero(folds != fold), generator)
            inside = np.flatnonzero(folds == fold)
            for number, fraction in enumerate(FRACTIONS):
                chosen = _first_of_each_class(order, fraction)
                sizes[number] += np.bincount(labels[chosen], minlength=len(classes))
                if len(inside) and len(np.unique(labels[chosen])) > 1:
                    model = fit_classifier(reduced[chosen], labels[chosen], regularization)
                    wrong[draw, number, inside] = model.predict(reduced[inside]) != labels[inside]
            on_item("fits", draw * FOLDS + fold + 1, draws * FOLDS)
    return MeasuredCurves(wrong, sizes / (draws * FOLDS))


def extrapolate(
    wrong: NDArray[np.bool_],
    sizes: NDArray[np.float64],
    groups: NDArray[np.int64],
    now: float,
    later: float,
    seed: int = 0,
) -> Extrapolation:
    """Extrapolate a measured curve, with bootstrap samples of groups of photographs and of draws.

    Args:
        wrong: True for a photograph that is not recognized (draws, S, M).
        sizes: Numbers of train photographs (S,).
        groups: Number of the group of each photograph (M,).
        now: Present number of photographs.
        later: Number of photographs to extrapolate to.
        seed: Seed of the bootstrap.
    """
    generator = np.random.default_rng(seed)
    draws, _, images = wrong.shape
    members = np.unique(groups, return_inverse=True)[1]
    count = int(members.max()) + 1
    drawn = generator.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    image_weights = np.concatenate([np.ones((1, images)), drawn[:, members]])
    draw_weights = generator.multinomial(draws, np.full(draws, 1 / draws), RESAMPLES)
    draw_weights = np.concatenate([np.ones((1, draws), np.int64), draw_weights])
    totals = image_weights.sum(1)
    by_draw = np.einsum("dsm,bm->bds", wrong.astype(np.float64), image_weights, optimize=True)
    errors = np.einsum("bds,bd->bs", by_draw, draw_weights) / (totals[:, None] * draws)
    laws = fit_power_laws(sizes, errors)
    others = fit_power_laws(sizes, errors, with_floor=False)
    return Extrapolation(
        now=laws.predict(now),
        later=laws.predict(later),
        decline=errors[:, 0] - errors[:, -1],
        now_without_floor=others.predict(now),
        later_without_floor=others.predict(later),
    )


def estimate_gains(
    labeled: LabeledPhotos,
    features: NDArray[np.float32],
    model: str,
    *,
    on_item: ItemCallback = silent,
) -> LearningCurveReport:
    """Estimate by class what more photographs are worth.

    Args:
        labeled: Photographs (N) with their labels and groups.
        features: Frozen features (N, F).
        model: Name of the network that computed them.
        on_item: Callback for the progress.

    Raises:
        InputError: No class has enough photographs for a curve.
    """
    labels, classes, groups = labeled.labels, labeled.classes, labeled.groups
    counts = np.array([len(np.unique(groups[labels == k])) for k in range(len(classes))])
    if counts.max() < MIN_PHOTOS:
        message = (
            f"no class has {MIN_PHOTOS} photographs, so the data cannot tell what more are worth"
        )
        fix = "add photographs; near copies and a group count once"
        raise input_error(str(labeled.photos.root), message, fix, got=str(counts.max()))
    curves = measure_curves(features, labels, classes, groups, on_item=on_item)
    rows, samples = [], dict[str, NDArray[np.float64]]()
    for k, name in enumerate(classes):
        is_class = labels == k
        row, gains = _describe_curve(
            name, curves.wrong[:, :, is_class], curves.sizes[:, k], groups[is_class], k
        )
        rows.append(row)
        if gains is not None:
            samples[name] = gains
    mean_sizes = curves.sizes.mean(1)
    overall, _ = _describe_curve(OVERALL, curves.wrong, mean_sizes, groups, len(classes))
    return LearningCurveReport(
        data=labeled.name,
        model=model,
        images=len(labels),
        more=MORE,
        draws=DRAWS,
        answer=_answer(rows, samples),
        overall=overall,
        classes=tuple(rows),
    )


def _random_order(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    train: NDArray[np.intp],
    generator: np.random.Generator,
) -> list[NDArray[np.intp]]:
    """Return the train photographs of each class in a random order, group by group."""
    ranks = generator.permutation(int(groups.max()) + 1)[groups[train]]
    ordered = train[np.argsort(ranks, kind="stable")]
    return [ordered[labels[ordered] == k] for k in np.unique(labels[ordered])]


def _first_of_each_class(order: Sequence[NDArray[np.intp]], fraction: float) -> NDArray[np.intp]:
    """Return a fraction of the photographs of each class, at least one, in the order of indices."""
    parts = [one[: max(1, round(fraction * len(one)))] for one in order]
    return np.sort(np.concatenate(parts))


def _describe_curve(
    name: str,
    wrong: NDArray[np.bool_],
    sizes: NDArray[np.float64],
    groups: NDArray[np.int64],
    seed: int,
) -> tuple[ClassCurve, NDArray[np.float64] | None]:
    """Return the curve of a class with an answer, and samples of the gain if there is one."""
    images, independent = wrong.shape[2], len(np.unique(groups))
    present = images if name != OVERALL else round(float(sizes[-1]) * FOLDS / (FOLDS - 1))
    errors = wrong.mean((0, 2))
    curve = {
        "name": name,
        "images": images,
        "sizes": tuple(max(1, round(float(size))) for size in sizes),
        "errors_pct": tuple(float(100 * error) for error in errors),
    }
    if independent < MIN_PHOTOS:
        counted = format_count(independent, "photograph")
        answer = (
            f"{name} has {counted} (near copies and a group count once): with fewer than "
            f"{MIN_PHOTOS} the data cannot tell what {MORE} more are worth."
        )
        return ClassCurve(**curve, answer=answer), None
    result = extrapolate(wrong, sizes, groups, present, present + MORE, seed)
    low, high = (100 * end for end in result.gain_interval)
    decline_low = float(np.quantile(result.decline[1:], 0.025))
    now, later = float(100 * result.now[0]), float(100 * result.later[0])
    if decline_low <= 0 or high - low > MAX_WIDTH_POINTS:
        reason = "flat or noisy" if decline_low <= 0 else "too noisy to be extrapolated"
        answer = (
            f"The curve of {name} is {reason}: the data cannot tell what {MORE} more photographs "
            f"are worth. Its error is about {now:.1f} %, which is all that they could gain."
        )
        return ClassCurve(**curve, error_pct=now, answer=answer), None
    answer = (
        f"{MORE} more photographs of {name} would lower its error from {now:.1f} % to "
        f"{later:.1f} %: {now - later:.1f} points [{low:.1f}, {high:.1f}]."
    )
    described = ClassCurve(
        **curve,
        error_pct=now,
        more_error_pct=later,
        gain_points=now - later,
        gain_low_points=low,
        gain_high_points=high,
        answer=answer,
    )
    return described, result.gains[1:]


def _answer(rows: Sequence[ClassCurve], samples: dict[str, NDArray[np.float64]]) -> str:
    """Return the sentence that says which class gains most."""
    known = [row for row in rows if row.gain_points is not None]
    if not known:
        return (
            f"The data cannot tell which class gains most by {MORE} more photographs: no curve of "
            "a class falls clearly."
        )
    best = max(known, key=lambda row: row.gain_points or 0.0)
    largest = np.stack([samples[row.name] for row in known]).argmax(0)
    share = float((largest == known.index(best)).mean())
    unknown = len(rows) - len(known)
    rest = f" For {format_count(unknown, 'class')} the data cannot tell." if unknown else ""
    return (
        f"{best.name} gains most by {MORE} more photographs: {best.gain_points:.1f} points "
        f"[{best.gain_low_points:.1f}, {best.gain_high_points:.1f}]. It is first in "
        f"{100 * share:.0f} % of the bootstrap samples, among {format_count(len(known), 'class')}."
        f"{rest}"
    )
