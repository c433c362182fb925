"""Measure how well wrong labels are found, beside cleanlab, and how often the interval of their
share covers the truth.

    PYTHONPATH=src:CLEANLAB python benchmarks/suspects.py FOLDER --model timm/NAME --weights FILE

FOLDER has photographs whose labels count as right. In each of 20 seeds, 5 % of the labels are
replaced in memory: by any other class, or by the most similar one (that with the nearest mean
feature). CLEANLAB is a folder with cleanlab, which is not a dependency of resnetlab. Features are
computed once. It writes `benchmarks/suspects.json`, and ends with 1 if a target is missed.
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

from resnetlab.curation.features import compute_features, open_network
from resnetlab.curation.labeled_photos import LabeledPhotos, open_labeled_photos
from resnetlab.curation.probe import label_log_odds, out_of_fold
from resnetlab.data.sources.folder.scan import folder_sha256
from resnetlab.stats.label_noise import estimate_label_noise

SHARE, TOP, SEEDS = 0.05, 50, 20
MIN_COVERED = 19
"""Target: the interval covers the planted share in this many of 20 seeds."""

KINDS = ("any class", "most similar class")


def main() -> int:
    """Measure, print, write; return the exit code."""
    options = parse()
    try:
        import cleanlab
    except ImportError:
        print("cleanlab is not here: uv pip install --target FOLDER cleanlab, then PYTHONPATH")
        return 4
    labeled = open_labeled_photos(options.folder, cache=options.cache, notify=print)
    network = open_network(options.model, options.weights)
    features = compute_features(network, labeled.photos, options.cache)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    results: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for seed in seeds:
            row = measure(features, labeled, kind, SHARE, seed)
            ours, theirs = row["precision_at_50"], row["cleanlab_precision_at_50"]
            covers = "covers" if row["covers"] else "misses"
            print(f"{kind}, seed {seed}: {ours:.2f}, cleanlab {theirs:.2f}, {covers}", flush=True)
            results[kind].append(row)
    none = measure(features, labeled, KINDS[0], 0.0, seeds[0])
    summaries = {kind: summarize(rows) for kind, rows in results.items()}
    for kind, summary in summaries.items():
        print(f"\n5 % wrong labels, {kind}, {len(seeds)} seeds")
        for name, value in summary.items():
            print(f"  {name}: {value:.4g}")
    print(f"\nnothing planted: {none['share_pct']:.1f} % {none['interval_pct']}")
    contents = {
        **machine(),
        "data": labeled.name,
        "data_sha256": folder_sha256(labeled.scan),
        "images": len(labeled.labels),
        "classes": len(labeled.classes),
        "network": network.name,
        "network_identity": network.identity,
        "cleanlab": cleanlab.__version__,
        "planted_share": SHARE,
        "seeds": list(seeds),
        "summaries": summaries,
        "nothing_planted": none,
        "runs": results,
    }
    if options.first_seed == 0:
        Path(__file__).with_suffix(".json").write_text(json.dumps(contents, indent=1) + "\n")
    main_summary = summaries[KINDS[0]]
    precise = main_summary["precision_at_50"] >= main_summary["cleanlab_precision_at_50"]
    return int(not precise or main_summary["intervals_that_cover"] < MIN_COVERED)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=0)
    return parser.parse_args()


def plant(
    features: np.ndarray, labels: np.ndarray, classes: int, kind: str, share: float, seed: int
) -> np.ndarray:
    """Return the labels with a share of wrong ones."""
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(labels))[: round(share * len(labels))]
    planted = labels.copy()
    if kind == KINDS[0]:
        planted[chosen] = (labels[chosen] + generator.integers(1, classes, len(chosen))) % classes
        return planted
    means = np.stack([features[labels == k].mean(0) for k in range(classes)])
    distances = np.linalg.norm(means[:, None] - means[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    planted[chosen] = distances.argmin(1)[labels[chosen]]
    return planted


def measure(
    features: np.ndarray, labeled: LabeledPhotos, kind: str, share: float, seed: int
) -> dict[str, Any]:
    """Return what resnetlab and cleanlab find for one seed."""
    labels = plant(features, labeled.labels, len(labeled.classes), kind, share, seed)
    wrong = labels != labeled.labels
    start = time.monotonic()
    result = out_of_fold(features, labels, labeled.classes, labeled.groups)
    noise = estimate_label_noise(
        result.probabilities[result.is_predicted], labels[result.is_predicted]
    )
    odds = np.where(result.is_predicted, label_log_odds(result.probabilities, labels), np.inf)
    seconds = time.monotonic() - start
    low, high = (100 * end for end in noise.interval)
    truth = 100 * float(wrong.mean())
    return {
        "seed": seed,
        "planted": int(wrong.sum()),
        "precision_at_50": precision(odds, wrong),
        "recall_at_planted": precision(odds, wrong, int(wrong.sum())) if wrong.any() else None,
        **cleanlab_precisions(features, labels, result.probabilities, wrong),
        "share_pct": 100 * noise.share,
        "interval_pct": [low, high],
        "covers": low <= truth <= high,
        "seconds": seconds,
    }


def precision(scores: np.ndarray, wrong: np.ndarray, top: int = TOP) -> float:
    """Return the share of wrong labels among those with the lowest scores."""
    return float(wrong[np.argsort(scores, kind="stable")[:top]].mean())


def cleanlab_precisions(
    features: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, wrong: np.ndarray
) -> dict[str, float]:
    """Return the precision of cleanlab: as its documentation calls it, and on our probabilities."""
    from cleanlab.classification import CleanLearning
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=400, tol=1e-3))
    issues = CleanLearning(classifier, seed=0, cv_n_folds=5).find_label_issues(features, labels)
    scores = issues["label_quality"].to_numpy()
    # cleanlab puts the labels that it calls issues first.
    scores = np.where(issues["is_label_issue"].to_numpy(), scores, scores + 1)
    ours = get_label_quality_scores(labels, probabilities, method="self_confidence")
    return {
        "cleanlab_precision_at_50": precision(scores, wrong),
        "cleanlab_on_our_probabilities": precision(ours, wrong),
    }


def summarize(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the means over the seeds, and the number of intervals that cover the truth."""
    names = (
        "precision_at_50",
        "recall_at_planted",
        "cleanlab_precision_at_50",
        "cleanlab_on_our_probabilities",
        "share_pct",
        "seconds",
    )
    ours, theirs = (
        np.array([row[name] for row in rows])
        for name in ("precision_at_50", "cleanlab_precision_at_50")
    )
    return {
        **{name: float(np.mean([row[name] for row in rows])) for name in names},
        "seeds_at_least_cleanlab": int((ours >= theirs).sum()),
        "intervals_that_cover": sum(row["covers"] for row in rows),
        "mean_width_points": float(np.mean([np.diff(row["interval_pct"]) for row in rows])),
    }


if __name__ == "__main__":
    sys.exit(main())
