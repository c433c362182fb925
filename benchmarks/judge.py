"""Error rates of `resnetlab judge` on simulated tables, with fixed generators.

Run `python benchmarks/judge.py`. It draws tables of runs, gives them to the package
`resnetlab.imported_runs`, and prints how often a verdict is wrong and how often an interval covers
the truth. It writes `benchmarks/judge.json`. `--draws 200` takes seconds and writes nothing.

1. Null: three conditions with the same mean, claims A > B, B > C and A > C, 3, 5 and 10 seeds.
   The rate of a table with any verdict is at most 5 % (Holm).
2. Equal: the true difference is at the edge of the margin; a reproduced claim is an error.
3. Paired: the runs share a component; claims are tested in pairs, and without pairs.
4. Cross-validation: ten folds of a nearest-centroid classifier on Gaussian classes, two feature
   sets of equal value. The corrected resampled t-test is compared with the plain one.
5. Coverage of the interval of a mean, with all runs trained.
6. Published: the badge is `incompatible` for a number of the same distribution.
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

from resnetlab.analysis.analyze import StudyAnalysis, analyze
from resnetlab.imported_runs.declaration import declare
from resnetlab.imported_runs.frames import from_frame
from resnetlab.imported_runs.imported_study import import_runs
from resnetlab.stats.intervals import t_interval
from resnetlab.stats.prediction import ReportedResult, compare_with_reported

DRAWS = 4_000
SEEDS = (3, 5, 10)
FOLDS = 10


def judged(columns: dict[str, np.ndarray], **declared: Any) -> StudyAnalysis:
    """Return the analysis of a table in the wide form."""
    table = from_frame({"seed": list(range(len(next(iter(columns.values()))))), **columns})
    declaration = declare(measure="accuracy", unit="percent", **declared)
    return analyze(import_runs(table, declaration))


def decided(analysis: StudyAnalysis, *labels: str) -> bool:
    """Return whether a claim has one of these verdicts."""
    return any(verdict.label in labels for verdict in analysis.verdicts)


def share(draws: int, test: Callable[[np.random.Generator], bool], seed: int) -> float:
    """Return the share of draws, in percent, for which a test is true."""
    generator = np.random.default_rng(seed)
    return 100 * sum(test(generator) for _ in range(draws)) / draws


def null_error(seeds: int) -> Callable[[np.random.Generator], bool]:
    def wrong(generator: np.random.Generator) -> bool:
        sds = (0.3, 0.3, 0.6)
        columns = {n: generator.normal(90, sd, seeds) for n, sd in zip("ABC", sds, strict=True)}
        return decided(
            judged(columns, claims=("A > B", "B > C", "A > C")), "reproduced", "contradicted"
        )

    return wrong


def equal_error(seeds: int) -> Callable[[np.random.Generator], bool]:
    def wrong(generator: np.random.Generator) -> bool:
        columns = {"A": generator.normal(90.5, 0.2, seeds), "B": generator.normal(90, 0.2, seeds)}
        return decided(judged(columns, claims=("A = B within 0.5",)), "reproduced")

    return wrong


def paired_error(seeds: int, paired: bool) -> Callable[[np.random.Generator], bool]:
    def wrong(generator: np.random.Generator) -> bool:
        common = generator.normal(0, 1, seeds)
        columns = {n: 90 + common + generator.normal(0, 0.3, seeds) for n in "AB"}
        design = {"paired_by": "seed"} if paired else {}
        return decided(judged(columns, claims=("A > B",), **design), "reproduced", "contradicted")

    return wrong


def fold_accuracies(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the accuracies of ten folds of two classifiers that are equally good on average.

    Each uses another ten of twenty features, and all features separate the classes equally.
    """
    count, features = 200, 20
    labels = np.arange(count) % 2
    x = generator.normal(0, 1, (count, features)) + 0.25 * labels[:, None]
    order = generator.permutation(count)
    result: dict[str, list[float]] = {"A": [], "B": []}
    for fold in range(FOLDS):
        test = np.zeros(count, bool)
        test[order[fold::FOLDS]] = True
        for name, columns in (("A", slice(0, 10)), ("B", slice(10, 20))):
            train, y = x[~test][:, columns], labels[~test]
            centers = np.stack([train[y == k].mean(0) for k in (0, 1)])
            distances = ((x[test][:, columns][:, None] - centers) ** 2).sum(2)
            result[name].append(100 * float((distances.argmin(1) == labels[test]).mean()))
    return {name: np.array(values) for name, values in result.items()}


def fold_error(corrected: bool) -> Callable[[np.random.Generator], bool]:
    def wrong(generator: np.random.Generator) -> bool:
        design: dict[str, Any] = {"paired_by": "seed"}
        if corrected:
            design["folds"] = FOLDS
        analysis = judged(fold_accuracies(generator), claims=("A > B",), **design)
        return decided(analysis, "reproduced", "contradicted")

    return wrong


def not_covered(seeds: int) -> Callable[[np.random.Generator], bool]:
    def wrong(generator: np.random.Generator) -> bool:
        columns = {n: generator.normal(90, 0.5, seeds) for n in "AB"}
        interval = judged(columns).summaries["A"].interval_pct
        assert interval is not None
        assert interval == t_interval(sorted(columns["A"].tolist()))
        return not interval.low <= 90 <= interval.high

    return wrong


def incompatible(seeds: int, runs: int) -> Callable[[np.random.Generator], bool]:
    def wrong(generator: np.random.Generator) -> bool:
        columns = {n: generator.normal(90, 0.5, seeds) for n in "AB"}
        number = float(generator.normal(90, 0.5, runs).mean())
        values = judged(columns).summaries["A"].trained_pct
        return compare_with_reported(values, ReportedResult(number, runs))[0] == "incompatible"

    return wrong


def cases() -> dict[str, tuple[Callable[[np.random.Generator], bool], float | None]]:
    """Return each simulation with the largest rate in percent that it may have, if it has one."""
    table: dict[str, tuple[Callable[[np.random.Generator], bool], float | None]] = {}
    for seeds in SEEDS:
        table[f"null, three claims, {seeds} seeds"] = (null_error(seeds), 5.0)
    for seeds in SEEDS:
        table[f"equal at the edge of the margin, {seeds} seeds"] = (equal_error(seeds), 2.5)
    table["null, paired, 5 seeds"] = (paired_error(5, True), 5.0)
    table["null, the same runs without pairs, 5 seeds"] = (paired_error(5, False), 5.0)
    table["null, ten folds, corrected resampled t-test"] = (fold_error(True), 5.0)
    table["null, ten folds, plain paired t-test"] = (fold_error(False), None)
    for seeds in SEEDS:
        table[f"interval of a mean misses it, {seeds} seeds"] = (not_covered(seeds), 5.0)
    table["published number incompatible, 5 runs, 1 published"] = (incompatible(5, 1), 5.0)
    return table


def main() -> int:
    """Simulate, print, write; the exit code is 1 if a rate is above its limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=DRAWS)
    options = parser.parse_args()
    rows, broken, start = {}, [], time.monotonic()
    for number, (name, (test, limit)) in enumerate(cases().items()):
        rate = share(options.draws, test, number)
        noise = 3 * (100 * 5 * 95 / 100 / options.draws) ** 0.5
        rows[name] = {"rate_pct": round(rate, 2), "limit_pct": limit}
        print(f"{name:55} {rate:6.2f} %  {'' if limit is None else f'at most {limit:g} %'}")
        if limit is not None and rate > limit + noise:
            broken.append(name)
    if options.draws == DRAWS:
        details = machine() | {
            "draws": DRAWS,
            "seconds": round(time.monotonic() - start),
            "rates": rows,
        }
        Path(__file__).with_suffix(".json").write_text(json.dumps(details, indent=1) + "\n")
    for name in broken:
        print(f"too often: {name}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
