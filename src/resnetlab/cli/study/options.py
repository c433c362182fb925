"""Options that commands of `resnetlab study` share, and the study that a command names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resnetlab.cli import completion
from resnetlab.cli.common import notify
from resnetlab.errors import input_error
from resnetlab.shell import command_line

if TYPE_CHECKING:
    from resnetlab.api.loaded_study import LoadedStudy
    from resnetlab.studies.parsing.overrides import VariantName
    from resnetlab.studies.plan import Plan

StudyName = Annotated[
    str,
    typer.Argument(
        help="Name of a study in the catalog, or a TOML file.",
        metavar="STUDY",
        autocompletion=completion.studies,
    ),
]
StudyOrFolder = Annotated[
    str, typer.Argument(help="Study, or the folder of its report.", metavar="STUDY")
]
AnswerLanguage = Annotated[
    Literal["en", "fr"],
    typer.Option("--lang", help="Language of the answers: en or fr."),
]
Seeds = Annotated[
    str,
    typer.Option(
        help="Number of seeds (3 means 0, 1 and 2), or a list of seeds (0,1,7).", metavar="SEEDS"
    ),
]
Budget = Annotated[
    bool,
    typer.Option("--budget", help="Take the reduced variant, for two cores and under an hour."),
]
Evidence = Annotated[
    bool,
    typer.Option(
        "--evidence", help="Take the variant that decides the main claims, in hours on two cores."
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "-j", "--workers", help="Number of processes; 0 chooses it from the cores.", min=0
    ),
]

ParallelSeeds = Annotated[
    int,
    typer.Option(
        help="Number of seeds of a condition that a worker trains in turn on one GPU.", min=1
    ),
]
UntilDecided = Annotated[
    bool,
    typer.Option(
        "--until-decided",
        help="Add seeds to the conditions of undecided claims, up to 3, 5 and 10 seeds.",
    ),
]
MaxSeeds = Annotated[
    int, typer.Option(help="Largest number of seeds per condition with --until-decided.")
]
ExecutorName = Annotated[
    str, typer.Option("--executor", help="Where runs are trained: local, or ray for a cluster.")
]
Address = Annotated[
    str,
    typer.Option(
        help="Address of a Ray cluster; auto finds the one of this machine; empty starts one."
    ),
]
GpusPerRun = Annotated[float, typer.Option(help="GPUs per run with Ray, for example 2 or 0.25.")]


def load_named_study(
    source: str, data: str, settings: list[str], seeds: str, device: str, variant: VariantName = ""
) -> LoadedStudy:
    """Read the study `source` with the options of a command.

    Raises InputError if one is invalid.
    """
    from resnetlab.api.studies import load_study
    from resnetlab.models.configs.external import allow_typed

    for setting in settings:
        field, _, value = setting.partition("=")
        if field.strip() in ("model", "model.name"):
            allow_typed(value.strip().strip("'\""))

    if device:
        from resnetlab.recipes.numerics import parse_device

        settings = [*settings, f"numerics.device={parse_device(device)[0]}"]
    return load_study(
        source, data=data or None, settings=settings, seeds=_parse_seeds(seeds), variant=variant
    )


def variant_name(budget: bool, evidence: bool) -> VariantName:
    """Return the variant that two options name. Raises InputError for both at once."""
    if budget and evidence:
        fix = "give one of them"
        raise input_error("--budget, --evidence", "two variants of a study at once", fix)
    if budget:
        return "budget"
    return "evidence" if evidence else ""


def check_built_without_code(loaded: LoadedStudy, source: str) -> None:
    """Raise InputError for a study with code of its own, whose plan needs that code."""
    for condition in loaded.study.conditions:
        if getattr(condition.model, "needs_consent", False):
            message = f"was not started here, and its plan needs the code {condition.model.slug}"
            fix = command_line(["resnetlab", "study", "plan", source, "--trust-code"])
            raise input_error(source, message, fix)


def _parse_seeds(text: str) -> int | list[int] | None:
    """Parse `--seeds`: a number of seeds, a list of seeds, or nothing.

    Raises InputError if it is none of these.
    """
    if not text:
        return None
    parts = text.split(",")
    if not all(re.fullmatch(r"\s*[0-9]{1,18}\s*", part) for part in parts) or (
        len(parts) == 1 and not 1 <= int(text) <= 1000
    ):
        message, fix = "not a number or a list of seeds", "--seeds 3, or --seeds 0,1,7"
        raise input_error("--seeds", message, fix, got=text)
    return int(text) if len(parts) == 1 else [int(part) for part in parts]


def open_or_plan(
    source: str, data: str, settings: list[str], seeds: str, device: str, output: Path
) -> tuple[LoadedStudy, Plan, Path]:
    """Return a study, its plan and its output folder, from a report's folder or by name."""
    folder, root = find_started_folder(source, any((data, settings, seeds, device)), output)
    if folder is not None:
        from resnetlab.api.studies import open_study

        return *open_study(folder), root
    from resnetlab.studies.execution import save_plan

    loaded = load_named_study(source, data, settings, seeds, device)
    plan = loaded.plan(output, notify)
    save_plan(plan, output)
    return loaded, plan, output


def find_started_folder(source: str, overridden: bool, output: Path) -> tuple[Path | None, Path]:
    """Find the report folder of a started study, and its output folder.

    The folder is None if the study must be planned first. A name finds the study even if options
    changed it when it was started. If there are several such studies, the unchanged one is used.
    """
    from resnetlab.studies.started import find_started

    if (Path(source) / "plan.json").exists():
        return Path(source), Path(source).resolve().parent.parent
    if overridden:
        return None, output
    started = find_started(source, output)
    if not started.has_report and len(started.overridden_folders) == 1:
        notify(f"Using the started study in {started.overridden_folders[0]}")
        return started.overridden_folders[0], output
    for folder in started.overridden_folders:
        notify(f"Also started, with other options: {folder}")
    return started.plan_folder, output
