"""Public Python API: load, run and report studies, train and resume single runs.

The functions for photographs, networks, sweeps and verification are in `interactive/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnetlab.data.config import DataConfig
from resnetlab.data.photo_loader import LOADER_BATCH_SIZE, Tta
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.loaded_study import LoadedStudy, study_file_path
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.external import allow_code
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.runs.records import RunRecord
from resnetlab.studies.command_lines import continue_command, repeat_command
from resnetlab.studies.exchange.collect_runs import Collection, collect_runs
from resnetlab.studies.executors.base import Job
from resnetlab.studies.parsing.overrides import Overrides, VariantName
from resnetlab.studies.parsing.python_tables import plain_tables, study_file_text
from resnetlab.studies.parsing.study_file import load_study as read_study
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.plan import Plan
from resnetlab.studies.run import read_plan
from resnetlab.studies.single_run import plan_run, resume_job, run_job
from resnetlab.studies.status import source_sha256, study_path
from resnetlab.torch_check import check_torch
from resnetlab.translation import Language

if TYPE_CHECKING:
    from resnetlab.deploy.inputs import LabeledImages, SplitName
    from resnetlab.deploy.predict import Classifier
    from resnetlab.deploy.results import EvaluationResult
    from resnetlab.imported_runs.report import ImportedReport
    from resnetlab.imported_runs.summaries import SummaryReport

MAX_REPORTED_MISTAKES = 24
"""Number of misclassified images on the page of an evaluation."""


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
        allow_code(run.file.run.model)
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


def train(
    model: str | ModelConfig | Callable[..., Any],
    data: str | DataConfig,
    recipe: str | AnyRecipe = "cifar",
    *,
    seed: int = 0,
    settings: Sequence[str] = (),
    diagnostics: DiagnosticsConfig | None = None,
    output: str | Path = ".",
    should_stop: Callable[[], bool] = lambda: False,
    trust_code: bool = False,
    progress: bool = True,
) -> RunRecord:
    """Train one network and return its record: `rl.train("cifar-resnet20", "digits",
    "digits").result.test`.

    A finished run is read, not run again.

    Args:
        model: Name in the catalog, TOML file, config of the network, or a function of a module of
            yours that builds it.
        data: Name of a data set, path of an .npz file or a folder, or a `DataConfig`.
        recipe: Name in the catalog, TOML file, or config of the training recipe.
        seed: Seed of the initial weights, the order of the images and the augmentation.
        settings: Values for single fields, such as `"recipe.epochs=2"` or
            `"numerics.precision=fp32"`.
        diagnostics: Measurements during and after training.
        output: Folder that contains `runs`.
        should_stop: Function that is called between steps; training ends with a checkpoint once it
            returns True.
        trust_code: Consent to run the code (`package.module:function`) that `model` or its file
            names. A function that is passed itself needs no consent.
        progress: Show the progress: a bar in a notebook and on a terminal, lines elsewhere.

    Returns:
        The record of the run: its config, its metrics by epoch and its result.

    Raises:
        InputError: An argument or the data are invalid.
        ResourceError: The disk is full.
        UnfinishedError: The run has no result.
    """
    check_torch()
    plan = plan_run(
        model,
        data,
        recipe,
        seed=seed,
        settings=settings,
        diagnostics=diagnostics,
        output=output,
        trust_code=trust_code,
    )
    job = Job(plan.runs[0].id, plan.runs[0].file)
    return run_job(job, Path(output), should_stop, progress=progress)


def resume(
    folder: str | Path,
    *,
    from_step: int | None = None,
    data: str | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    trust_code: bool = False,
    progress: bool = True,
) -> RunRecord:
    """Resume an interrupted run.

    Args:
        folder: Folder of the run.
        from_step: Step of the checkpoint to resume from; None for the last one, 0 for a new start.
        data: Present path of the data, if it has changed.
        should_stop: Function that is called between steps; training ends with a checkpoint once it
            returns True.
        trust_code: Consent to run the code (`package.module:function`) that the run names.
        progress: Show the progress, as in `train`.

    Returns:
        The record of the run.

    Raises:
        InputError: The folder contains no run, or the data are invalid.
        ResourceError: The disk is full.
        UnfinishedError: The run has no result.
    """
    check_torch()
    job, root = resume_job(folder, from_step=from_step, data=data, trust_code=trust_code)
    return run_job(job, root, should_stop, progress=progress)


def judge(
    runs: Any,
    claims: Sequence[str] = (),
    *,
    published: Sequence[str] = (),
    out: str | Path | None = None,
    **declared: Any,
) -> ImportedReport | SummaryReport:
    """Judge claims on runs that were trained elsewhere: `rl.judge(frame, ["A > B"]).verdicts`.

    Args:
        runs: Path of a table or of a folder of logs, a frame of pandas or polars, a list of
            dictionaries, or a dictionary of columns.
        claims: Claims as text, such as `A > B` or `A = B within 0.5`.
        published: Published numbers as text, such as `A = 93.57 of 5`.
        out: Folder for the report; None writes none.
        **declared: Fields of a `Declaration`, such as `value="test_acc"` or `paired_by="seed"`.

    Returns:
        The report, with its verdicts and its analysis. Of a table with the columns mean, sd and n,
        the verdicts and the summary of each condition.

    Raises:
        InputError: The table, a claim or a field is invalid.
    """
    from resnetlab.imported_runs.declaration import declare
    from resnetlab.imported_runs.report import report_table

    declaration = declare(claims=claims, published=published, **declared)
    report = report_table(runs, declaration)
    if out is not None:
        report.write(out)
    return report


def evaluate(
    model: Classifier,
    data: str,
    *,
    split: SplitName = "test",
    manifest: Path | None = None,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
    cache: str | Path = "cache",
    coverage: float | None = None,
    strangers: str | Path | None = None,
    out: str | Path | None = None,
    language: Language = "en",
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> EvaluationResult:
    """Evaluate a trained network: `rl.evaluate(rl.load_model("pets"), "photos").top1`.

    Args:
        model: Network from `load_model`.
        data: Folder of photographs, an `.npz` file or a named data set.
        split: Split of the data to evaluate on.
        manifest: Manifest that defines the splits of a folder.
        tta: Test-time augmentation.
        batch_size: Number of photographs in a batch.
        cache: Folder of the manifest of a folder without a test split.
        coverage: Coverage of the prediction sets, between 0 and 1; the default is 0.9.
        strangers: Folder of photographs of other things than the classes.
        out: Folder for a page with the most confident mistakes and its tables; None writes no page.
        language: Language of the page.
        notify: Function that gets a line about each step.
        on_item: Callback for the progress of long steps.

    Raises:
        InputError: The data are invalid, the model lacks one of their classes, or it cannot give
            prediction sets or tell strangers.
    """
    from resnetlab.deploy.inputs import open_labeled_images

    labeled = open_labeled_images(data, split, Path(cache), notify, manifest_path=manifest)
    return evaluate_images(
        model,
        labeled,
        tta=tta,
        batch_size=batch_size,
        coverage=coverage,
        strangers=strangers,
        out=out,
        language=language,
        notify=notify,
        on_item=on_item,
    )


def evaluate_images(
    model: Classifier,
    images: LabeledImages,
    *,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
    coverage: float | None = None,
    strangers: str | Path | None = None,
    out: str | Path | None = None,
    command: str = "",
    language: Language = "en",
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> EvaluationResult:
    """Evaluate a trained network on labeled images that are already listed; see `evaluate`.

    The page contains `command`.
    """
    from resnetlab.deploy.evaluate import evaluate, predict_all, predict_strangers
    from resnetlab.deploy.mistakes import draw_mistakes
    from resnetlab.deploy.request import check_coverage, check_strangers
    from resnetlab.reports import evaluation as page
    from resnetlab.runs.provenance import made_by

    # Before the predictions, which may take minutes.
    if coverage is not None:
        check_coverage(model.confidence, model.confidence_note, coverage, tta)
    novelty = None
    if strangers is not None:
        check_strangers(model.confidence, model.confidence_note, tta)
        folder = Path(strangers)
        novelty = predict_strangers(model, folder, batch_size=batch_size, on_item=on_item)
    predictions = predict_all(model, images, tta=tta, batch_size=batch_size, on_item=on_item)
    notes = (*images.notes, *model.notes, *filter(None, [model.confidence_note]))
    images = replace(images, notes=notes)
    result = evaluate(model, images, predictions, tta, coverage=coverage, strangers=novelty)
    if out is not None:
        mistakes = result.mistakes[:MAX_REPORTED_MISTAKES]
        drawings = draw_mistakes(model, mistakes, predictions, notify, on_item)
        page.write(
            result,
            drawings,
            Path(out),
            command=command,
            made_by=made_by(),
            language=language,
        )
    return result
