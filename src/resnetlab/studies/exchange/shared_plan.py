"""Plan of a study whose runs come from several machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from resnetlab.errors import input_error
from resnetlab.messages import format_count
from resnetlab.runs.config import RunConfig
from resnetlab.schema import encode
from resnetlab.shell import command_line
from resnetlab.studies.command_lines import with_seeds
from resnetlab.studies.exchange.remove_paths import study_without_paths
from resnetlab.studies.exchange.run_sources import RunSource
from resnetlab.studies.execution import read_plan
from resnetlab.studies.parsing.toml_tables import flatten
from resnetlab.studies.plan import Plan, PlannedRun, folder_name
from resnetlab.studies.started import find_started, source_sha256, study_path
from resnetlab.studies.study import Study


def find_plan(into: str, root: Path, sources: Sequence[RunSource]) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan of the study, with the seeds of other machines, and sentences about it."""
    plan = _started_plan(into, root)
    notes = []
    for source in sources:
        for other in source.plans:
            if plan is None:
                plan = other if _is_named(other, into) else None
                continue
            if other.study.name != plan.study.name:
                continue
            joined = _with_seeds_of(plan, other)
            if joined is None:
                notes.append(
                    f"{source.name}: its study {folder_name(other)} has other conditions, claims "
                    f"or settings than {folder_name(plan)}; only runs of the latter join"
                )
                continue
            if added := sorted(set(joined.study.seeds) - set(plan.study.seeds)):
                noun = "seed" if len(added) == 1 else "seeds"
                notes.append(f"{source.name}: its plan adds {noun} {', '.join(map(str, added))}")
            plan = joined
    if plan is None:
        fix = f"start it: {command_line(['resnetlab', 'study', 'report', into])}"
        message = "was not started here, and no source has a plan of it"
        raise input_error(into, message, fix)
    return plan, tuple(dict.fromkeys(notes))


def _started_plan(into: str, root: Path) -> Plan | None:
    """Return the plan of the study that was started under `root`, if there is one."""
    # A folder of another machine's output has the same name here.
    for folder in (Path(into), root / "studies" / Path(into).name):
        if (folder / "plan.json").exists():
            return read_plan(folder)
    started = find_started(into, root)
    folders = [folder for folder in (started.plan_folder,) if folder is not None]
    folders = folders or list(started.overridden_plans)
    if len(folders) > 1:
        names = ", ".join(map(str, folders))
        fix = f"give one of these folders: --into {command_line([str(folders[0])])}"
        raise input_error(into, "was started with several settings", fix, allowed=names)
    return read_plan(folders[0]) if folders else None


def _is_named(plan: Plan, into: str) -> bool:
    """Return True if a plan belongs to the present version of the study `into`, or to that folder.

    The folder need not exist: `study export` prints it as it is on the machine that exports.
    """
    path = study_path(into)
    if not path.is_file():
        return Path(into).name in (folder_name(plan), plan.study.name)
    return plan.source_sha256 == source_sha256(path)


def _with_seeds_of(plan: Plan, other: Plan) -> Plan | None:
    """Return the plan with the seeds of another plan; None if they differ in anything else."""
    if _without_seeds(plan.study) != _without_seeds(other.study):
        return None
    protocols = {run.condition: _without_seed(run) for run in plan.runs}
    if any(
        protocols.get(run.condition, _without_seed(run)) != _without_seed(run) for run in other.runs
    ):
        return None
    planned = {(run.condition, run.seed) for run in plan.runs}
    added = tuple(run for run in other.runs if (run.condition, run.seed) not in planned)
    if not added:
        return plan
    seeds = tuple(sorted({*plan.study.seeds, *other.study.seeds}))
    overrides = tuple(item for item in plan.study.overrides if item.key != "seeds")
    return replace(
        plan,
        study=replace(plan.study, seeds=seeds, overrides=overrides),
        runs=(*plan.runs, *added),
        command=with_seeds(plan.command, seeds) if plan.command else "",
        resume_command=with_seeds(plan.resume_command, seeds) if plan.resume_command else "",
    )


def _without_seeds(study: Study) -> object:
    """Return the parts that two plans of a study share, apart from the configs of their runs."""
    return encode(replace(study_without_paths(study), seeds=(0,), overrides=()))


def _without_seed(run: PlannedRun) -> RunConfig:
    return replace(run.config.identity, seed=0)


def describe_difference(run: RunConfig, planned: Iterable[PlannedRun]) -> str:
    """Return in which fields a run differs from the most similar run of the study."""
    fields, planned = flatten(encode(run.identity)), list(planned)
    nearest: dict[str, tuple[object, object]] | None = None
    for candidate in planned:
        other = flatten(encode(candidate.config.identity))
        different = {
            name: (fields.get(name), other.get(name))
            for name in [*fields, *(name for name in other if name not in fields)]
            if fields.get(name) != other.get(name)
        }
        if nearest is None or len(different) < len(nearest):
            nearest = different
    if nearest is not None and set(nearest) == {"seed"}:
        seeds = sorted({candidate.seed for candidate in planned})
        return f"seed is {run.seed}, in the study {', '.join(map(str, seeds))}"
    parts = [
        f"{name} is {value}, in the study {expected}"
        for name, (value, expected) in list((nearest or {}).items())[:3]
    ]
    rest = len(nearest or {}) - len(parts)
    return "; ".join([*parts, *([f"{format_count(rest, 'more difference')}"] if rest else [])])
