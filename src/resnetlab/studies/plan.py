"""Plans of studies: from a study to its runs, and from runs back to the record of a study."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from resnetlab.data.config import DataIdentity
from resnetlab.errors import input_error
from resnetlab.files import MAX_GENERATED_BYTES, read_json
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.external import with_num_classes
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import train_subset_size
from resnetlab.runs.config import RunConfig, algorithm_version, run_id
from resnetlab.runs.kinds import is_fine_tuning
from resnetlab.runs.records import RunFile, RunRecord
from resnetlab.schema import SCHEMA, RunId, decode, strict_dataclass
from resnetlab.studies.study import Condition, DataKey, Study

Item = TypeVar("Item")

CostFunction = Callable[[ModelConfig, int, int, int], tuple[int, int]]
"""Function that counts parameters and multiply-adds for one image of channels, classes and size."""

CodeFunction = Callable[[ModelConfig, int, int], ModelConfig]
"""Function that adds the hashes of a network's own code, given channels and classes."""

ResolveNumerics = Callable[[Numerics], Numerics]
"""Function that replaces `auto` in numerics by the values of the machine that runs them."""


@dataclass(frozen=True)
class DataProperties:
    """Properties of a data set that a plan needs."""

    name: str
    identity: DataIdentity
    classes: tuple[str, ...]
    channels: int
    image_size: int
    train_images: int
    class_share: float
    about: str = ""
    validation_images: int = 0
    test_images: int = 0
    available_train_images: int = 0
    """Number of train images before `data.train_images` takes a part of them."""


@strict_dataclass
class PlannedRun:
    """Planned run of a study: a condition, a seed and the run for them."""

    condition: str
    seed: int
    id: RunId
    file: RunFile
    evaluation_images: int = 0
    """Images of all evaluations of the run; 0 if they are unknown."""
    channels: int = 0
    """Channels of the images; 0 if they are unknown."""
    image_size: int = 0
    """Height and width of the images in pixels; 0 for photographs of any size."""

    @property
    def config(self) -> RunConfig:
        """Resolved configuration of the run."""
        return self.file.run

    @cached_property
    def train_macs(self) -> int:
        """Multiply-adds of all forward passes of the training: the cost of the run."""
        recipe = self.config.recipe
        return self.file.macs * recipe.total_steps(self.file.train_images) * recipe.batch_size


@strict_dataclass
class Plan:
    """Plan of a study, the report folder's `plan.json`: its runs in the order of their start."""

    study: Study
    runs: tuple[PlannedRun, ...]
    command: str = ""
    """Command that repeats the study, without paths of this machine."""
    resume_command: str = ""
    """Command that continues the study on this machine, with every option as it was given."""
    source_sha256: str = ""
    """SHA-256 of the study file and of the files that it names; empty for a study without a file.
    """

    @property
    def unique_runs(self) -> tuple[PlannedRun, ...]:
        """Each run once, although several conditions may share it."""
        return tuple({run.id: run for run in reversed(self.runs)}.values())[::-1]


def load_plan(path: Path) -> Plan:
    """Read a plan.json. Raises InputError if it is not valid."""
    table = read_json(path, MAX_GENERATED_BYTES)
    runs = table.get("runs") if isinstance(table, dict) else None
    for run in runs if isinstance(runs, list) else ():
        if isinstance(run, dict):
            # Fields of older files: one follows from the others, one has another name.
            run.pop("macs", None)
            if "side" in run:
                run["image_size"] = run.pop("side")
    plan: Plan = decode(Plan, table, str(path))
    return plan


RunState = Literal["waiting", "running", "missing", "finished"]


@dataclass(frozen=True)
class StudyRun:
    """Planned run with its state and its record."""

    planned: PlannedRun
    state: RunState
    record: RunRecord | None


@dataclass(frozen=True)
class StudyRecord:
    """Record of a study: the study with all its planned runs. A report is built from it."""

    study: Study
    runs: tuple[StudyRun, ...]

    def runs_of(self, label: str) -> tuple[StudyRun, ...]:
        """Return the runs of a condition, in the order of their seeds."""
        return tuple(
            sorted(self._runs_by_condition.get(label, ()), key=lambda item: item.planned.seed)
        )

    @property
    def states(self) -> dict[str, RunState]:
        """State of each run by its id. A run that several conditions share is finished
        when it is finished for each of them.
        """
        states: dict[str, RunState] = {}
        for item in self.runs:
            if states.get(item.planned.id, "finished") == "finished":
                states[item.planned.id] = item.state
        return states

    @cached_property
    def _runs_by_condition(self) -> dict[str, list[StudyRun]]:
        return group_by(self.runs, lambda item: item.planned.condition)


def group_by(items: Iterable[Item], key: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Group items by their label. They keep their order."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def make_plan(
    study: Study,
    properties: Mapping[DataKey, DataProperties],
    resolve: ResolveNumerics,
    cost: CostFunction,
    seed_counts: Mapping[str, int] | None = None,
    with_code: CodeFunction = lambda model, *_: model,
) -> Plan:
    """Return the plan: every condition with every seed, seed by seed, the costliest first.

    `cost` counts a network; for an external one this means to build it. `seed_counts`
    has the number of seeds of each condition at a look, by label; None stands for all seeds.
    """
    runs = []
    models = {
        c.label: with_code(
            c.model, properties[c.data_key].channels, len(properties[c.data_key].classes)
        )
        for c in study.conditions
    }
    for number, seed in enumerate(study.seeds):
        conditions = [
            c for c in study.conditions if seed_counts is None or number < seed_counts[c.label]
        ]
        seed_runs = [
            _plan_run(
                c,
                models[c.label],
                seed,
                properties[c.data_key],
                resolve(study.numerics_of(c)),
                cost,
                _diagnostics_of_seed(study.diagnostics, number),
            )
            for c in conditions
        ]
        runs += sorted(seed_runs, key=lambda run: -run.train_macs)
    return Plan(study=study, runs=_with_train_mode(study, runs))


def _diagnostics_of_seed(diagnostics: DiagnosticsConfig, number: int) -> DiagnosticsConfig:
    """Return the measurements of the runs with a seed: loss landscapes of the first seeds alone."""
    config = diagnostics.loss_landscape
    measured = config is None or number < config.seeds
    return diagnostics if measured else replace(diagnostics, loss_landscape=None)


def _with_train_mode(study: Study, runs: Sequence[PlannedRun]) -> tuple[PlannedRun, ...]:
    """Request the evaluation in training mode from the runs of a condition that needs it.

    Conditions that differ in the mode of their evaluation alone share these runs.
    """
    labels = {c.label for c in study.conditions if c.evaluation_mode == "train"}
    ids = {run.id for run in runs if run.condition in labels}

    def requested(run: PlannedRun) -> PlannedRun:
        diagnostics = replace(run.file.diagnostics, train_mode=True)
        return replace(
            run,
            file=replace(run.file, diagnostics=diagnostics),
            evaluation_images=2 * run.evaluation_images,
        )

    return tuple(requested(run) if run.id in ids else run for run in runs)


def folder_name(plan: Plan) -> str:
    """Return the report folder's name: the study's, with a hash if a command changed it."""
    study = plan.study
    if study.overrides == study.variant:
        return study.name
    changed = [*map(str, study.overrides), *sorted({run.config.data.sha256 for run in plan.runs})]
    return f"{study.name}-{hashlib.sha256('|'.join(changed).encode()).hexdigest()[:6]}"


def make_record(
    plan: Plan, read_run: Callable[[str], RunRecord | None], running: frozenset[str] = frozenset()
) -> StudyRecord:
    """Return the record of a study; `read_run` returns None for a run that did not start."""
    study_runs = []
    modes = {c.label: c.evaluation_mode for c in plan.study.conditions}
    for run in plan.runs:
        run_record = read_run(run.id)
        run_record = run_record and run_record.evaluated_in(modes[run.condition])
        study_runs.append(StudyRun(run, _state(run_record, run.id in running), run_record))
    return StudyRecord(plan.study, tuple(study_runs))


def _state(run_record: RunRecord | None, running: bool) -> RunState:
    if run_record is not None and run_record.result is not None:
        return "finished"
    if running:
        return "running"
    return "missing" if run_record is not None and run_record.is_missing else "waiting"


def _plan_run(
    condition: Condition,
    model: ModelConfig,
    seed: int,
    properties: DataProperties,
    numerics: Numerics,
    cost: CostFunction,
    diagnostics: DiagnosticsConfig,
) -> PlannedRun:
    run = RunConfig(
        algorithm_version=algorithm_version(condition.kind),
        model=model,
        data=properties.identity,
        recipe=condition.recipe,
        numerics=numerics,
        seed=seed,
    )
    recipe = condition.recipe
    selects_best = not is_fine_tuning(recipe) and recipe.select == "best"
    if selects_best and not properties.validation_images:
        fix = 'data.validation = 0.1, or recipe.select = "last"'
        message = "there are no validation images that could select the best weights"
        raise input_error(condition.label, message, fix, field="recipe.select", got="best")
    input_size = condition.recipe.input_size(properties.image_size, properties.channels)
    num_classes = len(properties.classes)
    if condition.kind.uses_photos:
        model = with_num_classes(model, num_classes)  # the new classifier, not the pre-trained one
    parameters, macs = cost(model, properties.channels, num_classes, input_size)
    file = RunFile(
        schema=SCHEMA,
        run=run,
        data_name=properties.name,
        data_about=properties.about,
        data=condition.data,
        classes=properties.classes,
        train_images=properties.train_images,
        available_train_images=properties.available_train_images,
        parameters=parameters,
        macs=macs,
        class_share=properties.class_share,
        diagnostics=diagnostics,
    )
    return PlannedRun(
        condition=condition.label,
        seed=seed,
        id=run_id(run, properties.name),
        file=file,
        evaluation_images=_evaluation_images(condition, properties),
        channels=properties.channels,
        image_size=properties.image_size,
    )


def _evaluation_images(condition: Condition, properties: DataProperties) -> int:
    """Return the images of all evaluations of a run that trains from scratch, and 0 for others."""
    recipe, data = condition.recipe, condition.data
    if is_fine_tuning(recipe):
        return 0
    splits = [train_subset_size(properties.train_images), properties.validation_images]
    splits += [properties.test_images] if data.test_curve else []
    curve = [min(images, data.curve_images or images) for images in splits]
    evaluations = recipe.evaluations(properties.train_images)
    again = sum(full for full, part in zip(splits, curve, strict=True) if full > part)
    test = 0 if data.test_curve else properties.test_images
    return evaluations * sum(curve) + again + test
