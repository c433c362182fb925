"""Sweep over a grid of settings from Python, as a study without claims."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnetlab.analysis.varied_fields import condition_fields
from resnetlab.api.loaded_study import LoadedStudy
from resnetlab.api.studies import load_study
from resnetlab.api.study_summary import StudySummary
from resnetlab.data.config import DataConfig
from resnetlab.errors import InputError, Problem, suggest
from resnetlab.models.configs import ModelConfig
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.studies.parsing.conditions import CONDITION_PARTS
from resnetlab.studies.parsing.python_tables import plain_tables


def sweep(
    model: str | ModelConfig | Callable[..., Any],
    data: str | DataConfig,
    recipe: str | AnyRecipe = "cifar",
    *,
    grid: Mapping[str, Sequence[Any]],
    seeds: int | Sequence[int] = 1,
    settings: Sequence[str] = (),
    name: str = "",
    output: str | Path = ".",
    workers: int = 0,
    accept_license: bool = False,
    trust_code: bool = False,
    track: Sequence[str] = (),
    progress: bool = True,
) -> StudySummary:
    """Train each combination of a grid with several seeds:
    `rl.sweep("cifar-resnet20", "digits", "digits", grid={"lr": [0.001, 0.01]}, seeds=3).runs()`.

    The sweep is a study without claims. Its runs are trained in worker processes, which import
    torch once; a finished run is not trained again. The report compares the combinations.

    Args:
        model: Network, as in `train`.
        data: Data, as in `train`.
        recipe: Recipe, as in `train`.
        grid: Values of each field. A field has the name that it has in a study file, such as
            `recipe.optimizer.lr`, or the last part of that name if no other field ends with it.
        seeds: Number of seeds of each combination, or the seeds.
        settings: Values for single fields, such as `"recipe.epochs=2"`.
        name: Name of the study and of the folder of its report; empty for one that follows from
            the other arguments.
        output: Folder that contains `runs` and `studies`.
        workers: Number of processes on this machine; 0 chooses it from the number of cores.
        accept_license: Accept pre-trained weights whose license forbids commercial use.
        trust_code: Consent to run the code (`package.module:function`) that an argument names.
        track: Trackers that get a copy of the runs, as in `LoadedStudy.run`.
        progress: Show the progress: a bar in a notebook and on a terminal, lines elsewhere.

    Returns:
        The summary of the study. `runs()` and `curves()` have a column for each field of the grid.

    Raises:
        InputError: An argument or the data are invalid, or `grid` names an unknown field.
        ResourceError: The disk is full.
    """
    tables = plain_tables({"model": model, "data": data, "recipe": recipe, "grid": dict(grid)})
    values, tables["grid"] = tables["grid"], {}
    tables |= {"question": "", "seeds": list(range(seeds) if isinstance(seeds, int) else seeds)}
    base = load_study(tables | {"name": "sweep"}, settings=settings)
    names = _full_names(list(values), base)
    tables["grid"] = {names[key]: items for key, items in values.items()}
    tables["question"] = f"What is the effect of {' and '.join(values)}?"
    tables["name"] = name or f"sweep-{_short_hash(tables)}"
    study = load_study(tables, settings=settings, trust_code=trust_code)
    return study.run(
        output,
        workers=workers,
        accept_license=accept_license,
        track=track,
        progress=progress,
    )


def _full_names(names: Sequence[str], base: LoadedStudy) -> dict[str, str]:
    """Return the dotted name of each field of a grid. Raises InputError with every mistake."""
    condition = base.study.conditions[0]
    known = list(condition_fields(replace(condition, numerics=base.study.numerics)))
    full_names: dict[str, str] = {}
    problems = []
    for name in names:
        matches = [field for field in known if field.rpartition(".")[2] == name]
        if "." in name or name in CONDITION_PARTS or name == "evaluation_mode":
            full_names[name] = name  # the study checks it
        elif len(matches) == 1:
            full_names[name] = matches[0]
        else:
            last_parts = {field.rpartition(".")[2] for field in known}
            fix = suggest(name, last_parts) or "a name such as recipe.optimizer.lr"
            fix = f"write {' or '.join(matches)}" if matches else fix
            message = "the end of several fields" if matches else "unknown field"
            problems.append(Problem("grid", message, fix, field=name))
    if problems:
        raise InputError(*problems)
    return full_names


def _short_hash(tables: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()[:6]
