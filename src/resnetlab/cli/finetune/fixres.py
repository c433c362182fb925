"""Command `fixres`: parse, call one function, print. Heavy imports stay inside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resnetlab.cli.common import (
    DONE,
    AcceptLicense,
    Device,
    Json,
    Open,
    PageLanguage,
    SkipBad,
    check_device,
    open_page,
    print_json,
    stop_signal,
)
from resnetlab.cli.common import OutputDir as Output
from resnetlab.cli.data.commands import SplitOption
from resnetlab.cli.finetune.options import (
    Epochs,
    FixresRecipe,
    Folder,
    ModelName,
    Name,
    Preview,
    Seed,
    SizesOption,
    Weights,
    check_folder,
    parse_sizes,
)
from resnetlab.cli.finetune.output import notify_line
from resnetlab.cli.folder_options import DEFAULT_FOLDER_OPTIONS, FolderOptions, with_folder_options
from resnetlab.cli.loading import ProgressLine
from resnetlab.errors import escape_controls
from resnetlab.shell import command_line, strip_folders
from resnetlab.translation import Language, check_language

if TYPE_CHECKING:
    from resnetlab.finetuning.request import FinetuneRequest
    from resnetlab.finetuning.results import ResolutionTable


@with_folder_options
def fixres(
    folder: Folder,
    train_sizes: SizesOption = "128,224",
    test_sizes: SizesOption = "128,224,288",
    model: ModelName = "",
    weights: Weights = None,
    recipe: FixresRecipe = "fixres",
    epochs: Epochs = None,
    split: SplitOption = "",
    seed: Seed = 0,
    preview: Preview = None,
    skip_bad: SkipBad = False,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    accept_license: AcceptLicense = False,
    device: Device = "",
    output: Output = Path(),
    name: Name = "",
    json: Json = False,
    open_report: Open = False,
    lang: PageLanguage = "",
) -> None:
    """Compare train and test image sizes on your photographs (FixRes).

    Example:  resnetlab fixres photos --train-sizes 128,224 --test-sizes 128,224,288
    """
    train_list = parse_sizes(train_sizes, "--train-sizes")
    test_list = parse_sizes(test_sizes, "--test-sizes")
    check_device(device)
    language = check_language(lang)
    if preview is not None:
        _draw_preview(preview, train_list[0], test_list, output, json)
        return
    check_folder(folder)
    from resnetlab.data.sources.folder.manifest import parse_split
    from resnetlab.finetuning.request import FinetuneRequest
    from resnetlab.models.configs.external import allow_typed

    allow_typed(model)
    request = FinetuneRequest(
        folder=folder,
        model=model,
        weights=weights,
        recipe=recipe,
        epochs=epochs,
        split_spec=parse_split(split),
        seed=seed,
        skip_bad=skip_bad,
        folder_choices=folder_options.folder_choices(),
        accept_license=accept_license,
        device=device or "auto",
        output=output,
        name=name,
    )
    table, report, exit_code = _measure(request, train_list, test_list, language)
    _print_table(table, report, json)
    if open_report:
        open_page(report)
    raise typer.Exit(exit_code)


def _measure(
    request: FinetuneRequest,
    train_sizes: tuple[int, ...],
    test_sizes: tuple[int, ...],
    language: Language,
) -> tuple[ResolutionTable, Path, int]:
    """Train and evaluate at each pair of sizes, and write the report after each cell.

    Returns:
        The table, the path of the report, and the exit code, which is not 0 after a signal.
    """
    from resnetlab.finetuning import finetune_photos
    from resnetlab.reports.fixres import write_resolution_page

    with stop_signal().installed() as interrupt:
        for table, folder in finetune_photos.fixres(
            request,
            train_sizes,
            test_sizes,
            command=_command(),
            should_stop=interrupt.is_set,
            notify=notify_line,
            on_item=ProgressLine(),
        ):
            report = write_resolution_page(table, folder, language)
    return table, report, interrupt.exit_code if interrupt.is_set() else DONE


def _draw_preview(
    photo: Path, train_size: int, test_sizes: tuple[int, ...], output: Path, as_json: bool
) -> None:
    """Draw a photograph with its train and test crops, and print the sizes of an object in them.

    The test crop is drawn at two sizes or more: beside a single one at the train size.
    """
    from resnetlab.files import sha256, short_hash
    from resnetlab.finetuning.apparent_size import draw_crops

    if len(test_sizes) == 1:
        test_sizes = tuple(dict.fromkeys((train_size, *test_sizes)))
    digest = short_hash(sha256(photo)) if photo.is_file() else "none"
    tests = "-".join(map(str, test_sizes))
    path = output / "reports" / f"{photo.stem}-crops-{train_size}-{tests}-{digest}.png"
    sizes = draw_crops(photo, train_size, test_sizes, path)
    if as_json:
        objects = [vars(size) | {"ratio": size.ratio} for size in sizes]
        answer = "; ".join(size.text for size in sizes)
        print_json({"image": path, "answer": answer, "sizes": objects})
        return
    for size in sizes:
        typer.echo(size.text)
    typer.echo(f"Picture: {path}")


def _print_table(table: ResolutionTable, report: Path, as_json: bool) -> None:
    from resnetlab.reports.fixres import build_page
    from resnetlab.schema import encode

    answer = build_page(table).answer
    if as_json:
        print_json(encode(table) | {"answer": answer, "report": report})
    else:
        typer.echo(escape_controls(answer))
        typer.echo(f"Report: {report}")


def _command() -> str:
    """Return the command line of this process without paths of this machine."""
    named = ("timm/", "torchvision/")  # names of networks, which are no paths
    return command_line(
        ["resnetlab", *(w if w.startswith(named) else strip_folders(w) for w in sys.argv[1:])]
    )
