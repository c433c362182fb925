"""Commands `finetune` and `fixres`: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.data import SplitOption
from resnetlab.cli.loading import ProgressLine
from resnetlab.cli.manners import (
    DONE,
    AcceptLicense,
    Device,
    FollowLinksOption,
    GroupOption,
    Json,
    LabelColumn,
    Nested,
    Open,
    PathColumn,
    SkipBad,
    check_device,
    folder_reading,
    notify,
    open_page,
    print_json,
)
from resnetlab.cli.manners import OutputDir as Output
from resnetlab.errors import escape_controls, input_error
from resnetlab.messages import format_count
from resnetlab.shell import command_line, strip_folders

if TYPE_CHECKING:
    from resnetlab.finetune.api import FinetuneOutcome
    from resnetlab.finetune.request import FinetuneRequest
    from resnetlab.finetune.results import CrossValidation, FinetuneResult, ResolutionTable

Folder = Annotated[
    Path, typer.Argument(help="Folder of photographs, with a folder per class.", metavar="DIR")
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="timm/NAME, torchvision/NAME, local-dir:FOLDER, hf-hub:OWNER/NAME or a TOML file; the "
        "default is a downloaded one.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="Safetensors file of pre-trained weights.", metavar="FILE"),
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.", min=0)]
FinetuneRecipe = Annotated[
    str, typer.Option(help="Recipe: full, probe, fixres, proof-of-concept or a TOML file.")
]
FixresRecipe = Annotated[str, typer.Option(help="Recipe: fixres, proof-of-concept or a TOML file.")]
FrozenPart = Annotated[
    str,
    typer.Option(help="Frozen part in every stage: backbone, none, or a number of first parts."),
]
TrainSize = Annotated[int | None, typer.Option(help="Image size in training, in pixels.", min=8)]
TestSize = Annotated[
    int | None,
    typer.Option(help="Image size in evaluation, in pixels; the default is the train size.", min=8),
]
SizesOption = Annotated[
    str, typer.Option(help="Image sizes in pixels, separated by commas.", metavar="SIZES")
]
Epochs = Annotated[int | None, typer.Option(help="Maximum number of epochs of each stage.", min=1)]
Budget = Annotated[
    str, typer.Option(help="Time limit for the whole command: 90s, 10m, 2h, or 0 for none.")
]
Baseline = Annotated[
    Path | None, typer.Option(help="Earlier model to compare with on the same test images.")
]
Preview = Annotated[
    Path | None, typer.Option(help="Draw the train and test crops of this photograph and stop.")
]
Folds = Annotated[
    int | None,
    typer.Option(
        help="Cross-validation: fine-tune once for each of so many parts, which is the test split.",
        min=2,
    ),
]
Name = Annotated[
    str,
    typer.Option(
        help="Name of the model's folder; the default is made of data, network and recipe."
    ),
]


def finetune(
    folder: Folder,
    model: ModelName = "",
    weights: Weights = None,
    recipe: FinetuneRecipe = "full",
    freeze: FrozenPart = "",
    train_size: TrainSize = None,
    test_size: TestSize = None,
    epochs: Epochs = None,
    budget: Budget = "10m",
    split: SplitOption = "",
    folds: Folds = None,
    seed: Seed = 0,
    baseline: Baseline = None,
    skip_bad: SkipBad = False,
    no_test: Annotated[
        bool,
        typer.Option(
            "--no-test",
            help="Set no images apart for a test split; then nothing measures the model "
            "independently.",
        ),
    ] = False,
    follow_links: FollowLinksOption = "no",
    path_column: PathColumn = "",
    label_column: LabelColumn = "",
    nested: Nested = False,
    group: GroupOption = "",
    accept_license: AcceptLicense = False,
    device: Device = "",
    output: Output = Path(),
    name: Name = "",
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Fine-tune a pre-trained network on a folder of photographs.

    Example:  resnetlab finetune photos --budget 10m
    """
    start, seconds = time.monotonic(), _parse_budget(budget)
    check_device(device)
    _check_folder(folder)
    from resnetlab.cli.signals import SignalFlag
    from resnetlab.data.sources.manifest import parse_split
    from resnetlab.finetune import api
    from resnetlab.finetune.request import FinetuneRequest
    from resnetlab.models.configs.external import allow_typed

    allow_typed(model)
    request = FinetuneRequest(
        folder=folder,
        model=model,
        weights=weights,
        recipe=recipe,
        freeze=freeze,
        train_size=train_size,
        test_size=test_size,
        epochs=epochs,
        split_spec=parse_split(split),
        seed=seed,
        skip_bad=skip_bad,
        no_test=no_test,
        reading=folder_reading(follow_links, path_column, label_column, nested, group),
        accept_license=accept_license,
        device=device or "auto",
        output=output,
        name=name,
    )
    if folds is not None and baseline is not None:
        raise input_error("--folds", "given together with --baseline", "keep one of the two")
    progress = ProgressLine()
    with SignalFlag().installed() as interrupt:
        if folds is not None:
            table, report = api.cross_validate(
                request,
                folds,
                budget_seconds=seconds,
                should_stop=interrupt.is_set,
                notify=_notify,
                on_item=progress,
            )
            _print_folds(table, report, json)
        else:
            outcome = api.finetune(
                request,
                budget_seconds=seconds,
                baseline=baseline,
                should_stop=interrupt.is_set,
                notify=_notify,
                on_item=progress,
            )
            if is_first_process():
                rest = seconds - (time.monotonic() - start) if seconds else math.inf
                page = _write_page(outcome, folder, device or "auto", rest, progress)
                _print_outcome(outcome, page, folder, json)
                if open_report:
                    open_page(page)
    if interrupt.is_set():
        raise typer.Exit(interrupt.exit_code)


def _print_folds(table: CrossValidation, report: Path, as_json: bool) -> None:
    """Print the result of a cross-validation. With torchrun, only the first process prints."""
    from resnetlab.schema import encode

    if not is_first_process():
        return
    if as_json:
        print_json(encode(table) | {"report_folder": report})
        return
    for line in table.lines():
        typer.echo(escape_controls(line))
    typer.echo(f"Report: {report}")


def is_first_process() -> bool:
    """Return True unless this is another process than the first one of torchrun."""
    from resnetlab.recipes.numerics import torchrun_env

    return torchrun_env()[0] == 0


def _write_page(
    outcome: FinetuneOutcome,
    folder: Path,
    device: str,
    remaining_seconds: float,
    progress: ProgressLine,
) -> Path:
    """Write the page of a fine-tuning, and return its path."""
    from resnetlab.api import MAX_DRAWING_SECONDS, write_finetune_page

    words = sys.argv[1:]
    needed = [cut.needed for cut in outcome.result.budget_cuts]
    return write_finetune_page(
        outcome,
        commands=use_commands(outcome.model_folder, folder / outcome.result.example),
        command=command_line(["resnetlab", *words]),
        full_command={limit: with_budget(words, limit) for limit in needed},
        device=device,
        max_drawing_seconds=min(MAX_DRAWING_SECONDS, remaining_seconds),
        notify=_notify,
        on_item=progress,
    )


def use_commands(model: Path, photo: Path) -> list[tuple[str, str]]:
    """Return the commands that use a model, each after its purpose."""
    folder, image = str(model), str(photo)
    commands = {
        "Predict the class of a photograph, or of all in a folder": [
            "resnetlab",
            "predict",
            folder,
            image,
        ],
        "Try it in the browser, with photographs of your own": [
            "resnetlab",
            "serve",
            folder,
            "--open",
        ],
        "See what a prediction is based on": ["resnetlab", "explain", folder, image],
        "Evaluate it on other labeled photographs": [
            "resnetlab",
            "evaluate",
            folder,
            "FOLDER",
            "--out",
            "scores",
        ],
        "Export it for other programs": ["resnetlab", "export", folder, "--to", "onnx"],
    }
    return [(purpose, command_line(words)) for purpose, words in commands.items()]


def with_budget(words: Sequence[str], budget: str) -> str:
    """Return the command line of these words with another `--budget`."""
    others, skips = ["resnetlab"], False
    for word in words:
        if not skips and word != "--budget" and not word.startswith("--budget="):
            others.append(word)
        skips = word == "--budget"
    return command_line([*others, "--budget", budget])


def _print_outcome(outcome: FinetuneOutcome, page: Path, folder: Path, as_json: bool) -> None:
    """Print the summary or the record."""
    from resnetlab.schema import encode

    if as_json:
        folders = {
            "model_folder": outcome.model_folder,
            "report_folder": outcome.report_folder,
            "page": page,
        }
        print_json(encode(outcome.result) | folders)
        return
    *lines, last = summary_lines(outcome.result, outcome.model_folder, folder)
    if cuts := outcome.result.budget_cuts:
        longest = max((cut.needed for cut in cuts), key=lambda needed: _parse_budget(needed) or 0)
        lines.append(f"to train every stage in full: {with_budget(sys.argv[1:], longest)}")
    for line in (*lines, last):
        typer.echo(escape_controls(line))
    typer.echo(f"Page: {page}")


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
    follow_links: FollowLinksOption = "no",
    path_column: PathColumn = "",
    label_column: LabelColumn = "",
    nested: Nested = False,
    group: GroupOption = "",
    accept_license: AcceptLicense = False,
    device: Device = "",
    output: Output = Path(),
    name: Name = "",
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Compare train and test image sizes on your photographs (FixRes).

    Example:  resnetlab fixres photos --train-sizes 128,224 --test-sizes 128,224,288
    """
    train_list = _parse_sizes(train_sizes, "--train-sizes")
    test_list = _parse_sizes(test_sizes, "--test-sizes")
    check_device(device)
    if preview is not None:
        _draw_preview(preview, train_list[0], test_list, output, json)
        return
    _check_folder(folder)
    from resnetlab.data.sources.manifest import parse_split
    from resnetlab.finetune.request import FinetuneRequest
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
        reading=folder_reading(follow_links, path_column, label_column, nested, group),
        accept_license=accept_license,
        device=device or "auto",
        output=output,
        name=name,
    )
    table, report, exit_code = _sweep(request, train_list, test_list)
    _print_table(table, report, json)
    if open_report:
        open_page(report)
    raise typer.Exit(exit_code)


def _sweep(
    request: FinetuneRequest, train_sizes: tuple[int, ...], test_sizes: tuple[int, ...]
) -> tuple[ResolutionTable, Path, int]:
    """Run the sweep and write its report after each cell.

    Returns:
        The table, the path of the report, and the exit code, which is not 0 after a signal.
    """
    from resnetlab.cli.signals import SignalFlag
    from resnetlab.finetune import api
    from resnetlab.reports.fixres import write

    with SignalFlag().installed() as interrupt:
        for table, folder in api.fixres(
            request,
            train_sizes,
            test_sizes,
            command=_command(),
            should_stop=interrupt.is_set,
            notify=_notify,
            on_item=ProgressLine(),
        ):
            report = write(table, folder)
    return table, report, interrupt.exit_code if interrupt.is_set() else DONE


def _draw_preview(
    photo: Path, train_size: int, test_sizes: tuple[int, ...], output: Path, as_json: bool
) -> None:
    """Draw a photograph with its train and test crops, and print the sizes of an object in them.

    The test crop is drawn at two sizes or more: beside a single one at the train size.
    """
    from resnetlab.files import sha256, short_hash
    from resnetlab.finetune.apparent_size import draw_crops

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
    from resnetlab.reports.fixres import page
    from resnetlab.schema import encode

    answer = page(table).answer
    if as_json:
        print_json(encode(table) | {"answer": answer, "report": report})
    else:
        typer.echo(escape_controls(answer))
        typer.echo(f"Report: {report}")


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise input_error(
            str(folder), "no such folder", "give a folder of photographs, with a folder per class"
        )


def _parse_sizes(text: str, option: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and 8 <= int(part) <= 4096 for part in parts) or len(
        set(parts)
    ) < len(parts):
        raise input_error(
            option, "not distinct sizes from 8 to 4096", f"{option} 128,224", got=text
        )
    return tuple(int(part) for part in parts)


def _command() -> str:
    """Return the command line of this process without paths of this machine."""
    named = ("timm/", "torchvision/")  # names of networks, which are no paths
    return command_line(
        ["resnetlab", *(w if w.startswith(named) else strip_folders(w) for w in sys.argv[1:])]
    )


def summary_lines(report: FinetuneResult, model: Path, folder: Path) -> list[str]:
    """Summarize a fine-tuning in lines. The last line is a command for the user's next step."""
    lines = []
    for stage in report.stages:
        chosen = " (selected)" if stage.selected else ""
        state = (
            "diverged; the previous weights are kept"
            if stage.diverged
            else f"epoch {stage.best_epoch}"
        )
        lines.append(
            f"{stage.name:12} validation {stage.validation.accuracy_pct:5.1f} %, {state}{chosen}"
        )
    test, split_name = report.test, "test" if report.has_test else "validation, no test"
    interval = f"[{test.low_pct:.1f}, {test.high_pct:.1f}]"
    lines.append(
        f"{split_name} {test.accuracy_pct:.1f} % {interval} of "
        f"{format_count(test.images, 'image')}, exact 95 % interval over images"
    )
    if report.comparison:
        other = report.comparison
        lines.append(
            f"{other.baseline} {other.baseline_accuracy_pct:.1f} %: {other.only_this} images are "
            f"correct only with this model, {other.only_baseline} only with {other.baseline}; "
            f"exact McNemar test {format_p(other.p)}"
        )
    lines += [f"caveat: {caveat}" for caveat in report.caveats]
    if report.worst:
        lines.append("most confident mistakes:")
        lines += [
            f"  {item.path}: {item.label} predicted as {item.predicted} "
            f"({100 * item.probability:.0f} %)"
            for item in report.worst[:5]
        ]
    lines.append(command_line(["resnetlab", "predict", str(model), str(folder / report.example)]))
    return lines


def format_p(p: float) -> str:
    """Format a p-value with its relation: `p = 0.012`, `p < 0.0001`."""
    from resnetlab.reports.format import format_p_value

    text = format_p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _parse_budget(text: str) -> float | None:
    """Convert a time such as `10m` to seconds, or 0 to None, no limit. Raises InputError."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh]?)", text.strip())
    allowed = "90s, 10m, 2h, or 0 for none"
    if match is None:
        raise input_error("--budget", "not a time", "--budget 10m", got=text, allowed=allowed)
    if not match[2] and float(match[1]):
        fix = f"--budget {match[1]}m for minutes, or --budget {match[1]}s for seconds"
        raise input_error("--budget", "a time without a unit", fix, got=text, allowed=allowed)
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "": 0}[match[2]] or None


def _notify(line: str) -> None:
    notify(escape_controls(line))
