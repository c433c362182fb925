"""Measure how often the intervals of `data enough` cover the gain on simulated curves.

    PYTHONPATH=src python benchmarks/enough_intervals.py

It needs no network. Two kinds of curves are simulated, and each is extrapolated as by the command:

- Laws: the chance of each photograph to be wrong falls with the number of train photographs by an
  inverse power law, of which some have a floor. The gain by 50 photographs is known exactly.
- Classifiers: three classes of features with a known distribution, 100 photographs of each. What
  is true is the mean error of classifiers that are fitted to 100 and to 150 photographs of each
  class, on photographs that no pool has.

Three rules are compared on the same curves: `two laws`, the rule of the command; `one law`, that
before it; and `folds`, the corrected variance of Nadeau and Bengio (2003) over folds. The rules
were fixed on other seeds, before the first of these curves was drawn. It writes
`benchmarks/enough_intervals.json` and the table in `benchmarks/README.md`, and ends with 1 if the
command's rule covers less than 93 % of the gains of one kind.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from scipy.stats import norm

from resnetlab.curation.learning_curves import (
    DRAWS,
    FRACTIONS,
    MAX_WIDTH_POINTS,
    MORE,
    RESAMPLES,
    extrapolate,
    measure_curves,
)
from resnetlab.curation.probe import FOLDS, choose_regularization, fit_classifier, reduce_features
from resnetlab.data.stratify import assign_folds
from resnetlab.stats.learning_curve import fit_power_laws

FIRST_SEED = 7_000
CURVES, POOLS = 30, 14
"""Curves of each law and number of photographs, and pools of each problem."""

MIN_SHARE = 0.93
"""Target: share of the intervals of a kind that cover the gain."""

LAWS = {
    "no floor, exponent 0.5": (0.0, 1.2, 0.5),
    "no floor, exponent 0.3": (0.0, 0.8, 0.3),
    "floor 5 %, exponent 0.5": (0.05, 1.2, 0.5),
    "floor 10 %, exponent 1": (0.10, 3.0, 1.0),
    "floor 2 %, exponent 0.2": (0.02, 0.5, 0.2),
}
"""Floor, scale and exponent."""

PHOTOGRAPHS = (50, 100, 200)
SHARED = 0.8
"""Share of the variance that is a photograph's own, the same in all fits."""

PER_CLASS, CLASSES, TRUTH_POOLS, TEST = 100, ("a", "b", "c"), 60, 2_000

Draw = Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Function from a number of photographs of each class to features and labels."""


def main() -> int:
    """Measure, print, write; return the exit code."""
    options = parse()
    start = time.monotonic()
    rows, truths = curves_of_laws(), {}
    for name, draw in PROBLEMS.items():
        errors = {size: true_errors(draw, size) for size in (PER_CLASS, PER_CLASS + MORE)}
        truths[name] = {str(size): (100 * value).tolist() for size, value in errors.items()}
        gains = errors[PER_CLASS] - errors[PER_CLASS + MORE]
        for pool in range(options.pools):
            rows += curves_of_pool(name, draw, gains, FIRST_SEED + pool)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    summary = {kind: summarize([row for row in rows if row["kind"] == kind]) for kind in KINDS}
    for kind, rules in summary.items():
        for rule, values in rules.items():
            print(kind, rule, {name: round(value, 3) for name, value in values.items()})
    contents = {
        **machine(),
        "more": MORE,
        "first_seed": FIRST_SEED,
        "seconds": round(time.monotonic() - start, 1),
        "true_errors_pct": truths,
        "summary": summary,
        "cells": cells(rows),
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(contents, indent=1) + "\n")
    write_table(summary)
    return int(min(rules["two laws"]["covered"] for rules in summary.values()) < MIN_SHARE)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--pools", type=int, default=POOLS, help="pools of each problem")
    return parser.parse_args()


KINDS = ("laws", "classifiers")


def curves_of_laws() -> list[dict[str, Any]]:
    """Return the intervals of curves whose law is known."""
    rows = []
    for index, (name, law) in enumerate(LAWS.items()):
        for images in PHOTOGRAPHS:
            gain = law[1] * (images ** -law[2] - (images + MORE) ** -law[2])
            for number in range(CURVES):
                generator = np.random.default_rng([index, images, FIRST_SEED + number])
                wrong, folds, sizes = draw_curve(law, images, generator)
                row = {"kind": "laws", "name": name, "images": images, "gain_points": 100 * gain}
                rows.append(row | intervals(wrong, folds, sizes, images, gain, number))
    return rows


def draw_curve(
    law: tuple[float, float, float], images: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw which photographs are wrong in each fit, their folds, and the sizes of the fits."""
    sizes = np.array(FRACTIONS) * images * (FOLDS - 1) / FOLDS
    errors = np.minimum(law[0] + law[1] * sizes ** -law[2], 0.99)
    of_photographs = generator.standard_normal(images)
    others = generator.standard_normal((DRAWS, len(sizes), images))
    wrong = (
        np.sqrt(SHARED) * of_photographs + np.sqrt(1 - SHARED) * others < norm.ppf(errors)[:, None]
    )
    folds = np.stack([generator.permutation(np.arange(images) % FOLDS) for _ in range(DRAWS)])
    return wrong, folds, sizes


def round_clouds(per_class: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw three classes of normal features, two of which are near each other."""
    labels = np.repeat(np.arange(3), per_class)
    centers = np.zeros((3, 20))
    centers[0, 0], centers[1, 0], centers[2, 1] = 1.0, -1.0, 3.0
    return generator.standard_normal((len(labels), 20)) + centers[labels], labels


def long_features(per_class: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw classes in 128 dimensions of falling variance, as features of networks have."""
    labels = np.repeat(np.arange(3), per_class)
    scale = np.arange(1, 129) ** -0.5
    centers = np.random.default_rng(1).standard_normal((3, 128)) * scale * 0.24
    return generator.standard_normal((len(labels), 128)) * scale + centers[labels], labels


def clusters(per_class: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw classes of eight kinds each, of which rare ones are seen only in larger pools."""
    labels = np.repeat(np.arange(3), per_class)
    shares = 0.5 ** np.arange(8)
    kinds = generator.choice(8, len(labels), p=shares / shares.sum())
    centers = np.random.default_rng(2).standard_normal((3, 8, 30))
    noise = generator.standard_t(5, (len(labels), 30))
    return noise + centers[labels, kinds], labels


PROBLEMS: dict[str, Draw] = {
    "round clouds": round_clouds,
    "long features": long_features,
    "clusters": clusters,
}


def true_errors(draw: Draw, size: int) -> np.ndarray:
    """Return the mean error by class of classifiers fitted to pools of this size (K,)."""
    errors = []
    for pool in range(TRUTH_POOLS):
        # The same stream for each size, so that the difference of two sizes varies less.
        generator = np.random.default_rng([1, pool])
        test, test_labels = draw(TEST, generator)
        features, labels = draw(size, generator)
        rows = labels, CLASSES, np.arange(len(labels))
        regularization, _ = choose_regularization(reduce_features(features), *rows)
        both = reduce_features(np.concatenate([features, test]))
        model = fit_classifier(both[: len(labels)], labels, regularization)
        wrong = model.predict(both[len(labels) :]) != test_labels
        errors.append([wrong[test_labels == k].mean() for k in range(len(CLASSES))])
    return np.mean(errors, axis=0)


def curves_of_pool(problem: str, draw: Draw, gains: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Return the intervals of the classes of one pool."""
    generator = np.random.default_rng([list(PROBLEMS).index(problem), seed])
    features, labels = draw(PER_CLASS, generator)
    groups = np.arange(len(labels))
    curves = measure_curves(features.astype(np.float32), labels, CLASSES, groups)
    folds = np.stack([assign_folds(labels, CLASSES, FOLDS, d, groups) for d in range(DRAWS)])
    rows = []
    for k, name in enumerate(CLASSES):
        row = {"kind": "classifiers", "name": f"{problem}, class {name}", "images": PER_CLASS}
        row |= {"seed": seed, "gain_points": 100 * float(gains[k])}
        wrong, of_class = curves.wrong[:, :, labels == k], folds[:, labels == k]
        sizes = curves.sizes[:, k]
        rows.append(row | intervals(wrong, of_class, sizes, PER_CLASS, float(gains[k]), k))
    return rows


def intervals(
    wrong: np.ndarray, folds: np.ndarray, sizes: np.ndarray, now: int, gain: float, seed: int
) -> dict[str, Any]:
    """Return the intervals of a curve by the three rules, in points."""
    groups = np.arange(wrong.shape[2])
    result = extrapolate(wrong, sizes, groups, now, now + MORE, seed)
    quantiles = (0.025, 0.975)
    by_folds = gains_by_folds(wrong, folds, sizes, now, seed)
    found = {
        "two laws": (result.gain_interval, result.decline),
        "one law": (np.quantile(result.gains[1:], quantiles), result.decline),
        "folds": (np.quantile(by_folds[0], quantiles), by_folds[1]),
    }
    rules = {}
    for rule, ((low, high), decline) in found.items():
        falls = np.quantile(decline[1:], 0.025) > 0
        rules[rule] = {
            "low_points": 100 * float(low),
            "high_points": 100 * float(high),
            "answered": bool(falls and 100 * (high - low) <= MAX_WIDTH_POINTS),
            "covered": bool(low <= gain <= high),
            "too_low": bool(high < gain),
        }
    return {"estimate_points": 100 * float(result.gains[0]), "rules": rules}


def gains_by_folds(
    wrong: np.ndarray, folds: np.ndarray, sizes: np.ndarray, now: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return samples of the gain and of the decline whose spread is that of the folds, corrected.

    The covariance C of the J curves of single folds becomes C (1 / J + test / train); samples have
    a t-distribution with J - 1 degrees of freedom.
    """
    by_fold = np.stack(
        [
            wrong[draw][:, numbers == fold].mean(1)
            for draw, numbers in enumerate(folds)
            for fold in range(FOLDS)
        ]
    )
    freedom = len(by_fold) - 1
    covariance = np.cov(by_fold, rowvar=False) * (1 / len(by_fold) + 1 / (FOLDS - 1))
    generator = np.random.default_rng(seed)
    normal = generator.multivariate_normal(
        np.zeros(len(sizes)), covariance, RESAMPLES, check_valid="ignore", method="eigh"
    )
    spread = normal / np.sqrt(generator.chisquare(freedom, (RESAMPLES, 1)) / freedom)
    errors = np.clip(wrong.mean((0, 2)) + spread, 0, 1)
    laws = fit_power_laws(sizes, errors)
    return laws.predict(now) - laws.predict(now + MORE), errors[:, 0] - errors[:, -1]


def cells(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the summary of each law and number of photographs, and of each class of a problem."""
    parts: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault((row["name"], row["images"]), []).append(row)
    return [
        {
            "name": name,
            "images": images,
            "gain_points": part[0]["gain_points"],
            "mean_estimate_points": float(np.mean([row["estimate_points"] for row in part])),
            "rules": summarize(part),
        }
        for (name, images), part in parts.items()
    ]


def write_table(summary: dict[str, dict[str, dict[str, float]]]) -> None:
    """Write the table of the README again."""
    header = (
        "| curves | rule | gains covered | gain above the interval | lowest share of a law or "
        "class | answered | covered of these | mean width |"
    )
    lines = [header, "|---|---|---:|---:|---:|---:|---:|---:|"]
    for kind, rules in summary.items():
        for rule, values in rules.items():
            shares = [f"{100 * values[name]:.1f} %" for name in ("covered", "too_low")]
            shares.append(f"{100 * values['lowest_share']:.0f} %")
            answered = f"{values['answered']} of {values['curves']}"
            covered = f"{100 * values['answered_covered']:.1f} %"
            cells = [kind, rule, *shares, answered, covered, f"{values['width_points']:.2f} points"]
            lines.append(f"| {' | '.join(cells)} |")
    path = Path(__file__).with_name("README.md")
    pattern = (
        r"(<!-- table of enough_intervals.json -->\n).*?(<!-- end of enough_intervals.json -->)"
    )
    table = "\n".join(lines) + "\n"
    text = re.sub(
        pattern, lambda match: match[1] + table + match[2], path.read_text(), flags=re.DOTALL
    )
    path.write_text(text)


def summarize(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return for each rule the shares of covered gains, of misses that are too low, of answers."""
    summary = {}
    for rule in ("two laws", "one law", "folds"):
        of_rule = [row["rules"][rule] for row in rows]
        answered = [item["covered"] for item in of_rule if item["answered"]]
        names: dict[tuple[str, int], list[bool]] = {}
        for row, item in zip(rows, of_rule, strict=True):
            names.setdefault((row["name"], row["images"]), []).append(item["covered"])
        summary[rule] = {
            "curves": len(rows),
            "covered": float(np.mean([item["covered"] for item in of_rule])),
            "too_low": float(np.mean([item["too_low"] for item in of_rule])),
            "lowest_share": float(min(np.mean(covered) for covered in names.values())),
            "answered": len(answered),
            "answered_covered": float(np.mean(answered)) if answered else float("nan"),
            "width_points": float(
                np.mean([item["high_points"] - item["low_points"] for item in of_rule])
            ),
        }
    return summary


if __name__ == "__main__":
    sys.exit(main())
