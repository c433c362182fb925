"""Replication of reported runs: draw some, train them here and compare them with the report.

The 95 % prediction interval of one new run is mean +- t s sqrt(1 + 1 / n), from the n reported
trained runs of its condition. One run proves nothing about a mean, and one in twenty lies outside
its interval by chance.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnetlab.analysis.analyze import data_by_condition
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data
from resnetlab.analysis.study_data import Machine, RunRow, StudyData
from resnetlab.analysis.training_share import TrainingShare, training_share
from resnetlab.api.loaded_study import LoadedStudy
from resnetlab.errors import input_error
from resnetlab.files import remove_tree, sha256, try_lock
from resnetlab.messages import Notify, format_count, silent
from resnetlab.recipes.numerics import Numerics
from resnetlab.reports.format import join_words
from resnetlab.schema import encode
from resnetlab.settings import cache_dir
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, Interval, within_range
from resnetlab.stats.prediction import ReportedResult, prediction_interval
from resnetlab.studies.execution import read_record
from resnetlab.studies.plan import Plan
from resnetlab.studies.study import Condition, Study
from resnetlab.training.resolve import lacks_bf16


@dataclass(frozen=True)
class Replication:
    """Pair of a reported run and its replication here. Accuracies are in percent."""

    reported: RunRow
    replicated: RunRow
    prediction_interval: Interval | None
    """Prediction interval of a single new run; None if fewer than two reported runs trained."""
    share: TrainingShare | None
    """Share of the study file's training that both had; None for all of it."""
    same_environment: bool
    """True if torch, processor, data and numerics equal those of a reported run."""
    code_changed: bool = False
    """True if the network is built by code of the user's own, and the repeated run has another id
    on the same data: its code, or the training algorithm, is not that of the report.
    """

    @property
    def is_consistent(self) -> bool | None:
        """True if the replication agrees with the reported run, None if they cannot be compared.

        Both must have the same status. The accuracy of a trained run must equal the reported one
        or lie in the prediction interval. Other digits without an interval cannot be compared.
        """
        if self.replicated.status != self.reported.status:
            return False
        if self.same_digits:
            return True
        accuracy = _accuracy(self.replicated)
        if self.replicated.status != "trained" or accuracy is None:
            return True
        if self.prediction_interval is None:
            return None
        return self.prediction_interval.low <= accuracy <= self.prediction_interval.high

    @property
    def phrase(self) -> str:
        """Result with its protocol: `at 4 % of the training: reproduced`."""
        words = {True: "reproduced", False: "not reproduced", None: "not comparable"}
        word = words[self.is_consistent]
        return f"{self.share.message}: {word}" if self.share else word

    @property
    def same_digits(self) -> bool:
        """True if test error and loss agree to the last digit."""
        return (self.replicated.test_error_pct, self.replicated.test_loss_nats) == (
            self.reported.test_error_pct,
            self.reported.test_loss_nats,
        )


def sample_runs(study_data: StudyData, num_runs: int, seed: int) -> tuple[RunRow, ...]:
    """Draw `num_runs` finished runs of a result by `seed`. Raises InputError if there are none."""
    finished = [
        row for row in study_data.rows if row.status in ("trained", "at chance", "diverged")
    ]
    if not finished:
        raise input_error(
            study_data.study.name,
            "no finished run to repeat",
            "give the folder of a finished report",
        )
    return tuple(random.Random(seed).sample(finished, min(num_runs, len(finished))))


def replicate_runs(
    folder: Path,
    root: Path,
    *,
    num_runs: int = 2,
    seed: int = 0,
    data: str = "",
    notify: Notify = silent,
    train: Callable[[LoadedStudy, Plan], bool] | None = None,
) -> Iterator[Replication]:
    """Repeat some runs of a report and yield each comparison as soon as the run is finished.

    Args:
        folder: Folder of the committed report.
        root: Output folder of the replications.
        num_runs: Number of runs to repeat.
        seed: Seed of the draw of these runs.
        data: Path of the data on this machine; empty for the path of the study.
        notify: Function that gets a line about each run.
        train: Function that trains a plan, for a caller that shows progress. It returns False to
            stop.

    Raises:
        InputError: There is no report, the data cannot be read, or a run needs bf16, which this
            processor lacks.
    """
    train = train or (lambda loaded, plan: _train(loaded, plan, root))
    study_data = load_study_data(folder)
    if study_data.study.imported:
        fix = "give the report of a study, such as results/digits"
        raise input_error(str(folder), "its runs were trained elsewhere", fix)
    for row in sample_runs(study_data, num_runs, seed):
        loaded = LoadedStudy(_study_of_run(study_data, row, data, str(folder)))
        plan = loaded.plan(root, notify)
        notify(f"repeating {row.condition}, seed {row.seed}")
        if not train(loaded, plan):
            return
        now = collect_study_data(read_record(plan, root))
        trained = [other for other in study_data.rows if other.status == "trained"]
        reported = [_accuracy(other) for other in trained if other.condition == row.condition]
        yield Replication(
            row,
            now.rows[0],
            _prediction_interval([value for value in reported if value is not None]),
            training_share(study_data.study, data_by_condition(study_data), [row.condition]),
            _is_same_environment(study_data, now, plan, row),
            _is_code_changed(study_data, plan, row),
        )


def _study_of_run(study_data: StudyData, row: RunRow, data: str, where: str) -> Study:
    """Return the study of this run alone, without claims, with the numerics that it had."""
    condition = study_data.study.condition(row.condition)
    numerics = _matching_numerics(study_data, condition)
    _check_bf16_support(numerics, where)
    return replace(
        study_data.study,
        conditions=(replace(_with_data(condition, data), numerics=None),),
        seeds=(row.seed,),
        claims=(),
        references=(),
        ladder=(),
        ensembles=(),
        numerics=numerics,
    )


@contextmanager
def replication_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder of the user's cache for the replications of a report; the same one each time.

    It is removed at the end of a `with` block that no exception left, so a call that was stopped
    or killed goes on from its finished runs and checkpoints. Leave the block by an exception to
    keep it. Raises InputError if another process repeats runs of the same report now.

    Args:
        folder: Folder of the report.
    """
    report = folder / "report.json"
    key = sha256(report) if report.is_file() else hashlib.sha256(str(folder).encode()).hexdigest()
    root = cache_dir() / "verify" / key[:16]
    root.parent.mkdir(parents=True, exist_ok=True)
    lock = root.with_suffix(".lock")
    with try_lock(lock) as acquired:
        if not acquired:
            fix = "wait for it, or give --output DIR"
            raise input_error(str(folder), "another process verifies this report now", fix)
        yield root
        if root.exists():
            remove_tree(root)


def _train(loaded: LoadedStudy, plan: Plan, root: Path) -> bool:
    for _ in loaded.execute(plan, root):
        pass
    return True


def _check_bf16_support(numerics: Numerics, where: str) -> None:
    """Raise InputError if the run used bf16, which this processor would emulate for hours."""
    if lacks_bf16(numerics):
        message = "its runs were trained in bf16, for which this processor has no instructions"
        raise input_error(
            where,
            message,
            "verify it on a processor with avx512_bf16 or amx_bf16",
            field="precision",
        )


def format_replication(replication: Replication) -> str:
    """Describe one replication in a line."""
    head = f"{replication.reported.condition}, seed {replication.reported.seed}: "
    if replication.code_changed:
        head += "the network's own code is not that of the report; "
    if replication.replicated.status != replication.reported.status:
        return (
            f"{head}reported {replication.reported.status}, here {replication.replicated.status}: "
            f"{replication.phrase}"
        )
    accuracy, reported = _accuracy(replication.replicated), _accuracy(replication.reported)
    if accuracy is None or reported is None:
        return f"{head}{replication.replicated.status} again: {replication.phrase}"
    text = f"{head}reported {reported:.2f} %, here {accuracy:.2f} %"
    if replication.replicated.status != "trained":  # the interval is one of trained runs
        return f"{text}, {replication.replicated.status} again: {replication.phrase}"
    if replication.same_digits:
        return f"{text} (the same to the last digit): {replication.phrase}"
    text += " (different digits" + (
        ", though torch, processor and data are the same)" if replication.same_environment else ")"
    )
    if replication.prediction_interval is None:
        return f"{text}; too few reported runs to predict a new one: {replication.phrase}"
    low, high = replication.prediction_interval
    return f"{text}; 95 % prediction interval [{low:.2f}, {high:.2f}]: {replication.phrase}"


def summary(replications: Sequence[Replication]) -> str:
    """Summarize the replications and state the limits of the evidence."""
    count = sum(item.is_consistent is True for item in replications)
    unknown = sum(item.is_consistent is None for item in replications)
    shares = sorted({str(item.share.message) for item in replications if item.share})
    limited = ""
    if shares:
        limited = (
            " This is no verdict on a claim: the reported runs themselves are "
            f"{join_words(shares)} that the study file or its source asks for."
        )
    verdict = f"“{shares[0]}: reproduced”" if len(shares) == 1 else "reproduced"
    return (
        f"{count} of {format_count(len(replications), 'repeated run')} "
        f"{'is' if count == 1 else 'are'} {verdict}"
        f"{f', {unknown} cannot be compared' if unknown else ''}.{limited} "
        "One new run in twenty lies outside its 95 % prediction interval by chance, and few "
        "runs cannot confirm a mean."
    )


def to_dict(replications: Sequence[Replication]) -> dict[str, Any]:
    """Return the replications as plain values, for `--json`. Accuracies are in percent."""
    replicated = [
        {
            "condition": item.reported.condition,
            "seed": item.reported.seed,
            "consistent": item.is_consistent,
            "result": item.phrase,
            "reported_status": item.reported.status,
            "status": item.replicated.status,
            "reported_accuracy_pct": _accuracy(item.reported),
            "accuracy_pct": _accuracy(item.replicated),
            "prediction_interval_pct": item.prediction_interval,
            "same_digits": item.same_digits,
            "same_environment": item.same_environment,
            "code_changed": item.code_changed,
        }
        for item in replications
    ]
    return {
        "replicated": replicated,
        "num_consistent": sum(item.is_consistent is True for item in replications),
        "all_consistent": all(item.is_consistent is True for item in replications),
    }


def _accuracy(row: RunRow) -> float | None:
    return None if row.test_error_pct is None else 100 - row.test_error_pct


def _prediction_interval(trained: Sequence[float]) -> Interval | None:
    if len(trained) < 2:
        return None
    interval = prediction_interval([(trained, ReportedResult(value=0.0))])
    return within_range(interval, ACCURACY_RANGE_PCT)


def _with_data(condition: Condition, data: str) -> Condition:
    return replace(condition, data=replace(condition.data, source=data)) if data else condition


def _matching_numerics(study_data: StudyData, condition: Condition) -> Numerics:
    """Return the numerics of the result that match the condition, if the result has several."""
    requested = encode(study_data.study.numerics_of(condition))
    fixed = {name: value for name, value in requested.items() if value not in ("auto", 0)}
    matches = [
        candidate for candidate in study_data.numerics if encode(candidate).items() >= fixed.items()
    ]
    return matches[0] if matches else study_data.study.numerics_of(condition)


def _is_same_environment(
    reported: StudyData, replicated: StudyData, plan: Plan, row: RunRow
) -> bool:
    """Return True if the replication had the reported configuration, processor and torch.

    The id of a run ends in the hash of its configuration, data and numerics.
    """
    if not _has_same_config(plan, row):
        return False
    return {_environment(machine) for machine in replicated.machines} <= {
        _environment(machine) for machine in reported.machines
    }


def _has_same_config(plan: Plan, row: RunRow) -> bool:
    return plan.runs[0].id.rpartition("-")[2] == row.run.rpartition("-")[2]


def _is_code_changed(reported: StudyData, plan: Plan, row: RunRow) -> bool:
    """Return True if only the code of the network can give the replication another id."""
    run = plan.runs[0].file.run
    return (
        getattr(run.model, "needs_consent", False)
        and not _has_same_config(plan, row)
        and run.data.sha256 in {data.sha256 for data in reported.data}
        and run.numerics in reported.numerics
    )


def _environment(machine: Machine) -> tuple[str | None, ...]:
    """Return the properties of a machine that change the bits of a run.

    The name of a processor alone does not determine its instruction set.
    """
    return machine.processor, machine.instruction_set, machine.packages.get("torch")
