"""Command `finetune`: parse, call one function, print. Heavy imports stay inside it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resnetlab.cli.common import (
    AcceptLicense,
    Device,
    Json,
    Open,
    PageLanguage,
    SettingsOption,
    SkipBad,
    check_device,
    open_page,
    stop_signal,
)
from resnetlab.cli.common import OutputDir as Output
from resnetlab.cli.data.commands import SplitOption
from resnetlab.cli.finetune.options import (
    Balance,
    Baseline,
    BatchSize,
    Epochs,
    FinetuneRecipe,
    Folder,
    Folds,
    FrozenLayers,
    LearningRate,
    ModelName,
    Name,
    NoTest,
    Seed,
    TestSize,
    TimeLimitOption,
    TrainSize,
    Tries,
    Weights,
    Workers,
    check_folder,
    parse_time_limit,
)
from resnetlab.cli.finetune.output import (
    is_first_process,
    notify_line,
    print_finetuned,
    print_folds,
    write_page,
    write_page_of_folds,
)
from resnetlab.cli.folder_options import DEFAULT_FOLDER_OPTIONS, FolderOptions, with_folder_options
from resnetlab.cli.loading import ProgressLine
from resnetlab.errors import input_error
from resnetlab.translation import Language, check_language

if TYPE_CHECKING:
    from resnetlab.finetuning.request import FinetuneRequest


@with_folder_options
def finetune(
    folder: Folder,
    model: ModelName = "",
    weights: Weights = None,
    tries: Tries = [],  # noqa: B006
    recipe: FinetuneRecipe = "full",
    freeze: FrozenLayers = "",
    balance: Balance = "auto",
    train_size: TrainSize = None,
    test_size: TestSize = None,
    settings: SettingsOption = [],  # noqa: B006
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    workers: Workers = 0,
    time_limit: TimeLimitOption = "10m",
    split: SplitOption = "",
    folds: Folds = None,
    seed: Seed = 0,
    baseline: Baseline = None,
    skip_bad: SkipBad = False,
    no_test: NoTest = False,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    accept_license: AcceptLicense = False,
    device: Device = "",
    output: Output = Path(),
    name: Name = "",
    json: Json = False,
    open_report: Open = False,
    lang: PageLanguage = "",
) -> None:
    """Fine-tune a pre-trained network on a folder of photographs.

    Example:  resnetlab finetune photos --time-limit 10m
    """
    start, seconds = time.monotonic(), parse_time_limit(time_limit)
    check_device(device)
    language = check_language(lang)
    check_folder(folder)
    from resnetlab.cli.finetune.settings import change_recipe
    from resnetlab.data.sources.folder.manifest import parse_split
    from resnetlab.finetuning.request import FinetuneRequest
    from resnetlab.models.configs.external import allow_typed

    for name_of_network in (model, *tries):
        allow_typed(name_of_network)
    changed_recipe, numerics = change_recipe(recipe, batch_size, lr, settings)
    request = FinetuneRequest(
        folder=folder,
        model=model,
        weights=weights,
        tries=tuple(tries),
        recipe=changed_recipe,
        freeze=freeze,
        balance=balance,
        train_size=train_size,
        test_size=test_size,
        epochs=epochs,
        split_spec=parse_split(split),
        seed=seed,
        skip_bad=skip_bad,
        no_test=no_test,
        folder_choices=folder_options.folder_choices(),
        accept_license=accept_license,
        device=device or numerics.device,
        numerics=numerics,
        workers=workers,
        output=output,
        name=name,
    )
    end = start + seconds if seconds else math.inf
    if folds is None:
        exit_code = _train(
            request,
            seconds,
            end,
            baseline,
            as_json=json,
            open_report=open_report,
            language=language,
        )
    elif baseline is not None:
        raise input_error("--folds", "given together with --baseline", "keep one of the two")
    else:
        exit_code = _cross_validate(
            request,
            folds,
            seconds,
            end,
            as_json=json,
            open_report=open_report,
            language=language,
        )
    if exit_code:
        raise typer.Exit(exit_code)


def _train(
    request: FinetuneRequest,
    seconds: float | None,
    end: float,
    baseline: Path | None,
    *,
    as_json: bool,
    open_report: bool,
    language: Language,
) -> int:
    """Fine-tune, write the page and print the result.

    Args:
        request: Request of the user.
        seconds: Time limit; None for none.
        end: Time on the monotonic clock at which it is over; infinite for none.
        baseline: Folder of an earlier model to compare with.
        as_json: True to print JSON.
        open_report: True to open the page in a browser.
        language: Language of the page.

    Returns:
        The exit code, which is not 0 after a signal.
    """
    from resnetlab.finetuning import finetune_photos

    progress = ProgressLine()
    with stop_signal().installed() as interrupt:
        finetuned = finetune_photos.finetune(
            request,
            time_limit_seconds=seconds,
            baseline=baseline,
            should_stop=interrupt.is_set,
            notify=notify_line,
            on_item=progress,
        )
        if is_first_process():
            rest = end - time.monotonic()
            page = write_page(finetuned, request.folder, request.device, rest, progress, language)
            print_finetuned(finetuned, page, request.folder, as_json)
            if open_report:
                open_page(page)
    return interrupt.exit_code if interrupt.is_set() else 0


def _cross_validate(
    request: FinetuneRequest,
    folds: int,
    seconds: float | None,
    end: float,
    *,
    as_json: bool,
    open_report: bool,
    language: Language,
) -> int:
    """Fine-tune once for each fold, write the page and print the table.

    `folds` is the number of folds; see `_train` for the other arguments and the exit code.
    """
    from resnetlab.finetuning import cross_validation

    progress = ProgressLine()
    with stop_signal().installed() as interrupt:
        finetuned = cross_validation.cross_validate(
            request,
            folds,
            time_limit_seconds=seconds,
            should_stop=interrupt.is_set,
            notify=notify_line,
            on_item=progress,
        )
        if is_first_process():
            rest = end - time.monotonic()
            page = write_page_of_folds(finetuned, request.device, rest, progress, language)
            print_folds(finetuned, page, as_json)
            if open_report:
                open_page(page)
    return interrupt.exit_code if interrupt.is_set() else 0
