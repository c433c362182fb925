"""Replication of a committed result: repeat some of its runs here and compare them with the
reported ones.

The 95 % prediction interval of one new run is mean +- t s sqrt(1 + 1 / n), from the n reported
converged runs of its condition. One run proves nothing about a mean, and one in twenty lies outside
its interval by chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnetlab.analysis.study_data import Evidence, Machine, Row, gather, load
from resnetlab.api import LoadedStudy
from resnetlab.errors import mistake
from resnetlab.recipes.numerics import Numerics
from resnetlab.schema import encode
from resnetlab.stats.intervals import Interval
from resnetlab.stats.prediction import Published, prediction
from resnetlab.studies.plan import Plan
from resnetlab.studies.run import read_record
from resnetlab.studies.study import Condition
from resnetlab.training.hardware import processor_has_bf16


@dataclass(frozen=True)
class Repeated:
    """Pair of a reported run and its repetition here. Accuracies are in percent."""

    reported: Row
    again: Row
    foreseen: Interval | None
    """Prediction interval of a single new run; None if fewer than two reported runs converged."""
    same_setting: bool
    """True if torch, processor, data and numerics equal those of a reported run."""

    @property
    def holds(self) -> bool:
        """Return True if the repetition agrees with the reported run.

        Both must have the same status. The accuracy of a converged run must equal the reported one
        or lie in the prediction interval.
        """
        if self.again.status != self.reported.status:
            return False
        if self.same_digits:
            return True
        accuracy = _accuracy(self.again)
        if self.again.status != "converged" or self.foreseen is None or accuracy is None:
            return True
        return self.foreseen.low <= accuracy <= self.foreseen.high

    @property
    def same_digits(self) -> bool:
        """Return True if test error and loss agree to the last digit."""
        return (self.again.test_error_pct, self.again.test_loss_nats) == (
            self.reported.test_error_pct,
            self.reported.test_loss_nats,
        )


def chosen(evidence: Evidence, cells: int, seed: int) -> tuple[Row, ...]:
    """Draw `cells` finished runs of a result by `seed`. Raises InputError if there are none."""
    finished = [row for row in evidence.rows if row.status in ("converged", "dead", "diverged")]
    if not finished:
        raise mistake(
            evidence.study.name, "no finished run to repeat", "give the folder of a finished report"
        )
    return tuple(random.Random(seed).sample(finished, min(cells, len(finished))))


def verify(
    folder: Path,
    root: Path,
    *,
    cells: int = 2,
    seed: int = 0,
    data: str = "",
    say: Callable[[str], None] = lambda _: None,
    train: Callable[[LoadedStudy, Plan], bool] | None = None,
) -> Iterator[Repeated]:
    """Repeat some runs of a report and yield each comparison as soon as the run is finished.

    Args:
        folder: Folder of the committed report.
        root: Output folder of the repetitions.
        cells: Number of runs to repeat.
        seed: Seed of the draw of these runs.
        data: Path of the data on this machine; empty for the path of the study.
        say: Function that gets a line about each run.
        train: Function that trains a plan, for a caller that shows progress. It returns False to
            stop.

    Raises:
        InputError: There is no report, the data cannot be read, or a run needs bf16, which this
            processor lacks.
    """
    train = train or (lambda loaded, plan: _train(loaded, plan, root))
    evidence = load(folder)
    for row in chosen(evidence, cells, seed):
        condition = evidence.study.condition(row.condition)
        numerics = _numerics(evidence, condition)
        _refuse_emulation(numerics, str(folder))
        study = replace(
            evidence.study,
            conditions=(_with_data(condition, data),),
            seeds=(row.seed,),
            claims=(),
            published=(),
            ladder=(),
            ensembles=(),
            numerics=numerics,
        )
        loaded = LoadedStudy(study)
        plan = loaded.plan(root, say)
        say(f"repeating {row.condition}, seed {row.seed}")
        if not train(loaded, plan):
            return
        now = gather(read_record(plan, root))
        alike = [
            other
            for other in evidence.rows
            if (other.condition, other.status) == (row.condition, "converged")
        ]
        converged = [value for other in alike if (value := _accuracy(other)) is not None]
        yield Repeated(
            row,
            now.rows[0],
            _prediction_interval(converged),
            _same_setting(evidence, now, plan, row),
        )


def _train(loaded: LoadedStudy, plan: Plan, root: Path) -> bool:
    for _ in loaded.events(plan, root):
        pass
    return True


def _refuse_emulation(numerics: Numerics, where: str) -> None:
    """Raise InputError if the run was trained in bf16, which this processor would emulate for
    hours.
    """
    if numerics.device == "cpu" and numerics.precision == "bf16" and not processor_has_bf16():
        what = "its runs were trained in bf16, for which this processor has no instructions"
        raise mistake(
            where, what, "verify it on a processor with avx512_bf16 or amx_bf16", field="precision"
        )


def line(item: Repeated) -> str:
    """Describe one repetition in a line."""
    head = f"{item.reported.condition}, seed {item.reported.seed}: "
    if item.again.status != item.reported.status:
        return f"{head}reported {item.reported.status}, here {item.again.status}: does not hold"
    accuracy, reported = _accuracy(item.again), _accuracy(item.reported)
    if accuracy is None or reported is None:
        return f"{head}{item.again.status} again: holds"
    text = f"{head}reported {reported:.2f} %, here {accuracy:.2f} %"
    if item.same_digits:
        return f"{text} (the same to the last digit): holds"
    text += " (other digits" + (
        ", though torch, processor and data are the same)" if item.same_setting else ")"
    )
    if item.foreseen is None:
        return f"{text}; too few reported runs to foresee a new one"
    low, high = item.foreseen
    return (
        f"{text}; a new run is foreseen in [{low:.2f}, {high:.2f}]: "
        f"{'holds' if item.holds else 'does not hold'}"
    )


def summary(items: Sequence[Repeated]) -> str:
    """Summarize the repetitions and state the limits of the evidence."""
    count = sum(item.holds for item in items)
    return (
        f"{count} of {len(items)} repeated run{'s' * (len(items) != 1)} "
        f"{'holds' if count == 1 else 'hold'}. "
        "One new run in twenty lies outside its 95 % prediction interval by chance, and few "
        "runs cannot confirm a mean."
    )


def facts(items: Sequence[Repeated]) -> dict[str, Any]:
    """Return the repetitions as plain values, for `--json`. Accuracies are in percent."""
    repeated = [
        {
            "condition": item.reported.condition,
            "seed": item.reported.seed,
            "holds": item.holds,
            "reported_status": item.reported.status,
            "status": item.again.status,
            "reported_accuracy_pct": _accuracy(item.reported),
            "accuracy_pct": _accuracy(item.again),
            "prediction_interval_pct": item.foreseen,
            "same_digits": item.same_digits,
            "same_setting": item.same_setting,
        }
        for item in items
    ]
    return {
        "repeated": repeated,
        "holding": sum(item.holds for item in items),
        "holds": all(i.holds for i in items),
    }


def _accuracy(row: Row) -> float | None:
    return None if row.test_error_pct is None else 100 - row.test_error_pct


def _prediction_interval(converged: Sequence[float]) -> Interval | None:
    return prediction([(converged, Published(value=0.0))]) if len(converged) > 1 else None


def _with_data(condition: Condition, data: str) -> Condition:
    return replace(condition, data=replace(condition.data, source=data)) if data else condition


def _numerics(evidence: Evidence, condition: Condition) -> Numerics:
    """Return the numerics of the result that match the condition, if the result has several."""
    requested = encode(evidence.study.numerics_of(condition))
    fixed = {name: value for name, value in requested.items() if value not in ("auto", 0)}
    matches = [
        candidate for candidate in evidence.numerics if encode(candidate).items() >= fixed.items()
    ]
    return matches[0] if matches else evidence.study.numerics_of(condition)


def _same_setting(evidence: Evidence, now: Evidence, plan: Plan, row: Row) -> bool:
    """Return True if the repetition had the same configuration, processor and torch as the reported
    run.

    The id of a run ends in the hash of its configuration, data and numerics.
    """
    if plan.runs[0].id.rpartition("-")[2] != row.run.rpartition("-")[2]:
        return False
    return {_setting(machine) for machine in now.machines} <= {
        _setting(machine) for machine in evidence.machines
    }


def _setting(machine: Machine) -> tuple[str | None, ...]:
    """Return the properties of a machine that change the bits of a run.

    The name of a processor alone does not determine its instruction set.
    """
    return machine.processor, machine.instruction_set, machine.packages.get("torch")
