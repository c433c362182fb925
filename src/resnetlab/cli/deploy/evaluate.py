"""Commands that measure trained networks on labeled photographs. Heavy imports stay inside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resnetlab.cli.common import (
    DONE,
    UNFINISHED,
    AcceptLicense,
    Device,
    Json,
    Open,
    PageLanguage,
    check_device,
    notify,
    open_page,
    print_json,
)
from resnetlab.cli.common import OutputDir as Output
from resnetlab.cli.deploy.options import Batch, Coverage, Model, Threads, TtaOption, announce_model
from resnetlab.cli.deploy.output import ensemble_lines, evaluation_lines
from resnetlab.cli.folder_options import DEFAULT_FOLDER_OPTIONS, FolderOptions, with_folder_options
from resnetlab.cli.loading import ProgressLine
from resnetlab.cli.output_paths import check_output_folder
from resnetlab.errors import escape_controls, input_error
from resnetlab.shell import command_line
from resnetlab.translation import check_language

if TYPE_CHECKING:
    from resnetlab.data.photo_loader import Tta
    from resnetlab.model_folder.model_file import ModelFile

DataArgument = Annotated[
    str,
    typer.Argument(help="Folder of photographs, .npz file or name of a data set.", metavar="DATA"),
]
Split = Annotated[
    Literal["train", "validation", "test", "all"],
    typer.Option(
        "--split", help="Split to evaluate on: train, validation, test or all.", metavar="SPLIT"
    ),
]
Manifest = Annotated[
    Path | None,
    typer.Option("--manifest", help="Manifest of splits, from `resnetlab data split`."),
]


@with_folder_options
def evaluate(
    model: Model,
    data: DataArgument,
    split: Split = "test",
    manifest: Manifest = None,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    tta: TtaOption = "none",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a page with the most confident mistakes, and for tables.",
            metavar="DIR",
        ),
    ] = None,
    coverage: Coverage = None,
    ood: Annotated[
        Path | None,
        typer.Option(
            "--ood",
            help="Folder of photographs of other things than the classes (out of distribution); "
            "print the share that is rejected.",
            metavar="DIR",
        ),
    ] = None,
    json: Json = False,
    batch_size: Batch = 32,
    device: Device = "auto",
    threads: Threads = 0,
    accept_license: AcceptLicense = False,
    output: Output = Path(),
    open_report: Open = False,
    lang: PageLanguage = "",
) -> None:
    """Evaluate a model on labeled photographs.

    Print the accuracy with its interval, the recall of classes and the confusions. The page of
    --out contains photographs: publish it only if you may publish them.

    Example:  resnetlab evaluate pets photos --out scores
    """
    check_device(device)
    language = check_language(lang)
    if open_report and out is None:
        raise input_error("--open", "no page is written without --out", "--out scores --open")
    check_output_folder("--out", out)
    from resnetlab.deploy.checks import match_classes, read_accepted_model
    from resnetlab.deploy.inputs import open_labeled_images

    file = read_accepted_model(model, accept_license, tta)
    _check_confidence(model, file, coverage, ood, tta)
    labeled = open_labeled_images(
        data,
        split,
        output / "cache",
        notify,
        manifest_path=manifest,
        folder_choices=folder_options.folder_choices(),
        weights=[file.weights_sha256],
    )
    match_classes(file.classes, labeled)
    announce_model(file, quiet=json)
    from resnetlab.api.evaluation import evaluate_images
    from resnetlab.deploy.predict import load_model
    from resnetlab.schema import encode

    loaded = load_model(model, device=device, accept_license=accept_license, threads=threads)
    result = evaluate_images(
        loaded,
        labeled,
        tta=tta,
        batch_size=batch_size,
        coverage=coverage,
        ood=ood,
        out=out,
        language=language,
        command=escape_controls(command_line(["resnetlab", *sys.argv[1:]])),
        notify=notify,
        on_item=ProgressLine(),
    )
    page = out / "report.html" if out is not None else None
    if json:
        print_json(encode(result) | {"page": page})
    else:
        lines = [*evaluation_lines(result), *([f"Page: {page}"] if page is not None else [])]
        typer.echo("\n".join(lines))
    if open_report and page is not None:
        open_page(page)
    others = result.novelty.ood if result.novelty else None
    bad_files = (*result.bad_files, *(others.bad_files if others else ()))
    raise typer.Exit(UNFINISHED if bad_files else DONE)


def _check_confidence(
    model: Path, file: ModelFile, coverage: float | None, ood: Path | None, tta: Tta
) -> None:
    """Check the options that need the confidence of the model, before torch is imported."""
    if coverage is None and ood is None:
        return
    from resnetlab.deploy.checks import check_coverage, check_ood
    from resnetlab.deploy.inputs import find_ood_photos
    from resnetlab.model_folder.confidence import describe_missing, read_confidence

    confidence, missing = read_confidence(model, file), describe_missing(model)
    if coverage is not None:
        check_coverage(confidence, missing, coverage, tta)
    if ood is not None:
        check_ood(confidence, missing, tta)
        find_ood_photos(ood)


@with_folder_options
def ensemble(
    models: Annotated[
        list[Path],
        typer.Argument(help="Folders of models of the same classes.", metavar="MODELS..."),
    ],
    data: Annotated[
        str,
        typer.Option(
            "--data", help="Folder of photographs, .npz file or name of a data set.", metavar="DATA"
        ),
    ],
    split: Split = "test",
    manifest: Manifest = None,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    tta: TtaOption = "none",
    json: Json = False,
    batch_size: Batch = 32,
    device: Device = "auto",
    threads: Threads = 0,
    accept_license: AcceptLicense = False,
    output: Output = Path(),
) -> None:
    """Evaluate the average of several models against each of them.

    Example:  resnetlab ensemble pets pets-2 --data photos
    """
    check_device(device)
    from resnetlab.deploy.checks import read_accepted_model
    from resnetlab.deploy.inputs import open_labeled_images

    files = [read_accepted_model(model, accept_license, tta) for model in models]
    labeled = open_labeled_images(
        data,
        split,
        output / "cache",
        notify,
        manifest_path=manifest,
        folder_choices=folder_options.folder_choices(),
        weights=[file.weights_sha256 for file in files],
    )
    announce_model(files[0], quiet=json)
    from resnetlab.deploy.ensemble import evaluate_ensemble
    from resnetlab.deploy.predict import load_model

    loaded = [
        load_model(model, device=device, accept_license=accept_license, threads=threads)
        for model in models
    ]
    result = evaluate_ensemble(
        loaded, labeled, tta=tta, batch_size=batch_size, on_item=ProgressLine()
    )
    if json:
        print_json(result)
    else:
        typer.echo("\n".join(ensemble_lines(result)))
    if result.bad_files:
        raise typer.Exit(UNFINISHED)
