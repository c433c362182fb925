"""Measure how often the intervals of `data enough` cover the gain on simulated features.

    PYTHONPATH=src python benchmarks/enough_intervals.py

It needs no network. Three problems of three classes have known distributions, so photographs of any
number can be drawn. A pool has 100 photographs of each class, and its curves are extrapolated to
150, as by the command. What is true is the mean error of classifiers that are fitted to pools of
100 and of 150 photographs of each class, on photographs that no pool has.

The rule was fixed before the first of these pools was drawn: C (1 / J + test / train) of Nadeau and
Bengio (2003) for the covariance of a curve, with a t-distribution. The rule before it, a bootstrap
of photographs and draws, is measured on the same pools. For both, the spread of the estimates over
pools is compared with the spread that the intervals say. It writes
`benchmarks/enough_intervals.json`, and ends with 1 if less than 90 % of the intervals cover.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from resnetlab.curation.enough import (
    MAX_WIDTH_POINTS,
    MORE,
    SAMPLES,
    Extrapolation,
    MeasuredCurves,
    extrapolate,
    measure_curves,
)
from resnetlab.curation.probe import choose_regularization, fit_classifier, reduce_features
from resnetlab.stats.learning_curve import fit_power_laws

POOLS, FIRST_SEED = 40, 7_000
"""Pools of each problem, and the seed of the first."""

PER_CLASS, CLASSES, TRUTH_POOLS, TEST = 100, ("a", "b", "c"), 40, 3_000
MIN_SHARE = 0.9
"""Target: share of the intervals that cover the gain, over problems, pools and classes."""

Draw = Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Function from a number of photographs of each class to features and labels."""


def main() -> int:
    """Measure, print, write; return the exit code."""
    options = parse()
    start = time.monotonic()
    rows, truths = [], {}
    for name, draw in PROBLEMS.items():
        truth = {size: true_errors(draw, size) for size in (PER_CLASS, PER_CLASS + MORE)}
        truths[name] = {str(size): (100 * errors).tolist() for size, errors in truth.items()}
        print(f"{name}: errors {truths[name]}", flush=True)
        for pool in range(options.pools):
            rows += measure(name, draw, truth, FIRST_SEED + pool)
    summary = {rule: summarize(rows, rule) for rule in RULES}
    for rule, values in summary.items():
        print(rule, {name: round(value, 3) for name, value in values.items()})
    contents = {
        **machine(),
        "problems": list(PROBLEMS),
        "classes": len(CLASSES),
        "per_class": PER_CLASS,
        "more": MORE,
        "pools": options.pools,
        "first_seed": FIRST_SEED,
        "seconds": round(time.monotonic() - start, 1),
        "true_errors_pct": truths,
        "summary": summary,
        "curves": rows,
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(contents, indent=1) + "\n")
    return int(summary["folds"]["gains_covered"] < MIN_SHARE)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--pools", type=int, default=POOLS, help="pools of each problem")
    return parser.parse_args()


def round_clouds(per_class: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw three classes of normal features, two of which are near each other."""
    labels = np.repeat(np.arange(3), per_class)
    centers = np.zeros((3, 20))
    centers[0, 0], centers[1, 0], centers[2, 1] = 1.0, -1.0, 3.0
    return random.standard_normal((len(labels), 20)) + centers[labels], labels


def long_features(per_class: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw classes in 128 dimensions of falling variance, as features of networks have."""
    labels = np.repeat(np.arange(3), per_class)
    scale = np.arange(1, 129) ** -0.5
    centers = np.random.default_rng(1).standard_normal((3, 128)) * scale * 0.45
    return random.standard_normal((len(labels), 128)) * scale + centers[labels], labels


def clusters(per_class: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw classes of eight kinds each, of which rare ones are seen only in larger pools."""
    labels = np.repeat(np.arange(3), per_class)
    shares = 0.5 ** np.arange(8)
    kinds = random.choice(8, len(labels), p=shares / shares.sum())
    centers = np.random.default_rng(2).standard_normal((3, 8, 30)) * 0.75
    noise = random.standard_t(5, (len(labels), 30))
    return noise + centers[labels, kinds], labels


PROBLEMS: dict[str, Draw] = {
    "round clouds": round_clouds,
    "long features": long_features,
    "clusters": clusters,
}


def true_errors(draw: Draw, size: int) -> np.ndarray:
    """Return the mean error by class of classifiers fitted to pools of this size (K,)."""
    random = np.random.default_rng([size, 1])
    errors = []
    for _ in range(TRUTH_POOLS):
        features, labels = draw(size, random)
        test, test_labels = draw(TEST, random)
        rows = labels, CLASSES, np.arange(len(labels))
        regularization, _ = choose_regularization(reduce_features(features), *rows)
        both = reduce_features(np.concatenate([features, test]))
        model = fit_classifier(both[: len(labels)], labels, regularization)
        wrong = model.predict(both[len(labels) :]) != test_labels
        errors.append([wrong[test_labels == k].mean() for k in range(len(CLASSES))])
    return np.mean(errors, axis=0)


def bootstrap_of_photographs(
    wrong: np.ndarray, _: np.ndarray, sizes: np.ndarray, now: float, later: float, seed: int
) -> Extrapolation:
    """Extrapolate a curve by the rule before: a bootstrap of photographs and of draws."""
    random = np.random.default_rng(seed)
    draws, _, images = wrong.shape
    weights = random.multinomial(images, np.full(images, 1 / images), SAMPLES)
    weights = np.concatenate([np.ones((1, images), np.int64), weights])
    of_draws = random.multinomial(draws, np.full(draws, 1 / draws), SAMPLES)
    of_draws = np.concatenate([np.ones((1, draws), np.int64), of_draws])
    by_draw = np.einsum("dsm,bm->bds", wrong.astype(np.float64), weights, optimize=True)
    errors = np.einsum("bds,bd->bs", by_draw, of_draws) / (images * draws)
    laws = fit_power_laws(sizes, errors)
    return Extrapolation(laws.predict(now), laws.predict(later), errors[:, 0] - errors[:, -1])


RULES = {"folds": extrapolate, "bootstrap": bootstrap_of_photographs}
"""The rule of the command, and the one before it."""


def measure(
    problem: str, draw: Draw, truth: dict[int, np.ndarray], seed: int
) -> list[dict[str, Any]]:
    """Return the intervals of the curves of one pool, by both rules."""
    random = np.random.default_rng([list(PROBLEMS).index(problem), seed])
    features, labels = draw(PER_CLASS, random)
    groups = np.arange(len(labels))
    curves = measure_curves(features.astype(np.float32), labels, CLASSES, groups)
    rows = []
    for k, name in enumerate(CLASSES):
        true_gain = truth[PER_CLASS][k] - truth[PER_CLASS + MORE][k]
        row = {"problem": problem, "seed": seed, "class": name, "true_gain_points": 100 * true_gain}
        rows.append(
            row | {rule: interval(curves, labels == k, k, rule, true_gain) for rule in RULES}
        )
    return rows


def interval(
    curves: MeasuredCurves, is_class: np.ndarray, k: int, rule: str, true_gain: float
) -> dict[str, Any]:
    """Return the gain of a class by one rule, with its interval in points."""
    parts = curves.wrong[:, :, is_class], curves.folds[:, is_class], curves.sizes[:, k]
    result = RULES[rule](*parts, PER_CLASS, PER_CLASS + MORE, k)
    low, high = np.quantile(result.gains[1:], (0.025, 0.975))
    falls = np.quantile(result.decline[1:], 0.025) > 0
    return {
        "gain_points": 100 * float(result.gains[0]),
        "low_points": 100 * float(low),
        "high_points": 100 * float(high),
        "spread_points": 100 * float(result.gains[1:].std()),
        "decline_points": 100 * float(result.decline[0]),
        "decline_spread_points": 100 * float(result.decline[1:].std()),
        "answered": bool(falls and 100 * (high - low) <= MAX_WIDTH_POINTS),
        "covered": bool(low <= true_gain <= high),
    }


def summarize(rows: list[dict[str, Any]], rule: str) -> dict[str, float]:
    """Return the shares of covered gains, and the spread of the estimates beside the stated one.

    The standard error of the share is over pools, whose curves are not independent.
    """
    of_rule = [row[rule] for row in rows]
    answered = [item["covered"] for item in of_rule if item["answered"]]
    pools: dict[tuple[str, int], list[bool]] = {}
    cells: dict[tuple[str, str], list[dict[str, float]]] = {}
    for row, item in zip(rows, of_rule, strict=True):
        pools.setdefault((row["problem"], row["seed"]), []).append(item["covered"])
        cells.setdefault((row["problem"], row["class"]), []).append(item)
    by_pool = np.array([np.mean(covered) for covered in pools.values()])

    def spread_ratio(value: str, stated: str) -> float:
        real = [np.var([item[value] for item in items], ddof=1) for items in cells.values()]
        said = [np.mean([item[stated] ** 2 for item in items]) for items in cells.values()]
        return float(np.sqrt(np.mean(real) / np.mean(said)))

    return {
        "curves": len(rows),
        "gains_covered": float(by_pool.mean()),
        "standard_error": float(by_pool.std(ddof=1) / np.sqrt(len(by_pool))),
        "answered": len(answered),
        "answered_gains_covered": float(np.mean(answered)) if answered else float("nan"),
        "mean_width_points": float(
            np.mean([item["high_points"] - item["low_points"] for item in of_rule])
        ),
        "real_over_stated_spread_of_gain": spread_ratio("gain_points", "spread_points"),
        "real_over_stated_spread_of_decline": spread_ratio(
            "decline_points", "decline_spread_points"
        ),
        "mean_error_of_gain_points": float(
            np.mean(
                [
                    item["gain_points"] - row["true_gain_points"]
                    for row, item in zip(rows, of_rule, strict=True)
                ]
            )
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
