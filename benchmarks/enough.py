"""Measure how often the interval of an extrapolated learning curve covers what is seen later.

    PYTHONPATH=src python benchmarks/enough.py IMAGES.npz --model timm/NAME --weights FILE

IMAGES.npz has x_train, y_train, x_test, y_test and classes. In each of 20 seeds, 100 images of each
class are drawn, and the curves that they give are extrapolated to 150. What is true is the mean
error of classifiers that are fitted to 100 and to 150 images of each class, on test images that no
curve saw. Features are computed once. It writes `benchmarks/enough.json`, and ends with 1 if a
target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from PIL import Image

from resnetlab.curation.features import FeatureNetwork, open_network
from resnetlab.curation.learning_curves import (
    DRAWS,
    MAX_WIDTH_POINTS,
    MORE,
    extrapolate,
    measure_curves,
)
from resnetlab.curation.probe import choose_regularization, fit_classifier, reduce_features
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.files import sha256
from resnetlab.finetuning.network.frozen_features import BATCH_SIZE

SEEDS, PER_CLASS, POOL, TEST, TRUTH_DRAWS, SIDE = 20, 100, 300, 400, 10, 64
MIN_SHARE = 0.9
"""Target: share of the intervals that cover the truth, over classes and seeds."""


def main() -> int:
    """Measure, print, write; return the exit code."""
    options = parse()
    with np.load(options.images) as file:
        arrays = {name: file[name] for name in file.files}
    classes = [str(name) for name in arrays["classes"]]
    network = open_network(options.model, options.weights, size=SIDE)
    train, train_labels = features_of(network, arrays, "train", POOL)
    test, test_labels = features_of(network, arrays, "test", TEST)
    truth = {
        size: true_errors(train, train_labels, test, test_labels, size)
        for size in (PER_CLASS, PER_CLASS + MORE)
    }
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    rows = []
    for seed in seeds:
        rows.append(measure(train, train_labels, classes, truth, seed))
        covered = [curve["later_covered"] for curve in rows[-1]["curves"]]
        print(f"seed {seed}: {sum(covered)} of {len(covered)} covered", flush=True)
    summary = summarize(rows)
    for name, value in summary.items():
        print(f"{name}: {value:.4g}")
    contents = {
        **machine(),
        "data": options.images.name,
        "data_sha256": sha256(options.images),
        "network": network.name,
        "network_identity": network.identity,
        "image_size": SIDE,
        "per_class": PER_CLASS,
        "more": MORE,
        "draws": DRAWS,
        "test_images": len(test_labels),
        "seeds": list(seeds),
        "true_errors_pct": {str(size): (100 * errors).tolist() for size, errors in truth.items()},
        "summary": summary,
        "runs": rows,
    }
    if options.first_seed == 0:
        Path(__file__).with_suffix(".json").write_text(json.dumps(contents, indent=1) + "\n")
    return int(summary["later_errors_covered"] < MIN_SHARE)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=0)
    return parser.parse_args()


def features_of(
    network: FeatureNetwork, arrays: dict[str, np.ndarray], split: str, per_class: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features and labels of the first images of each class."""
    labels = arrays[f"y_{split}"]
    chosen = np.sort(
        np.concatenate([np.flatnonzero(labels == k)[:per_class] for k in np.unique(labels)])
    )
    batches = []
    for part in np.array_split(chosen, range(BATCH_SIZE, len(chosen), BATCH_SIZE)):
        images = [Image.fromarray(pixels) for pixels in arrays[f"x_{split}"][part]]
        pixels = [apply_eval_transform(image, network.transform) for image in images]
        batches.append(network.compute(np.stack(pixels)))
    return np.concatenate(batches), labels[chosen].astype(np.int64)


def draw_sample(labels: np.ndarray, per_class: int, generator: np.random.Generator) -> np.ndarray:
    """Return the indices of so many random images of each class."""
    return np.concatenate(
        [generator.permutation(np.flatnonzero(labels == k))[:per_class] for k in np.unique(labels)]
    )


def true_errors(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, size: int
) -> np.ndarray:
    """Return the mean error by class, and at the end that of all, on test images (K + 1,)."""
    generator = np.random.default_rng(10_000)
    errors = []
    for _ in range(TRUTH_DRAWS):
        chosen = draw_sample(labels, size, generator)
        names = [str(k) for k in np.unique(labels)]
        rows = labels[chosen], names, np.arange(len(chosen))
        regularization, _ = choose_regularization(reduce_features(train[chosen]), *rows)
        both = reduce_features(np.concatenate([train[chosen], test]))
        model = fit_classifier(both[: len(chosen)], labels[chosen], regularization)
        wrong = model.predict(both[len(chosen) :]) != test_labels
        by_class = [wrong[test_labels == k].mean() for k in np.unique(labels)]
        errors.append([*by_class, wrong.mean()])
    return np.mean(errors, axis=0)


def measure(
    features: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    truth: dict[int, np.ndarray],
    seed: int,
) -> dict[str, Any]:
    """Return the intervals of one draw beside the truth, by class and at the end of all."""
    start = time.monotonic()
    chosen = draw_sample(labels, PER_CLASS, np.random.default_rng(seed))
    few, few_labels, groups = features[chosen], labels[chosen], np.arange(len(chosen))
    curves = measure_curves(few, few_labels, classes, groups)
    rows = []
    for k in range(len(classes) + 1):
        member = few_labels == k if k < len(classes) else np.ones(len(chosen), np.bool_)
        sizes = curves.sizes[:, k] if k < len(classes) else curves.sizes.mean(1)
        result = extrapolate(
            curves.wrong[:, :, member], sizes, groups[member], PER_CLASS, PER_CLASS + MORE, k
        )
        later, gains = result.later_interval, result.gain_interval
        answered = (
            np.quantile(result.decline[1:], 0.025) > 0
            and 100 * (gains[1] - gains[0]) <= MAX_WIDTH_POINTS
        )
        true_later = truth[PER_CLASS + MORE][k]
        true_gain = truth[PER_CLASS][k] - true_later
        rows.append(
            {
                "class": classes[k] if k < len(classes) else "all",
                "answered": bool(answered),
                "later_pct": [100 * end for end in later],
                "later_covered": bool(later[0] <= true_later <= later[1]),
                "gain_points": [100 * end for end in gains],
                "gain_covered": bool(gains[0] <= true_gain <= gains[1]),
            }
        )
    return {"seed": seed, "seconds": time.monotonic() - start, "curves": rows}


def summarize(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the shares of the intervals that cover the truth."""
    curves = [curve for row in rows for curve in row["curves"] if curve["class"] != "all"]
    overall = [curve for row in rows for curve in row["curves"] if curve["class"] == "all"]
    answered = [curve for curve in curves if curve["answered"]]

    def share(items: list[dict[str, Any]], name: str) -> float:
        return float(np.mean([item[name] for item in items])) if items else float("nan")

    return {
        "curves_of_classes": len(curves),
        "later_errors_covered": share(curves, "later_covered"),
        "gains_covered": share(curves, "gain_covered"),
        "answered": len(answered),
        "answered_gains_covered": share(answered, "gain_covered"),
        "overall_later_errors_covered": share(overall, "later_covered"),
        "overall_gains_covered": share(overall, "gain_covered"),
        "mean_later_width_points": float(np.mean([np.diff(one["later_pct"]) for one in curves])),
        "mean_gain_width_points": float(np.mean([np.diff(one["gain_points"]) for one in curves])),
        "seconds_per_seed": float(np.mean([row["seconds"] for row in rows])),
    }


if __name__ == "__main__":
    sys.exit(main())
