"""Plan of one run without a study file, and the job that resumes a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from resnetlab.data.config import DataConfig
from resnetlab.data.sources import SOURCE_NAMES
from resnetlab.errors import input_error
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.messages import Notify, silent
from resnetlab.models.code_hash import check_unchanged
from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.external import allow_code, check_code, config_of
from resnetlab.models.model_cost import model_cost, with_code
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.runs.config import RunConfig, algorithm_version, run_id
from resnetlab.runs.kinds import is_fine_tuning
from resnetlab.runs.records import RunFile
from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import decode, encode
from resnetlab.shell import resume_command
from resnetlab.studies.executors.messages import Job
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.plan import Plan, make_plan
from resnetlab.studies.planning import check_licenses, load_data_properties
from resnetlab.training.resolve import resolve_numerics


def plan_run(
    model: str | ModelConfig | Callable[..., Any],
    data: str | DataConfig,
    recipe: str | AnyRecipe,
    *,
    seed: int = 0,
    settings: Sequence[str] = (),
    diagnostics: DiagnosticsConfig | None = None,
    output: str | Path = ".",
    notify: Notify = silent,
    download: bool = True,
    trust_code: bool = False,
) -> Plan:
    """Return the plan of one run on all cores of this machine; `train` has the same arguments.

    Without `download`, the id of a run whose data are not on this machine is not final.
    """
    network = config_of(model) if callable(model) else model
    parts = {"model": network, "data": data, "recipe": recipe}
    tables = {name: part if isinstance(part, str) else encode(part) for name, part in parts.items()}
    tables |= {
        "name": "train",
        "question": "",
        "seeds": [seed],
        "diagnostics": encode(diagnostics or DiagnosticsConfig()),
    }
    study = parse_study(tables, "", Overrides(settings=tuple(settings)))
    check_licenses(study)
    for condition in study.conditions:
        if trust_code or callable(model):
            allow_code(condition.model)
        check_code(condition.model)
    return make_plan(
        study,
        load_data_properties(study, Path(output), notify, download=download),
        partial(resolve_numerics, single_run=True),
        model_cost,
        with_code=with_code,
    )


def resume_job(
    folder: str | Path,
    *,
    from_step: int | None = None,
    data: str | None = None,
    epochs: int | None = None,
    trust_code: bool = False,
) -> tuple[Job, Path]:
    """Return the job that resumes the run in `folder`, and the output folder of the run.

    With another number of `epochs` it is the job of another run, from the start: the learning rate
    of each step depends on the length of the run.
    Raises InputError if the folder is no run, or its data are missing.
    """
    run_folder = RunFolder(Path(folder))
    if not (run_folder.path / "run.json").exists():
        raise input_error(
            str(folder),
            "not a run's folder",
            "give a folder such as runs/digits-cifar-resnet56-s0-...",
        )
    path = run_folder.path.resolve()
    file, root = run_folder.file(), path.parent.parent
    if trust_code:
        allow_code(file.run.model)
    check_code(file.run.model)
    if run_folder.result() is None:
        _check_algorithm(file, str(folder))
        check_unchanged(file.run.model, str(folder))
    run_folder = RunFolder(path)
    recipe = file.run.recipe
    if epochs is not None and not is_fine_tuning(recipe) and recipe.steps:
        message = "the recipe of this run gives its length in steps"
        fix = "resnetlab train with --set recipe.steps=N"
        raise input_error("--epochs", message, fix, got=epochs)
    if epochs is not None and epochs != file.run.recipe.epochs:
        run = encode(file.run)
        run["recipe"]["epochs"] = epochs
        run["algorithm_version"] = algorithm_version(file.run.kind)  # it begins now
        file = replace(file, run=decode(RunConfig, run, str(folder)))
        run_folder, from_step = RunFolder.find(root, run_id(file.run, file.data_name)), None
    finished = not run_folder.needs_work(file)
    if from_step is not None and finished:
        message = "the run is finished, so it has no checkpoint to go on from"
        fix = "leave --from-step out"
        if more := more_epochs_command(file, folder):
            fix += f"; for another run with more epochs: {more}"
        raise input_error(str(folder), message, fix)
    source = data or file.data.source
    if not finished:
        source = _locate_data(source, root, str(folder), is_given=data is not None)
    file = replace(file, data=replace(file.data, source=source))
    return Job(run_folder.path.name, file, from_step), root


def more_epochs_command(file: RunFile, folder: str | Path) -> str:
    """Return the command for a run with twice the epochs; empty for one without epochs."""
    epochs = file.run.recipe.epochs
    if not epochs or file.run.kind.uses_photos or not file.run.kind.uses_recipe:
        return ""
    return resume_command(folder, "--epochs", f"{2 * epochs:g}")


def _locate_data(source: str, root: Path, folder: str, is_given: bool) -> str:
    """Return the path of a run's data, which may be beside `runs/`.

    Raises InputError if they are not in their place.
    """
    if source in SOURCE_NAMES or Path(source).exists():
        return source
    if not is_given and (root / source).exists():
        return str(root / source)  # given from the folder of runs/; their hash is compared
    fix = resume_command(folder, "--data", "PATH")
    fix, message = f"{fix}, with their new path", "its data are not in their place"
    if is_given:
        raise input_error(folder, message, fix, got=source)
    raise input_error(f"{folder}/run.json", message, fix, field="data.source", got=source)


def _check_algorithm(file: RunFile, folder: str) -> None:
    """Raise InputError if another version of the training algorithm began the run."""
    current = algorithm_version(file.run.kind)
    if file.run.algorithm_version != current:
        raise input_error(
            folder,
            "was begun by another version of the training algorithm",
            "install the version of resnetlab that began it, or train it again",
            field="algorithm_version",
            got=file.run.algorithm_version,
            allowed=str(current),
        )
