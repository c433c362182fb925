"""Output of the command `finetune`: printed lines, the page, and the commands that use the model.

Heavy imports stay inside the functions.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resnetlab.cli.common import notify, print_json
from resnetlab.cli.finetune.options import parse_time_limit
from resnetlab.cli.loading import ProgressLine
from resnetlab.errors import escape_controls
from resnetlab.messages import format_count
from resnetlab.shell import command_line
from resnetlab.translation import Language, deferred

if TYPE_CHECKING:
    from resnetlab.finetuning.cross_validation import FinetunedFolds
    from resnetlab.finetuning.finetune_photos import FinetunedModel
    from resnetlab.finetuning.results import (
        AccuracyEstimate,
        FinetuneResult,
        PairedComparison,
    )


def notify_line(line: str) -> None:
    """Print a line that is not the result, with its control characters escaped."""
    notify(escape_controls(line))


def print_folds(folds: FinetunedFolds, page: Path, as_json: bool) -> None:
    """Print the result of a cross-validation."""
    from resnetlab.schema import encode

    if as_json:
        print_json(encode(folds.result) | {"report_folder": folds.report_folder, "page": page})
        return
    for line in folds.result.lines():
        typer.echo(escape_controls(line))
    typer.echo(f"Page: {page}")


def is_first_process() -> bool:
    """Return True unless this is another process than the first one of torchrun."""
    from resnetlab.recipes.numerics import torchrun_env

    return torchrun_env().rank == 0


def write_page(
    finetuned: FinetunedModel,
    folder: Path,
    device: str,
    remaining_seconds: float,
    progress: ProgressLine,
    language: Language = "en",
) -> Path:
    """Write the page of a fine-tuning, and return its path."""
    from resnetlab.api.finetune_page import MAX_DRAWING_SECONDS, write_finetune_page

    words = sys.argv[1:]
    needed = [cut.needed for cut in finetuned.result.time_limit_cuts]
    return write_finetune_page(
        finetuned,
        commands=use_commands(finetuned.model_folder, folder / finetuned.result.example),
        command=command_line(["resnetlab", *words]),
        full_command={limit: with_time_limit(words, limit) for limit in needed},
        device=device,
        max_drawing_seconds=min(MAX_DRAWING_SECONDS, remaining_seconds),
        notify=notify_line,
        on_item=progress,
        language=language,
    )


def write_page_of_folds(
    folds: FinetunedFolds,
    device: str,
    remaining_seconds: float,
    progress: ProgressLine,
    language: Language,
) -> Path:
    """Write the page of a cross-validation, and return its path."""
    from resnetlab.api.finetune_page import MAX_DRAWING_SECONDS
    from resnetlab.api.folds_page import write_cross_validation_page

    words = ["resnetlab", *sys.argv[1:]]
    return write_cross_validation_page(
        folds,
        command=command_line(words),
        final_command=command_line(without_option(words, "--folds")),
        device=device,
        max_drawing_seconds=min(MAX_DRAWING_SECONDS, remaining_seconds),
        language=language,
        notify=notify_line,
        on_item=progress,
    )


def use_commands(model: Path, photo: Path) -> list[tuple[str, str]]:
    """Return the commands that use a model, each after its purpose."""
    folder, image = str(model), str(photo)
    commands = {
        deferred("Predict the class of a photograph, or of all in a folder"): [
            "resnetlab",
            "predict",
            folder,
            image,
        ],
        deferred("Try it in the browser, with photographs of your own"): [
            "resnetlab",
            "serve",
            folder,
            "--open",
        ],
        deferred("See what a prediction is based on"): ["resnetlab", "explain", folder, image],
        deferred("Evaluate it on other labeled photographs"): [
            "resnetlab",
            "evaluate",
            folder,
            "FOLDER",
            "--out",
            "scores",
        ],
        deferred("Export it for other programs"): ["resnetlab", "export", folder, "--to", "onnx"],
    }
    return [(purpose, command_line(words)) for purpose, words in commands.items()]


def with_time_limit(words: Sequence[str], time_limit: str) -> str:
    """Return the command line of these words with another `--time-limit`."""
    others = without_option(["resnetlab", *words], "--time-limit")
    return command_line([*others, "--time-limit", time_limit])


def without_option(words: Sequence[str], option: str) -> list[str]:
    """Return the words of a command without an option and its value."""
    others, skips = list[str](), False
    for word in words:
        if not skips and word != option and not word.startswith(f"{option}="):
            others.append(word)
        skips = word == option
    return others


def print_finetuned(finetuned: FinetunedModel, page: Path, folder: Path, as_json: bool) -> None:
    """Print the summary or the record."""
    from resnetlab.schema import encode

    if as_json:
        folders = {
            "model_folder": finetuned.model_folder,
            "report_folder": finetuned.report_folder,
            "page": page,
        }
        print_json(encode(finetuned.result) | folders)
        return
    *lines, last = summary_lines(finetuned.result, finetuned.model_folder, folder)
    if cuts := finetuned.result.time_limit_cuts:
        longest = max(
            (cut.needed for cut in cuts), key=lambda needed: parse_time_limit(needed) or 0
        )
        lines.append(f"to train every stage in full: {with_time_limit(sys.argv[1:], longest)}")
    for line in (*lines, last):
        typer.echo(escape_controls(line))
    typer.echo(f"Page: {page}")


def summary_lines(report: FinetuneResult, model: Path, folder: Path) -> list[str]:
    """Summarize a fine-tuning in lines. The last line is a command for the user's next step."""
    from resnetlab.data.class_names import class_titles

    lines = trial_lines(report)
    for stage in report.stages:
        chosen = " (selected)" if stage.selected else ""
        state = f"epoch {stage.best_epoch}"
        if stage.diverged and stage.epochs:
            state += ", then diverged"
        elif stage.diverged:
            state = "diverged; the previous weights are kept"
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
        listed = report.worst[:5]
        title = class_titles(sorted({x for item in listed for x in (item.label, item.predicted)}))
        lines += [
            f"  {item.path}: {title[item.label]} predicted as {title[item.predicted]} "
            f"({100 * item.probability:.0f} %)"
            for item in listed
        ]
    lines.append(command_line(["resnetlab", "predict", str(model), str(folder / report.example)]))
    return lines


def trial_lines(report: FinetuneResult) -> list[str]:
    """Return a line for each network and each method for uneven classes that was tried."""
    lines = []
    for trial in report.backbone_trials:
        if trial.validation is None:
            lines.append(f"tried {trial.model}: left out, {trial.left_out}")
            continue
        parts = [
            f"{_accuracy(trial.validation)} by a probe",
            f"{trial.parameters / 1e6:.1f} M parameters",
            f"{trial.seconds:.0f} s",
            trial.license,
            "selected" if trial.selected else "",
            _paired_text(trial.paired),
        ]
        lines.append(f"tried {trial.model}: {', '.join(filter(None, parts))}")
    for method in report.balance_trials:
        state = "selected" if method.selected else f"{format_p(method.p or 0)} against the selected"
        lines.append(
            f"tried for uneven classes: {method.method}, balanced accuracy "
            f"{method.balanced_pct:.1f} % [{method.balanced_low_pct:.1f}, "
            f"{method.balanced_high_pct:.1f}], accuracy {method.validation.accuracy_pct:.1f} %, "
            f"{state}"
        )
    return lines


def _accuracy(estimate: AccuracyEstimate) -> str:
    interval = f"[{estimate.low_pct:.1f}, {estimate.high_pct:.1f}]"
    return f"validation {estimate.accuracy_pct:.1f} % {interval}"


def _paired_text(paired: PairedComparison | None) -> str:
    if paired is None:
        return ""
    return (
        f"{paired.only_this} images correct only with it and {paired.only_baseline} only with the "
        f"selected one, {format_p(paired.p)}"
    )


def format_p(p: float) -> str:
    """Format a p-value with its relation: `p = 0.012`, `p < 0.0001`."""
    from resnetlab.reports.format import format_p_value

    text = format_p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
