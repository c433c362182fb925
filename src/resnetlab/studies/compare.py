"""Comparison of two sets of finished runs: effect, test and warnings. Free of torch.

It gives no verdict, because no claim was declared before the data were seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.checksums import check_file
from resnetlab.errors import input_error
from resnetlab.messages import format_count
from resnetlab.notebook import ObjectSummary, with_summary
from resnetlab.runs.paths import LOGITS
from resnetlab.runs.recorded_logits import read_logits
from resnetlab.runs.records import RunRecord
from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import encode
from resnetlab.stats.chance import UNDECIDED, is_undecided
from resnetlab.stats.contrasts import Effect, accuracy_difference
from resnetlab.stats.exact import mcnemar
from resnetlab.stats.intervals import ConditionSummary, summarize
from resnetlab.stats.outcomes import Outcome
from resnetlab.studies.parsing.toml_tables import flatten

FEW_RUNS = 5
"""Number of runs per set below which a warning says that the interval is wide."""


@dataclass(frozen=True)
class RunSet:
    """Set of runs that differ only in their seed."""

    name: str
    records: tuple[RunRecord, ...]
    summary: ConditionSummary


@dataclass(frozen=True)
class Disagreement:
    """Disagreement of two networks on the same test images, with McNemar's exact test (1947).

    `only_a` and `only_b` count the images that only one of the two classifies correctly.
    """

    only_a: int
    only_b: int
    images: int
    p: float


@with_summary
@dataclass(frozen=True)
class Comparison:
    """Comparison of A with B: the difference A minus B, its test and warnings."""

    a: RunSet
    b: RunSet
    differing_fields: tuple[str, ...]
    """Fields of the configurations that differ, with both values."""
    effect: Effect | None
    """Difference of mean test accuracies of trained runs, in points; None below two runs."""
    p: float | None
    """Two-sided p of Welch's test; None if there is no test."""
    disagreement: Disagreement | None
    """Disagreement on single images; only for one run against one."""
    warnings: tuple[str, ...]

    def _summary(self) -> ObjectSummary:
        title = f"{self.a.name} and {self.b.name}"
        return ObjectSummary(title, lines=format_lines(self))


def compare(a: str | Path, b: str | Path) -> Comparison:
    """Compare the runs of two paths, each a folder or a pattern (`'runs/*-plain56-*'`).

    Args:
        a: Path or pattern of the runs on the left.
        b: Path or pattern of the runs on the right.

    Returns:
        The accuracies of both, their difference with its interval and test, and warnings.

    Raises:
        InputError: A path has no finished run, or its runs differ in more than their seed.
    """
    left, right = read_run_set(str(a)), read_run_set(str(b))
    effect = None
    if min(len(left.summary.trained_pct), len(right.summary.trained_pct)) >= 2:
        effect = accuracy_difference(left.summary.trained_pct, right.summary.trained_pct)
    p = effect.two_sided_p if effect is not None and not effect.is_deterministic else None
    single_runs = len(left.records) == len(right.records) == 1
    return Comparison(
        left,
        right,
        _differing_fields(left, right),
        effect,
        p,
        _disagreement(left, right) if single_runs else None,
        _warnings(left, right, effect),
    )


def read_run_set(pattern: str) -> RunSet:
    """Read the runs of a path or a pattern. Raises InputError as `compare` does."""
    folders = sorted(path for path in _matching_folders(pattern) if (path / "run.json").exists())
    records = _distinct(
        [record for path in folders if (record := RunFolder(path).record()) is not None]
    )
    if not any(record.result for record in records):
        fix = "give a run's folder, or a pattern of folders in quotes"
        raise input_error(
            pattern,
            "no finished run there",
            fix,
            got=f"{len(records)} unfinished" if records else "nothing",
        )
    first = _without_seed(records[0])
    for record in records[1:]:
        if (other := _without_seed(record)) != first:
            fields = ", ".join(
                sorted(
                    key for key in first.keys() | other.keys() if first.get(key) != other.get(key)
                )
            )
            fix = "give a pattern that picks one condition"
            raise input_error(pattern, f"runs that differ in more than their seed: {fields}", fix)
    file = records[0].file
    runs: list[tuple[Outcome, float | None]] = [_outcome(record) for record in records]
    name = f"{file.run.model.title} on {file.data_name}"
    return RunSet(name, tuple(records), summarize(runs, 100 * file.class_share))


def _distinct(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return one record of each run: copies of a run in several folders count once.

    Raises InputError if copies have different results.
    """
    by_hash: dict[str, RunRecord] = {}
    for record in records:
        other = by_hash.setdefault(record.config.hash, record)
        if other.result is None:
            by_hash[record.config.hash] = record
        elif record.result is not None and record.result.test != other.result.test:
            message = f"is the same run as {other.folder}, and their results differ"
            raise input_error(record.folder, message, "remove the copy that is wrong")
    return list(by_hash.values())


def _matching_folders(pattern: str) -> list[Path]:
    if Path(pattern).is_dir():
        return [Path(pattern)]
    anchor = Path(Path(pattern).anchor)
    try:
        return list(anchor.glob(str(Path(pattern).relative_to(anchor))))
    except ValueError as error:
        fix = "put ** alone between two slashes, such as 'runs/**/seed-*'"
        raise input_error(pattern, f"not a pattern of folders: {error}", fix) from None


def _outcome(record: RunRecord) -> tuple[Outcome, float | None]:
    result = record.result
    if result is None:
        return "missing" if record.is_missing else "waiting", None
    return result.status, None if result.test is None else result.test.top1_accuracy_pct


def _without_seed(record: RunRecord) -> dict[str, Any]:
    return {key: value for key, value in flatten(encode(record.config)).items() if key != "seed"}


def _differing_fields(a: RunSet, b: RunSet) -> tuple[str, ...]:
    left, right = _without_seed(a.records[0]), _without_seed(b.records[0])
    names = [key for key in sorted(left.keys() | right.keys()) if left.get(key) != right.get(key)]
    return tuple(
        f"{key}: {left.get(key)} against {right.get(key)}" for key in names if key != "data.sha256"
    )


def _warnings(a: RunSet, b: RunSet, effect: Effect | None) -> tuple[str, ...]:
    warnings = []
    left, right = a.records[0].file.run, b.records[0].file.run
    if left.data.sha256 != right.data.sha256:
        warnings.append("the data differ (another SHA-256): the difference is also one of images")
    elif left.data != right.data:
        warnings.append(
            "the images are split differently: the networks were not trained on the same "
            "train split"
        )
    for runs in (a, b):
        counts = runs.summary.counts
        if counts.trained < counts.ended:
            warnings.append(
                f"{counts.trained} of {format_count(counts.ended, 'run')} of {runs.name} trained: "
                "the mean is of these runs only"
            )
        reasons = [record.result.reason for record in runs.records if record.result]
        if undecided := sum(map(is_undecided, reasons)):
            count = format_count(undecided, "run")
            warnings.append(f"no proof of learning in {count} of {runs.name}: {UNDECIDED}")
        if counts.waiting:
            warnings.append(f"not finished: {format_count(counts.waiting, 'run')} of {runs.name}")
    if effect is None:
        warnings.append("fewer than two trained runs per set: no interval and no test of means")
    elif min(len(runs.summary.trained_pct) for runs in (a, b)) < FEW_RUNS:
        warnings.append(f"fewer than {FEW_RUNS} trained runs per set: the interval is wide")
    shared = {record.config.seed for record in a.records} & {
        record.config.seed for record in b.records
    }
    if shared and left.model == right.model:
        warnings.append(
            f"the sets share {format_count(len(shared), 'seed')}, so their runs have the same "
            "initial weights; Welch's test assumes independent sets"
        )
    if left.numerics != right.numerics:
        warnings.append("the numerics differ and may cause part of the difference")
    warnings.append(
        "no claim was declared before the comparison, so this is an exploration and no verdict"
    )
    return tuple(warnings)


def _disagreement(a: RunSet, b: RunSet) -> Disagreement | None:
    """Return McNemar's exact test, if both runs saved their logits on the same test images."""
    import numpy as np

    data_a, data_b = (runs.records[0].file.run.data for runs in (a, b))
    if (data_a.sha256, data_a.folds, data_a.fold) != (data_b.sha256, data_b.folds, data_b.fold):
        return None
    folders = [Path(runs.records[0].folder) for runs in (a, b)]
    if not all((folder / LOGITS).exists() for folder in folders):
        return None
    for folder in folders:
        check_file(folder / LOGITS)
    saved = [read_logits(folder) for folder in folders]
    if not np.array_equal(saved[0].labels, saved[1].labels):  # other folds of the same images
        return None
    correct = [recorded.logits.argmax(1) == recorded.labels for recorded in saved]
    only_a, only_b = int(np.sum(correct[0] & ~correct[1])), int(np.sum(correct[1] & ~correct[0]))
    return Disagreement(only_a, only_b, len(correct[0]), mcnemar(only_a, only_b))


def format_lines(comparison: Comparison) -> Sequence[str]:
    """Return the comparison as lines of text."""
    text = []
    for letter, runs in (("A", comparison.a), ("B", comparison.b)):
        summary = runs.summary
        interval = summary.interval_pct
        span = f" [{interval.low:.1f}, {interval.high:.1f}]" if interval else ""
        mean = (
            f"{summary.mean_pct:.1f} %{span}" if summary.mean_pct is not None else "no trained run"
        )
        counts = summary.counts
        text.append(
            f"{letter}: {runs.name}: {mean}, {counts.trained} of "
            f"{format_count(counts.planned, 'run')} trained"
        )
    text += [f"different {field}" for field in comparison.differing_fields]
    effect = comparison.effect
    if effect is not None and effect.is_deterministic:
        text.append(
            f"A - B: {effect.estimate:+.1f} points: both sets are constant, so the "
            "difference is deterministic"
        )
    elif effect is not None and comparison.p is not None:
        low, high = effect.interval()
        p = f"p = {comparison.p:.4f}" if comparison.p >= 1e-4 else "p < 0.0001"
        text.append(
            f"A - B: {effect.estimate:+.1f} points [{low:.1f}, {high:.1f}], Welch, nu = "
            f"{effect.df:.1f}, {p}"
        )
    if comparison.disagreement is not None:
        pair = comparison.disagreement
        text.append(
            f"of {pair.images:,} test images only A is correct on {pair.only_a:,} and only B on "
            f"{pair.only_b:,}: McNemar, exact, p = {pair.p:.4f}. The test compares these two "
            "networks, not their recipes"
        )
    return [*text, *(f"note: {warning}" for warning in comparison.warnings)]


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain values: accuracies in percent, differences A - B in points."""
    effect = comparison.effect
    return {
        "a": _run_set_to_dict(comparison.a),
        "b": _run_set_to_dict(comparison.b),
        "differences": comparison.differing_fields,
        "difference_points": effect.estimate if effect is not None else None,
        "difference_interval_points": effect.interval() if effect is not None else None,
        "degrees_of_freedom": effect.df if effect is not None else None,
        "p": comparison.p,
        "disagreement": comparison.disagreement,
        "notes": comparison.warnings,
    }


def _run_set_to_dict(runs: RunSet) -> dict[str, Any]:
    summary = runs.summary
    return {
        "name": runs.name,
        "runs": summary.counts.planned,
        "trained": summary.counts.trained,
        "test_accuracy_pct": summary.mean_pct,
        "sd_pct": summary.sd_pct,
        "interval_pct": summary.interval_pct,
        "accuracies_pct": summary.trained_pct,
        "folders": [record.folder for record in runs.records],
    }
