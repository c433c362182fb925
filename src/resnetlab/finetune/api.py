"""From what a person asks for to a model's folder: read, check, fit, write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from resnetlab.codec import encode
from resnetlab.data.sources.manifest import Cut
from resnetlab.files import write_json
from resnetlab.finetune.backbones import choose
from resnetlab.finetune.kept import Kept
from resnetlab.finetune.photographs import open_photographs
from resnetlab.finetune.record import Record, Sizes
from resnetlab.finetune.sizes import sweep
from resnetlab.finetune.tune import Job, fit_all
from resnetlab.models.spec import External
from resnetlab.models.transfer import Freeze, parse_freeze
from resnetlab.training.numerics import Numerics, parse_device
from resnetlab.training.resolve import resolve
from resnetlab.training.team import ALONE, Team, from_environment, joined
from resnetlab.training.tuning import Stage, Trains, Tuning, load_tuning

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a person asks for; empty where they leave it to us."""

    folder: Path
    model: str = ""
    weights: Path | None = None
    recipe: str = "full"
    freeze: str = ""
    train_size: int | None = None
    test_size: int | None = None
    epochs: int | None = None
    cut: Cut | Path | None = None
    seed: int = 0
    skip_bad: bool = False
    accept_licence: bool = False
    device: str = "auto"
    output: Path = Path()


@dataclass(frozen=True)
class Done:
    """What was found, the folder of the model, and that of what was found."""

    record: Record
    model: Path
    report: Path


def finetune(
    told: Told, *, budget_seconds: float | None = None, baseline: Path | None = None,
    stop: Callable[[], bool] = lambda: False, say: Say = lambda _: None,
) -> Done:  # fmt: skip
    """Fit a network to a folder of photographs and write it. Raises InputError and ResourceError."""
    team = from_environment()
    say = say if team.first else lambda _: None
    job = prepared(told, say, team)
    name = folder_name(job)
    model, report = told.output / "models" / name, told.output / "reports" / name
    with joined(team, job.numerics.device):
        record = fit_all(
            job, model, _kept(told), budget_seconds=budget_seconds, baseline=baseline, stop=stop, say=say, team=team
        )  # fmt: skip
    if team.first:
        report.mkdir(parents=True, exist_ok=True)
        write_json(report / "finetune.json", encode(record))
    return Done(record, model, report)


def fixres(
    told: Told, train_sizes: tuple[int, ...], test_sizes: tuple[int, ...], *, command: str,
    stop: Callable[[], bool] = lambda: False, say: Say = lambda _: None,
) -> Iterator[tuple[Sizes, Path]]:  # fmt: skip
    """The table of sizes as it fills, and the folder of its report. Raises InputError and ResourceError."""
    job = prepared(told, say)
    name = folder_name(job)
    report = told.output / "reports" / name
    model = told.output / "models" / name
    for found in sweep(job, train_sizes, test_sizes, model, _kept(told), command=command, stop=stop, say=say):
        yield found, report


def _kept(told: Told) -> Kept:
    """Stages that are done are not done again when the command is given again."""
    return Kept(told.output / "cache" / "stages")


def folder_name(job: Job) -> str:
    """`photos-resnet50-full`: the data, the network, the recipe."""
    spec = job.backbone.spec
    network = spec.name if isinstance(spec, External) else spec.slug
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{job.photos.name}-{network}-{job.tuning.name}")


def prepared(told: Told, say: Say, team: Team = ALONE) -> Job:
    """Everything read and checked, so that what is wrong is told before anything is trained."""
    tuning = adjusted(load_tuning(told.recipe), told)
    device, index = parse_device(told.device)
    numerics = resolve(Numerics(device=device, ranks=team.size), single=True)  # type: ignore[arg-type]
    backbone = choose(told.model, told.weights, told.accept_licence)
    photos = open_photographs(
        told.folder, cache=told.output / "cache", cut=told.cut, skip_bad=told.skip_bad, say=say
    )  # fmt: skip
    for note in photos.notes:
        say(f"note: {note}")
    where = f" ({backbone.found})" if backbone.found else ""
    say(f"{len(photos.classes)} classes, {len(photos.train):,} train images; {backbone.spec.slug}{where}")
    return Job(photos, backbone, tuning, told.seed, numerics, index)


def adjusted(tuning: Tuning, told: Told) -> Tuning:
    """The recipe with the sizes, the epochs and the frozen part that a command asks for."""
    train = told.train_size or tuning.train_size
    test = told.test_size or told.train_size or tuning.test_size
    trains = _trains(told.freeze)

    def changed(stage: Stage) -> Stage:
        return replace(stage, trains=trains) if trains is not None and stage.augment == "standard" else stage

    stages = tuple(map(changed, tuning.stages))
    return replace(tuning, train_size=train, test_size=test, epochs=told.epochs or tuning.epochs, stages=stages)


def _trains(freeze: str) -> Trains | None:
    if not freeze:
        return None
    known: dict[Freeze, Trains] = {"backbone": "classifier", "none": "all"}
    held = parse_freeze(freeze)
    return known.get(held, held if isinstance(held, int) else None)
