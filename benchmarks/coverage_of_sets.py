"""Coverage of prediction sets, and detection of images of classes that were held out.

    PYTHONPATH=src python benchmarks/coverage_of_sets.py --data FOLDER... --model FILE...

Each folder of photographs has ten or more classes; each file describes a pre-trained network. For
each pair, the features of the network are computed once. In each of 20 cuts, six classes are known
and the others are out of distribution (OOD): a logistic regression is trained on 40 images of each
known class, the temperature, the sets and the novelty are fitted on 40 others as after a
fine-tuning, and 40 others are the test images. All images of the other classes of the folder are
near OOD images, and those of the other folders are far OOD images.

It prints and writes to `coverage_of_sets.json` the measured coverage at a stated coverage of 90 %,
and the area under the ROC curve of OOD images against test images: of the novelty, of the maximum
softmax probability, and of the distance to the k-th nearest training image for several k. The table
goes into README.md beside it. It ends with 1 where the mean coverage is not
within 1.5 points of the stated one, or where the mean area of the novelty is below the better of
the others, the best k included.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from resnetlab.finetuning.confidence import split_outputs
from resnetlab.finetuning.finetune_photos import prepare_job
from resnetlab.finetuning.request import FinetuneRequest
from resnetlab.messages import silent
from resnetlab.model_folder.confidence import SplitOutputs, fit_confidence
from resnetlab.stats.conformal import prediction_sets, threshold_groups

CUTS, KNOWN, PER_SPLIT = 20, 6, 40
COVERAGE, TOLERANCE = 0.9, 1.5
NEIGHBORS = (1, 5, 10, 50)


@dataclass(frozen=True)
class Features:
    """Features (N, F) and classes (N,) of the photographs in a folder."""

    rows: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]


def main() -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    parser.add_argument("--model", nargs="+", type=Path, required=True)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--cache", type=Path, help="folder in which features are kept")
    given = parser.parse_args()
    start = machine()
    results = {}
    for model in given.model:
        features = {
            folder.name: load_features(folder, model, given.size, given.cache)
            for folder in given.data
        }
        for name in features:
            results[f"{name}, {model.stem}"] = summarize(list(run_cuts(features, name)))
    contents = {
        **start,
        "cuts": CUTS,
        "known_classes": KNOWN,
        "images_per_class": {"train": PER_SPLIT, "validation": PER_SPLIT, "test": PER_SPLIT},
        "stated_coverage_pct": 100 * COVERAGE,
        "size": given.size,
        "results": results,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(contents, indent=1) + "\n")
    page = Path(__file__).with_name("README.md")
    page.write_text(replace_table(page.read_text(), contents))
    print(table(contents))
    return int(not all(result["as_promised"] for result in results.values()))


def load_features(folder: Path, model: Path, size: int, cache: Path | None) -> Features:
    """Return the features of a folder, which are computed once for each cache."""
    if cache is None:
        return compute_features(folder, model, size)
    file = cache / f"{folder.name}-{model.stem}-{size}.npz"
    if not file.exists():
        features = compute_features(folder, model, size)
        np.savez(file, rows=features.rows, labels=features.labels, names=features.names)
    arrays = np.load(file)
    return Features(arrays["rows"], arrays["labels"], tuple(arrays["names"].tolist()))


def compute_features(folder: Path, model: Path, size: int) -> Features:
    """Return the inputs of the classifier for all photographs in a folder."""
    with tempfile.TemporaryDirectory() as output:
        request = FinetuneRequest(
            folder=folder, model=str(model), train_size=size, output=Path(output), device="cpu"
        )
        job = prepare_job(request, silent)
    network = job.setup_model()
    transform = network.eval_transform(size)
    photos = job.photos
    parts = [photos.train, photos.validation, *([photos.test] if photos.has_test else [])]
    outputs = [split_outputs(part, network, transform) for part in parts]
    print(f"{folder.name}, {model.stem}: {sum(len(part) for part in parts):,} photographs")
    return Features(
        np.concatenate([part.features for part in outputs]).astype(np.float32),
        np.concatenate([part.labels for part in outputs]),
        photos.classes,
    )


def run_cuts(features: dict[str, Features], name: str) -> Iterator[dict[str, float]]:
    """Yield the measures of each cut of the classes of a folder."""
    data = features[name]
    far = [other.rows for key, other in features.items() if key != name]
    for cut in range(CUTS):
        generator = np.random.default_rng(cut)
        known = generator.permutation(len(data.names))[:KNOWN]
        splits: list[list[int]] = [[], [], []]
        for label in known:
            order = generator.permutation(np.flatnonzero(data.labels == label))
            for number, split in enumerate(splits):
                split += order[number * PER_SPLIT : (number + 1) * PER_SPLIT].tolist()
        ood = data.rows[~np.isin(data.labels, known)]
        renumbered = np.searchsorted(np.sort(known), data.labels)
        yield measure(data.rows, renumbered, splits, ood, np.concatenate(far) if far else None)


def measure(
    rows: NDArray[np.float32],
    labels: NDArray[np.int64],
    splits: list[list[int]],
    near: NDArray[np.float32],
    far: NDArray[np.float32] | None,
) -> dict[str, float]:
    """Return the measures of one cut."""
    train, validation, test = splits
    classifier = LogisticRegression(max_iter=2000).fit(rows[train], labels[train])

    def outputs(images: NDArray[np.float32], classes: NDArray[np.int64]) -> SplitOutputs:
        return SplitOutputs(
            classifier.predict_proba(images).astype(np.float64),
            classifier.decision_function(images).astype(np.float64),
            images,
            classes,
        )

    fitted = outputs(rows[validation], labels[validation])
    confidence = fit_confidence(fitted, rows[train], labels[train], "")
    tested = outputs(rows[test], labels[test])
    probabilities = confidence.calibrate(tested.probabilities)
    sets = prediction_sets(probabilities, confidence.thresholds(COVERAGE))
    groups = threshold_groups(confidence.labels, KNOWN, COVERAGE)
    covered = sets[np.arange(len(test)), tested.labels]
    result = {
        "accuracy_pct": 100 * float((probabilities.argmax(1) == tested.labels).mean()),
        "temperature": confidence.temperature,
        "coverage_pct": 100 * float(covered.mean()),
        "lowest_class_coverage_pct": 100
        * min(float(covered[tested.labels == k].mean()) for k in range(KNOWN)),
        "classes_with_own_threshold": float((groups > 0).sum()),
        "mean_set_size": float(sets.sum(1).mean()),
        "empty_sets_pct": 100 * float((sets.sum(1) == 0).mean()),
    }
    novelty = confidence.novelty(tested.logits, tested.features)
    result["known_turned_away_pct"] = 100 * share_novel(confidence, novelty)
    for kind, ood in (("near", near), ("far", far)):
        if ood is None:
            continue
        others = outputs(ood, np.zeros(len(ood), np.int64))
        of_others = confidence.novelty(others.logits, others.features)
        result[f"{kind}_turned_away_pct"] = 100 * share_novel(confidence, of_others)
        result[f"{kind}_auroc_novelty"] = auroc(novelty, of_others)
        result[f"{kind}_auroc_max_softmax"] = auroc(
            -tested.probabilities.max(1), -others.probabilities.max(1)
        )
        for k in NEIGHBORS:
            result[f"{kind}_auroc_{k}_nearest"] = auroc(
                distance_to_neighbor(rows[train], tested.features, k),
                distance_to_neighbor(rows[train], others.features, k),
            )
    return result


def share_novel(confidence: Any, novelty: NDArray[np.float64]) -> float:
    """Return the share of images that are called none of these."""
    return float(np.mean([confidence.is_novel(value) for value in novelty.tolist()]))


def auroc(known: NDArray[np.float64], ood: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve of OOD images against known images."""
    truth = np.repeat([0, 1], [len(known), len(ood)])
    return float(roc_auc_score(truth, np.concatenate([known, ood])))


def distance_to_neighbor(
    reference: NDArray[np.float32], images: NDArray[np.floating], k: int
) -> NDArray[np.float64]:
    """Return the distance (N,) to the k-th nearest reference image, of features of length 1."""
    reference, images = (
        values / np.linalg.norm(values, axis=1, keepdims=True) for values in (reference, images)
    )
    search = NearestNeighbors(n_neighbors=k).fit(reference)
    distances: NDArray[np.float64] = search.kneighbors(images)[0][:, -1]
    return distances


def summarize(cuts: list[dict[str, float]]) -> dict[str, Any]:
    """Return the mean of each measure over the cuts, and the comparison with the promise."""
    means = {name: float(np.mean([cut[name] for cut in cuts])) for name in cuts[0]}
    result: dict[str, Any] = {name: round(value, 4) for name, value in means.items()}
    result["sd_of_coverage_points"] = round(
        float(np.std([cut["coverage_pct"] for cut in cuts], ddof=1)), 4
    )
    kept = [abs(means["coverage_pct"] - 100 * COVERAGE) <= TOLERANCE]
    for kind in ("near", "far"):
        others = [
            name
            for name in means
            if name.startswith(f"{kind}_auroc") and not name.endswith("novelty")
        ]
        if not others:
            continue
        best = max(others, key=means.__getitem__)
        result[f"{kind}_better_of_others"] = best
        novelty_name = f"{kind}_auroc_novelty"
        result[f"{kind}_gain_over_it"] = round(means[novelty_name] - means[best], 4)
        result[f"{kind}_cuts_at_least_as_good"] = sum(
            cut[novelty_name] >= max(cut[name] for name in others) for cut in cuts
        )
        kept.append(means[novelty_name] >= means[best])
    result["as_promised"] = all(kept)
    return result


def table(contents: dict[str, Any]) -> str:
    """Return the results as a table in Markdown: means over the cuts."""
    header = (
        "| photographs, network | accuracy | coverage (sd of a cut) | classes in a set | known, "
        "called none of these | OOD images | rejected | ROC-AUC: novelty | max softmax | "
        "nearest (best k) |"
    )
    lines = [header, "|---|---:|---:|---:|---:|---|---:|---:|---:|---:|"]
    for name, result in contents["results"].items():
        for kind in ("near", "far"):
            if f"{kind}_auroc_novelty" not in result:
                continue
            best = max(NEIGHBORS, key=lambda k: result[f"{kind}_auroc_{k}_nearest"])
            cells = (
                name,
                f"{result['accuracy_pct']:.1f} %",
                f"{result['coverage_pct']:.1f} % ({result['sd_of_coverage_points']:.1f})",
                f"{result['mean_set_size']:.2f}",
                f"{result['known_turned_away_pct']:.1f} %",
                kind,
                f"{result[f'{kind}_turned_away_pct']:.1f} %",
                f"{result[f'{kind}_auroc_novelty']:.3f}",
                f"{result[f'{kind}_auroc_max_softmax']:.3f}",
                f"{result[f'{kind}_auroc_{best}_nearest']:.3f} ({best})",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def replace_table(page: str, contents: dict[str, Any]) -> str:
    """Return the text of a page with the present table."""
    pattern = r"(<!-- table of coverage_of_sets.json -->\n).*?(<!-- end -->)"
    return re.sub(pattern, rf"\g<1>{table(contents)}\n\g<2>", page, flags=re.S)


if __name__ == "__main__":
    sys.exit(main())
