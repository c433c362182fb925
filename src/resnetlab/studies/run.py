"""Execution of a study: open its data, plan its runs, run them and read their records.

It writes no report.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from resnetlab.data.config import Data
from resnetlab.data.splits import load
from resnetlab.errors import InputError, Problem, mistake
from resnetlab.files import MAX_OWN_BYTES, is_locked, read_json, write_json
from resnetlab.finetune.dataset import load_photographs
from resnetlab.models.configs.external import External
from resnetlab.models.flops import cost
from resnetlab.recipes.finetune import Tuning
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.paths import LOCK, located
from resnetlab.runs.records import RunRecord
from resnetlab.schema import decode, encode
from resnetlab.studies.executors.base import Backend, Event, Job
from resnetlab.studies.plan import (
    DataFacts,
    Plan,
    PlannedRun,
    StudyRecord,
    expand,
    folder_name,
    record,
)
from resnetlab.studies.study import Opened, Study


def plan_study(
    study: Study,
    root: Path,
    backend: Backend,
    say: Callable[[str], None],
    command: str = "",
    counts: Mapping[str, int] | None = None,
) -> Plan:
    """Open the study's data, resolve the numerics for the backend's machines, plan the runs and
    write plan.json.

    `counts` has the number of seeds of each condition so far, if seeds are added in looks. Raises
    InputError if the data cannot be read or a network does not fit them.
    """
    refuse_absent_weights(study)
    facts = opened_facts(study, root, say)
    refuse_other_classes(study, facts)
    plan = replace(expand(study, facts, backend.settle, cost, counts), command=command)
    write_json(root / "studies" / folder_name(plan) / "plan.json", encode(plan))
    return plan


def refuse_absent_weights(study: Study) -> None:
    """Raise InputError if the file of weights for a fine-tuning recipe is missing.

    The content of that file is part of the ids of its runs.
    """
    for model in dict.fromkeys(c.model for c in study.conditions if isinstance(c.recipe, Tuning)):
        if (
            isinstance(model, External)
            and model.weights != "hub"
            and not Path(model.weights).expanduser().is_file()
        ):
            fix = "put the file there; resnetlab import-weights makes one of a checkpoint of others"
            raise mistake(
                study.name, "no such file of weights", fix, field="model.weights", got=model.weights
            )


def opened_facts(study: Study, root: Path, say: Callable[[str], None]) -> dict[Opened, DataFacts]:
    """Open the study's data and return the facts that the plan needs.

    `say` receives notes about reading them.
    """
    facts: dict[Opened, DataFacts] = {}
    for condition in study.conditions:
        if condition.opened not in facts:
            opening = photograph_facts if isinstance(condition.recipe, Tuning) else array_facts
            facts[condition.opened] = opening(condition.data, root, say)
    return facts


def array_facts(data: Data, root: Path, say: Callable[[str], None]) -> DataFacts:
    """Return the facts about data whose images all have one size."""
    dataset = load(data, root / "cache", say)
    for note in dataset.notes:
        say(note)
    return DataFacts(
        name=dataset.name,
        identity=dataset.identity,
        classes=dataset.classes,
        channels=dataset.channels,
        side=dataset.side,
        train_images=len(dataset.train),
        class_share=float(dataset.shares.max()),
        about=dataset.about,
    )


def photograph_facts(data: Data, root: Path, say: Callable[[str], None]) -> DataFacts:
    """Return the facts about a folder of photographs, which a recipe resizes itself."""
    photos = load_photographs(data, root / "cache", say)
    for note in photos.notes:
        say(note)
    return DataFacts(
        name=photos.name,
        identity=photos.identity,
        classes=photos.classes,
        channels=3,
        side=0,
        train_images=len(photos.train),
        class_share=photos.chance,
        about=photos.overlap,
    )


def refuse_other_classes(study: Study, facts: Mapping[Opened, DataFacts]) -> None:
    """Raise InputError if the data of a published table have another number of classes.

    Such numbers cannot be compared with the study.
    """
    problems = {}
    for pair in study.published:
        facts_of_data, classes = (
            facts[study.condition(pair.condition).opened],
            pair.protocol.classes,
        )
        if classes is not None and len(facts_of_data.classes) != classes:
            what = (
                f"{pair.title} is of {classes} classes, and {facts_of_data.name} has "
                f"{len(facts_of_data.classes)}"
            )
            fix = (
                f"give {pair.protocol.data or 'such data'}, or remove the source from a copy of "
                "the study file"
            )
            problems[pair.title, facts_of_data.name] = Problem(
                study.name, what, fix, field="published"
            )
    if problems:
        raise InputError(*problems.values())


def read_plan(folder: Path) -> Plan:
    """Read the plan of a report's folder. Raises InputError if there is none."""
    path = folder / "plan.json"
    if not path.exists():
        raise mistake(str(folder), "no study was begun there", "resnetlab study run STUDY")
    plan: Plan = decode(Plan, read_json(path, MAX_OWN_BYTES), str(path))
    return plan


def read_record(plan: Plan, root: Path) -> StudyRecord:
    """Read the record of a study from the present state of its runs."""
    folders = located(root, [run.id for run in plan.runs])
    running = frozenset(run_id for run_id, path in folders.items() if is_locked(path / LOCK))
    return record(plan, lambda run_id: RunDirectory(folders[run_id]).record(), running)


def missing(plan: Plan, root: Path) -> list[PlannedRun]:
    """Return the planned runs that have no result or lack a measurement that can still be made, in
    order.
    """
    folders = located(root, [run.id for run in plan.runs])
    return [run for run in plan.runs if RunDirectory(folders[run.id]).lacks(run.file)]


def past_runs(root: Path) -> list[RunRecord]:
    """Return the finished runs of all studies under `root`."""
    records = []
    for path in sorted((root / "runs").glob("*/result.json")):
        with contextlib.suppress(InputError):  # a run of another schema cannot be read
            if (run_record := RunDirectory(path.parent).record()) is not None:
                records.append(run_record)
    return records


def run_plan(plan: Plan, root: Path, backend: Backend, stop: Callable[[], bool]) -> Iterator[Event]:
    """Run the missing runs of a plan and yield their events."""
    yield from backend.run([Job(run.id, run.file) for run in missing(plan, root)], stop)
