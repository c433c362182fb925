"""A study, from its file to its results. Writes no report: floors above do."""

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
from resnetlab.studies.plan import DataFacts, Plan, PlannedRun, StudyRecord, expand, folder_name, record
from resnetlab.studies.study import Opened, Study


def plan_study(
    study: Study, root: Path, backend: Backend, say: Callable[[str], None], command: str = "",
    counts: Mapping[str, int] | None = None,
) -> Plan:  # fmt: skip
    """Open the study's data, settle what the backend's machines decide, and lay out its runs; plan.json holds them.

    `counts` says how many seeds each condition has so far, where they are added in looks.

    Raises InputError: data that cannot be read, a network that does not fit them.
    """
    refuse_absent_weights(study)
    facts = opened_facts(study, root, say)
    refuse_other_classes(study, facts)
    plan = replace(expand(study, facts, backend.settle, cost, counts), command=command)
    write_json(root / "studies" / folder_name(plan) / "plan.json", encode(plan))
    return plan


def refuse_absent_weights(study: Study) -> None:
    """Raise InputError where a recipe of fine-tuning begins from a file that is not there: its content is part of what
    its runs are called."""
    for model in dict.fromkeys(c.model for c in study.conditions if isinstance(c.recipe, Tuning)):
        if isinstance(model, External) and model.weights != "hub" and not Path(model.weights).expanduser().is_file():
            fix = "put the file there; resnetlab import-weights makes one of a checkpoint of others"
            raise mistake(study.name, "no such file of weights", fix, field="model.weights", got=model.weights)


def opened_facts(study: Study, root: Path, say: Callable[[str], None]) -> dict[Opened, DataFacts]:
    """What the plan must know of each of the study's data; opens them, and says how they were read."""
    facts: dict[Opened, DataFacts] = {}
    for condition in study.conditions:
        if condition.opened not in facts:
            opening = photograph_facts if isinstance(condition.recipe, Tuning) else array_facts
            facts[condition.opened] = opening(condition.data, root, say)
    return facts


def array_facts(data: Data, root: Path, say: Callable[[str], None]) -> DataFacts:
    """Of data of which all images have one size."""
    dataset = load(data, root / "cache", say)
    for note in dataset.notes:
        say(note)
    return DataFacts(
        name=dataset.name, identity=dataset.identity, classes=dataset.classes, channels=dataset.channels,
        side=dataset.side, train_images=len(dataset.train), class_share=float(dataset.shares.max()),
        about=dataset.about,
    )  # fmt: skip


def photograph_facts(data: Data, root: Path, say: Callable[[str], None]) -> DataFacts:
    """Of a folder of photographs, which a recipe shows at sizes of its own."""
    photos = load_photographs(data, root / "cache", say)
    for note in photos.notes:
        say(note)
    return DataFacts(
        name=photos.name, identity=photos.identity, classes=photos.classes, channels=3, side=0,
        train_images=len(photos.train), class_share=photos.chance, about=photos.overlap,
    )  # fmt: skip


def refuse_other_classes(study: Study, facts: Mapping[Opened, DataFacts]) -> None:
    """Raise InputError where a published table is of data with another number of classes: no number of it would say
    anything here."""
    problems = {}
    for pair in study.published:
        held, wanted = facts[study.condition(pair.condition).opened], pair.protocol.classes
        if wanted is not None and len(held.classes) != wanted:
            what = f"{pair.title} is of {wanted} classes, and {held.name} has {len(held.classes)}"
            fix = f"give {pair.protocol.data or 'such data'}, or remove the source from a copy of the study file"
            problems[pair.title, held.name] = Problem(study.name, what, fix, field="published")
    if problems:
        raise InputError(*problems.values())


def read_plan(folder: Path) -> Plan:
    """The plan of a report's folder. Raises InputError when there is none."""
    path = folder / "plan.json"
    if not path.exists():
        raise mistake(str(folder), "no study was begun there", "resnetlab study run STUDY")
    plan: Plan = decode(Plan, read_json(path, MAX_OWN_BYTES), str(path))
    return plan


def read_record(plan: Plan, root: Path) -> StudyRecord:
    """The study's cells as the runs' folders stand."""
    at = located(root, [run.id for run in plan.runs])
    running = frozenset(run_id for run_id, path in at.items() if is_locked(path / LOCK))
    return record(plan, lambda run_id: RunDirectory(at[run_id]).record(), running)


def missing(plan: Plan, root: Path) -> list[PlannedRun]:
    """The planned runs that have no result yet, or lack what can still be measured of them, in order."""
    at = located(root, [run.id for run in plan.runs])
    return [run for run in plan.runs if RunDirectory(at[run.id]).lacks(run.file)]


def past_runs(root: Path) -> list[RunRecord]:
    """The finished runs under `root`, of whatever study."""
    records = []
    for path in sorted((root / "runs").glob("*/result.json")):
        with contextlib.suppress(InputError):  # of another schema: nothing to learn from
            if (found := RunDirectory(path.parent).record()) is not None:
                records.append(found)
    return records


def run_plan(plan: Plan, root: Path, backend: Backend, stop: Callable[[], bool]) -> Iterator[Event]:
    """Do what is missing, and tell of it."""
    yield from backend.run([Job(run.id, run.file) for run in missing(plan, root)], stop)
