"""`resnetlab finetune` and `fixres`: parse, call one function, print. Heavy imports stay inside the commands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.data import SplitAs
from resnetlab.cli.loading import Pulse
from resnetlab.cli.manners import Device, Json, Open, note, open_page, print_json
from resnetlab.cli.manners import Root as Output
from resnetlab.errors import mistake, printable
from resnetlab.shell import command_line, last_part

if TYPE_CHECKING:
    from resnetlab.finetune.record import Record

Folder = Annotated[Path, typer.Argument(help="A folder of photographs, in folders of classes.", metavar="DIR")]
ModelName = Annotated[
    str, typer.Option("--model", help="timm/NAME, torchvision/NAME or a TOML file; else what is at hand.")
]
Weights = Annotated[Path | None, typer.Option("--weights", help="A safetensors file.", metavar="FILE")]
Seed = Annotated[int, typer.Option(help="Names every random stream.", min=0)]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out broken files.")]
Accept = Annotated[bool, typer.Option("--accept-licence", help="Keep to a licence that forbids commercial use.")]


def finetune(
    folder: Folder, model: ModelName = "", weights: Weights = None,
    recipe: Annotated[str, typer.Option(help="full, probe, fixres, proof-of-concept or a TOML file.")] = "full",
    freeze: Annotated[str, typer.Option(help="backbone, none, or so many of the first parts; of every stage.")] = "",
    train_size: Annotated[int | None, typer.Option(help="Pixels a side while training.", min=8)] = None,
    test_size: Annotated[int | None, typer.Option(help="Pixels a side in use; else as the train size.", min=8)] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each stage, at most.", min=1)] = None,
    budget: Annotated[str, typer.Option(help="Time for all of it: 90s, 10m, 2h; 0 for none.")] = "10m",
    split: SplitAs = "", seed: Seed = 0,
    baseline: Annotated[Path | None, typer.Option(help="An earlier model, compared on the same test images.")] = None,
    skip_bad: SkipBad = False, accept_licence: Accept = False, device: Device = "", output: Output = Path(),
    json: Json = False,
) -> None:  # fmt: skip
    """Fit a pre-trained network to a folder of photographs.

    Example:  resnetlab finetune photos --budget 10m
    """
    seconds = _seconds(budget)
    _check_device(device)
    _check_folder(folder)
    from resnetlab.cli.work import Interrupt
    from resnetlab.codec import encode
    from resnetlab.data.sources.manifest import cut_of
    from resnetlab.finetune import api
    from resnetlab.finetune.asked import Told
    from resnetlab.training.numerics import place

    told = Told(
        folder=folder, model=model, weights=weights, recipe=recipe, freeze=freeze, train_size=train_size,
        test_size=test_size, epochs=epochs, cut=cut_of(split), seed=seed, skip_bad=skip_bad,
        accept_licence=accept_licence, device=device or "auto", output=output,
    )  # fmt: skip
    with Interrupt().watched() as interrupt:
        done = api.finetune(
            told, budget_seconds=seconds, baseline=baseline, stop=interrupt.asked, say=_say, pulse=Pulse()
        )
    if place()[0] > 0:
        return
    if json:
        print_json(encode(done.record) | {"model_folder": done.model, "report_folder": done.report})
    else:
        for line in lines(done.record, done.model, folder, split):
            typer.echo(printable(line))
        typer.echo(f"Report: {done.report}")
    if interrupt.asked():
        raise typer.Exit(128 + interrupt.number)


Sizes = Annotated[str, typer.Option(help="Pixels a side, with commas.", metavar="SIZES")]


def fixres(
    folder: Folder, train_sizes: Sizes = "128,224", test_sizes: Sizes = "128,224,288",
    model: ModelName = "", weights: Weights = None,
    recipe: Annotated[str, typer.Option(help="fixres, proof-of-concept or a TOML file.")] = "fixres",
    epochs: Annotated[int | None, typer.Option(help="Of each stage, at most.", min=1)] = None,
    split: SplitAs = "", seed: Seed = 0,
    picture: Annotated[Path | None, typer.Option(help="Draw this photograph as both sizes see it, no more.")] = None,
    skip_bad: SkipBad = False, accept_licence: Accept = False, device: Device = "", output: Output = Path(),
    json: Json = False, open_report: Open = False,
) -> None:  # fmt: skip
    """Find the train and test sizes that suit your photographs.

    Example:  resnetlab fixres photos --train-sizes 128,224 --test-sizes 128,224,288
    """
    trains, tests = _sides(train_sizes, "--train-sizes"), _sides(test_sizes, "--test-sizes")
    _check_device(device)
    if picture is not None:
        from resnetlab.finetune.apparent import draw

        path = output / "reports" / "picture.png"
        drawn = draw(picture, trains[0], tests[0], path)
        if json:
            print_json({"picture": path, "answer": drawn})
        else:
            typer.echo(drawn)
        return
    _check_folder(folder)
    from resnetlab.cli.work import Interrupt
    from resnetlab.codec import encode
    from resnetlab.data.sources.manifest import cut_of
    from resnetlab.finetune import api
    from resnetlab.finetune.asked import Told
    from resnetlab.reports.sizes import page, write

    told = Told(
        folder=folder, model=model, weights=weights, recipe=recipe, epochs=epochs, cut=cut_of(split), seed=seed,
        skip_bad=skip_bad, accept_licence=accept_licence, device=device or "auto", output=output,
    )  # fmt: skip
    with Interrupt().watched() as interrupt:
        for found, place in api.fixres(
            told, trains, tests, command=_command(), stop=interrupt.asked, say=_say, pulse=Pulse()
        ):
            report = write(found, place)
    if json:
        print_json(encode(found) | {"answer": page(found).answer, "report": report})
    else:
        typer.echo(printable(page(found).answer))
        typer.echo(f"Report: {report}")
    if open_report:
        open_page(report)
    if interrupt.asked():
        raise typer.Exit(128 + interrupt.number)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise mistake(str(folder), "no such folder", "give a folder of photographs, in folders of classes")


def _sides(text: str, option: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and 8 <= int(part) <= 4096 for part in parts) or len(set(parts)) < len(parts):
        raise mistake(option, "not sizes from 8 to 4096, each once", f"{option} 128,224", got=text)
    return tuple(int(part) for part in parts)


def _command() -> str:
    """What repeats it, without a path of this machine."""
    named = ("timm/", "torchvision/")  # names of networks, which are no paths
    return command_line(["resnetlab", *(w if w.startswith(named) else last_part(w) for w in sys.argv[1:])])


def lines(record: Record, model: Path, folder: Path, split: str) -> list[str]:
    """What was found, as a person reads it; the last line is to be pasted."""
    said = []
    for stage in record.stages:
        chosen = " (chosen)" if stage.chosen else ""
        state = "diverged; the weights before it stay" if stage.diverged else f"epoch {stage.best_epoch}"
        said.append(f"{stage.name:12} validation {stage.validation.accuracy_pct:5.1f} %, {state}{chosen}")
    test = record.test
    interval = f"[{test.low_pct:.1f}, {test.high_pct:.1f}]"
    said.append(f"test {test.accuracy_pct:.1f} % {interval} of {test.images:,} images, 95 % interval over images")
    if record.comparison:
        held = record.comparison
        said.append(
            f"{held.baseline} {held.baseline_accuracy_pct:.1f} %: this model alone is right on {held.only_this}, that "
            f"one alone on {held.only_baseline}: McNemar, exact, p = {held.p:.4f}"
        )
    said += [f"caveat: {caveat}" for caveat in record.caveats]
    if record.worst:
        said.append("most confident mistakes:")
        said += [
            f"  {item.path}: {item.label} taken for {item.said} ({100 * item.probability:.0f} %)"
            for item in record.worst[:5]
        ]
    if record.worst and not split:  # cut in another way, `evaluate` would take other images
        shown = ["resnetlab", "evaluate", str(model), str(folder), "--out", "mistakes"]
        said.append(f"as pictures: {command_line(shown)}")
    said.append(command_line(["resnetlab", "predict", str(model), str(folder / record.example)]))
    return said


def _seconds(text: str) -> float | None:
    """`10m` as seconds; None for 0, which is no bound. Raises InputError."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh]?)", text.strip())
    if found is None:
        raise mistake("--budget", "not a time", "--budget 10m", got=text, allowed="90s, 10m, 2h, or 0 for none")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "": 1}[found[2]] or None


def _check_device(device: str) -> None:
    """Raise InputError for a device that no machine has, before torch is imported."""
    if device:
        from resnetlab.training.numerics import parse_device

        parse_device(device)


def _say(line: str) -> None:
    note(printable(line))
