"""From a study to its runs, and from runs back to a study's record. Free of torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

from resnetlab.data.config import DataIdentity
from resnetlab.inspection.diagnostics_config import Instruments
from resnetlab.models.configs import Model
from resnetlab.recipes.finetune import Tuning
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.config import ALGORITHM_VERSION, SCHEMA, TUNING_VERSION, RunSpec, run_id
from resnetlab.runs.records import RunFile, RunRecord
from resnetlab.schema import spec
from resnetlab.studies.study import Condition, Opened, Study

Item = TypeVar("Item")

Cost = Callable[[Model, int, int, int], tuple[int, int]]
"""Of a network for channels, classes and side: parameters, and multiply-adds for one image."""

Resolve = Callable[[Numerics], Numerics]
"""Numerics without `auto`, as the machine that runs them settles it."""


@dataclass(frozen=True)
class DataFacts:
    """What a plan must know of a data set that was opened."""

    name: str
    identity: DataIdentity
    classes: tuple[str, ...]
    channels: int
    side: int
    train_images: int
    class_share: float
    about: str = ""


@spec
class PlannedRun:
    """A cell of a study: a condition and a seed, and the run that answers it."""

    condition: str
    seed: int
    id: str
    file: RunFile
    macs: int
    """Multiply-adds of one pass over the train split: what a run costs, up to a factor."""


@spec
class Plan:
    """A study's runs, in the order in which they are tried. `plan.json` of a report's folder."""

    study: Study
    runs: tuple[PlannedRun, ...]
    command: str = ""
    """What a person types to repeat it."""


State = Literal["waiting", "running", "missing", "finished"]


@dataclass(frozen=True)
class Cell:
    """A planned run and what has come of it."""

    run: PlannedRun
    state: State
    record: RunRecord | None


@dataclass(frozen=True)
class StudyRecord:
    """A study and all its cells: what a report is built from."""

    study: Study
    cells: tuple[Cell, ...]

    def of(self, label: str) -> tuple[Cell, ...]:
        """The cells of a condition, by seed."""
        return tuple(sorted(self._of.get(label, ()), key=lambda cell: cell.run.seed))

    @cached_property
    def _of(self) -> dict[str, list[Cell]]:
        return grouped(self.cells, lambda cell: cell.run.condition)


def grouped(items: Iterable[Item], label: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Items by their label, in their order."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(label(item), []).append(item)
    return found


def expand(
    study: Study, facts: Mapping[Opened, DataFacts], resolve: Resolve, cost: Cost,
    counts: Mapping[str, int] | None = None,
) -> Plan:  # fmt: skip
    """The runs of a study: every condition with every seed, seed by seed, the costliest of a seed first.

    `cost` counts a network, which for one of others means to build it. `counts` holds, by
    label, how many of the seeds a condition has at a look; None: all.
    """
    runs = []
    for number, seed in enumerate(study.seeds):
        due = [c for c in study.conditions if counts is None or number < counts[c.label]]
        row = [_planned(c, seed, facts[c.opened], resolve(study.numerics_of(c)), cost, study.instruments) for c in due]
        runs += sorted(row, key=lambda run: -run.macs)
    return Plan(study=study, runs=tuple(runs))


def folder_name(plan: Plan) -> str:
    """The report's folder: the study's name, and a hash when a command changed the study."""
    study = plan.study
    if not study.overrides:
        return study.name
    changed = [*study.overrides, *sorted({run.file.run.data.sha256 for run in plan.runs})]
    return f"{study.name}-{hashlib.sha256('|'.join(changed).encode()).hexdigest()[:6]}"


def record(plan: Plan, read: Callable[[str], RunRecord | None], running: frozenset[str] = frozenset()) -> StudyRecord:
    """The study's cells as `read` finds their runs."""
    cells = []
    for run in plan.runs:
        held = read(run.id)
        cells.append(Cell(run, _state(held, run.id in running), held))
    return StudyRecord(plan.study, tuple(cells))


def _state(held: RunRecord | None, running: bool) -> State:
    if held is not None and held.result is not None:
        return "finished"
    if running:
        return "running"
    gave_up = held is not None and held.provenance and held.provenance[-1].get("event") == "gave up"
    return "missing" if gave_up else "waiting"


def _planned(
    condition: Condition, seed: int, facts: DataFacts, numerics: Numerics, cost: Cost, instruments: Instruments
) -> PlannedRun:
    version = TUNING_VERSION if isinstance(condition.recipe, Tuning) else ALGORITHM_VERSION
    run = RunSpec(
        algorithm_version=version, model=condition.model, data=facts.identity, recipe=condition.recipe,
        numerics=numerics, seed=seed,
    )  # fmt: skip
    side = condition.recipe.seen(facts.side, facts.channels)
    parameters, macs = cost(condition.model, facts.channels, len(facts.classes), side)
    file = RunFile(
        schema=SCHEMA, run=run, data_name=facts.name, data_about=facts.about, data=condition.data,
        classes=facts.classes, train_images=facts.train_images, parameters=parameters, macs=macs,
        class_share=facts.class_share, instruments=instruments,
    )  # fmt: skip
    steps = condition.recipe.total_steps(facts.train_images)
    return PlannedRun(
        condition=condition.label, seed=seed, id=run_id(run, facts.name), file=file,
        macs=macs * steps * condition.recipe.batch_size,
    )  # fmt: skip
