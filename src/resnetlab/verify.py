"""A committed result, put to the test: some of its runs are made again here and held against what was reported.

Of each condition a single new run is foreseen to lie within mean +- t s sqrt(1 + 1 / n) of its n reported converged
runs, at 95 %. One run proves nothing about a mean, and one in twenty lies outside by chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnetlab.api import LoadedStudy
from resnetlab.codec import encode
from resnetlab.errors import mistake
from resnetlab.reports.evidence import Evidence, Machine, Row, gather, load
from resnetlab.stats.estimate import Interval
from resnetlab.stats.published import Published, prediction
from resnetlab.studies.plan import Plan
from resnetlab.studies.run import read_record
from resnetlab.studies.spec import Condition
from resnetlab.training.hardware import processor_has_bf16
from resnetlab.training.numerics import Numerics


@dataclass(frozen=True)
class Repeated:
    """A reported run and the one that was made again: accuracies in percent."""

    reported: Row
    again: Row
    foreseen: Interval | None
    """Of a single new run; None where fewer than two reported runs converged."""
    same_setting: bool
    """Whether torch, processor, data and numerics are those of a reported run."""

    @property
    def holds(self) -> bool:
        """Whether the new run ended as the reported one: converged ones with its digits, or as foreseen."""
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
        """Whether test error and loss agree to the last digit."""
        return (self.again.test_error_pct, self.again.test_loss_nats) == (
            self.reported.test_error_pct, self.reported.test_loss_nats,
        )  # fmt: skip


def chosen(evidence: Evidence, cells: int, seed: int) -> tuple[Row, ...]:
    """That many finished runs of a result, drawn by `seed`. Raises InputError where there are none."""
    held = [row for row in evidence.rows if row.status in ("converged", "dead", "diverged")]
    if not held:
        raise mistake(evidence.study.name, "no finished run to repeat", "give the folder of a finished report")
    return tuple(random.Random(seed).sample(held, min(cells, len(held))))


def verify(
    folder: Path, root: Path, *, cells: int = 2, seed: int = 0, data: str = "",
    say: Callable[[str], None] = lambda _: None, train: Callable[[LoadedStudy, Plan], bool] | None = None,
) -> Iterator[Repeated]:  # fmt: skip
    """Repeat `cells` runs of the report in `folder`, under `root`, and give each as it is done.

    `data` says where the data lie here. `train` trains a plan, for a caller that shows progress; it returns False to
    stop. Raises InputError: no report there, data that cannot be read, a run in bf16 where it would be emulated.
    """
    train = train or (lambda loaded, plan: _train(loaded, plan, root))
    evidence = load(folder)
    for row in chosen(evidence, cells, seed):
        condition = evidence.study.condition(row.condition)
        numerics = _numerics(evidence, condition)
        _refuse_emulation(numerics, str(folder))
        study = replace(
            evidence.study, conditions=(_here(condition, data),), seeds=(row.seed,), claims=(), published=(), ladder=(),
            ensembles=(), numerics=numerics,
        )  # fmt: skip
        loaded = LoadedStudy(study)
        plan = loaded.plan(root, say)
        say(f"repeating {row.condition}, seed {row.seed}")
        if not train(loaded, plan):
            return
        now = gather(read_record(plan, root))
        alike = [held for held in evidence.rows if (held.condition, held.status) == (row.condition, "converged")]
        converged = [value for held in alike if (value := _accuracy(held)) is not None]
        yield Repeated(row, now.rows[0], _foreseen(converged), _same_setting(evidence, now, plan, row))


def _train(loaded: LoadedStudy, plan: Plan, root: Path) -> bool:
    for _ in loaded.events(plan, root):
        pass
    return True


def _refuse_emulation(numerics: Numerics, where: str) -> None:
    """Raise InputError where the run was trained in bf16 and this processor would emulate it for hours."""
    if numerics.device == "cpu" and numerics.precision == "bf16" and not processor_has_bf16():
        what = "its runs were trained in bf16, for which this processor has no instructions"
        raise mistake(where, what, "verify it on a processor with avx512_bf16 or amx_bf16", field="precision")


def line(item: Repeated) -> str:
    """What came of one repetition, in words."""
    head = f"{item.reported.condition}, seed {item.reported.seed}: "
    if item.again.status != item.reported.status:
        return f"{head}reported {item.reported.status}, here {item.again.status}: does not hold"
    accuracy, reported = _accuracy(item.again), _accuracy(item.reported)
    if accuracy is None or reported is None:
        return f"{head}{item.again.status} again: holds"
    said = f"{head}reported {reported:.2f} %, here {accuracy:.2f} %"
    if item.same_digits:
        return f"{said} (the same to the last digit): holds"
    said += " (other digits" + (", though torch, processor and data are the same)" if item.same_setting else ")")
    if item.foreseen is None:
        return f"{said}; too few reported runs to foresee a new one"
    low, high = item.foreseen
    return f"{said}; a new run is foreseen in [{low:.2f}, {high:.2f}]: {'holds' if item.holds else 'does not hold'}"


def summary(items: Sequence[Repeated]) -> str:
    """All of them, and how much that says."""
    held = sum(item.holds for item in items)
    return (
        f"{held} of {len(items)} repeated run{'s' * (len(items) != 1)} {'holds' if held == 1 else 'hold'}. One new run "
        "in twenty lies outside its 95 % prediction interval by chance, and few runs cannot confirm a mean."
    )


def facts(items: Sequence[Repeated]) -> dict[str, Any]:
    """All of them as plain values, for `--json`: accuracies in percent."""
    repeated = [
        {
            "condition": item.reported.condition, "seed": item.reported.seed, "holds": item.holds,
            "reported_status": item.reported.status, "status": item.again.status,
            "reported_accuracy_pct": _accuracy(item.reported), "accuracy_pct": _accuracy(item.again),
            "prediction_interval_pct": item.foreseen, "same_digits": item.same_digits,
            "same_setting": item.same_setting,
        }
        for item in items
    ]  # fmt: skip
    return {"repeated": repeated, "holding": sum(item.holds for item in items), "holds": all(i.holds for i in items)}


def _accuracy(row: Row) -> float | None:
    return None if row.test_error_pct is None else 100 - row.test_error_pct


def _foreseen(converged: Sequence[float]) -> Interval | None:
    return prediction([(converged, Published(value=0.0))]) if len(converged) > 1 else None


def _here(condition: Condition, data: str) -> Condition:
    return replace(condition, data=replace(condition.data, source=data)) if data else condition


def _numerics(evidence: Evidence, condition: Condition) -> Numerics:
    """Those of the result: of several, the ones that the condition asked for."""
    asked = encode(evidence.study.numerics_of(condition))
    fixed = {name: value for name, value in asked.items() if value not in ("auto", 0)}
    fitting = [held for held in evidence.numerics if encode(held).items() >= fixed.items()]
    return fitting[0] if fitting else evidence.study.numerics_of(condition)


def _same_setting(evidence: Evidence, now: Evidence, plan: Plan, row: Row) -> bool:
    """A run's name ends in the hash of all that decides it, data and numerics among them."""
    if plan.runs[0].id.rpartition("-")[2] != row.run.rpartition("-")[2]:
        return False
    return {_setting(machine) for machine in now.machines} <= {_setting(machine) for machine in evidence.machines}


def _setting(machine: Machine) -> tuple[str | None, ...]:
    """What the bits of a run depend on; a processor's name alone does not tell its instructions."""
    return machine.processor, machine.instruction_set, machine.packages.get("torch")
