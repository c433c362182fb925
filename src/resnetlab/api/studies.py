"""Studies from Python: load one, open one that was started, collect runs of other machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnetlab.api.loaded_study import LoadedStudy
from resnetlab.models.configs.external import allow_code
from resnetlab.studies.command_lines import continue_command, repeat_command, study_file_path
from resnetlab.studies.exchange.collect_runs import Collection, collect_runs
from resnetlab.studies.execution import read_plan
from resnetlab.studies.parsing.overrides import Overrides, VariantName
from resnetlab.studies.parsing.python_tables import plain_tables, study_file_text
from resnetlab.studies.parsing.study_file import load_study as read_study
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.plan import Plan
from resnetlab.studies.started import source_sha256, study_path


def load_study(
    source: str | Path | Mapping[str, Any],
    *,
    data: str | None = None,
    settings: Sequence[str] = (),
    seeds: int | Sequence[int] | None = None,
    variant: VariantName = "",
    trust_code: bool = False,
) -> LoadedStudy:
    """Load a study by its catalog name (`digits`), from a TOML file or from a dictionary.

    Args:
        source: Name in the catalog, path of a TOML file, or the tables of such a file. In the
            dictionary, `grid` may have dotted names: `{"recipe.optimizer.lr": [0.01, 0.1]}`. It is
            written as a study file below `studies` when the study runs.
        data: Data that replace those of the study: a name, an .npz file or a folder.
        settings: Values for single fields, such as `"recipe.epochs=2"`.
        seeds: Seeds that replace those of the study; the number 3 stands for the seeds 0, 1 and 2.
        variant: Smaller variant of the study: `budget` for two cores and under an hour, `evidence`
            for some hours that decide its main claims.
        trust_code: Consent to run the code (`package.module:function`) that the study names.

    Returns:
        The study, ready to run.

    Raises:
        InputError: The study or an argument is invalid. The error lists every mistake.
    """
    numbers = (
        tuple(range(seeds))
        if isinstance(seeds, int)
        else tuple(seeds)
        if seeds is not None
        else None
    )
    overrides = Overrides(data=data, settings=tuple(settings), seeds=numbers, variant=variant)
    file_text = ""
    if isinstance(source, Mapping):
        tables = plain_tables(source)
        study = parse_study(tables, "", overrides)
        source, file_text = study_file_path(study.name), study_file_text(tables)
    else:
        study = read_study(source, overrides)
    for condition in study.conditions if trust_code else ():
        allow_code(condition.model)
    words = (data, settings, numbers, variant)
    return LoadedStudy(
        study,
        repeat_command(source, *words),
        continue_command(source, *words),
        "" if file_text else source_sha256(study_path(str(source))),
        file_text=file_text,
    )


def open_study(folder: str | Path, *, trust_code: bool = False) -> tuple[LoadedStudy, Plan]:
    """Open a started study from the folder of its report.

    Args:
        folder: Folder of the report, for example `studies/digits`.
        trust_code: Consent to run the code (`package.module:function`) that the study names.

    Returns:
        The study and its plan.

    Raises:
        InputError: The folder contains no plan.
    """
    plan = read_plan(Path(folder))
    for run in plan.runs if trust_code else ():
        allow_code(run.config.model)
    loaded = LoadedStudy(plan.study, plan.command, plan.resume_command, plan.source_sha256)
    return loaded, plan


def collect(
    sources: Sequence[str | Path], into: str | Path, *, output: str | Path = "."
) -> Collection:
    """Add finished runs of other machines to a study, after they were checked.

    Args:
        sources: Archives of `resnetlab study export`, and folders: of a run, of runs, or with
            `runs` in them.
        into: Study that the runs join: its name, its TOML file, or the folder of its report.
        output: Folder that contains `runs` and `studies`.

    Returns:
        The runs that were added, refused or already present.

    Raises:
        InputError: A source has no runs, or the study has no plan here or in a source.
    """
    return collect_runs(list(map(Path, sources)), str(into), Path(output))
