"""What a person asks of a fine-tuning, read and checked before torch is imported. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from resnetlab.data.sources.manifest import Cut
from resnetlab.errors import mistake
from resnetlab.finetune.backbones import Backbone, choose
from resnetlab.finetune.photographs import Photographs, open_photographs
from resnetlab.models.frozen import Freeze, parse_freeze
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
class Asked:
    """A fine-tuning whose recipe, weights and photographs were found to be whole."""

    photos: Photographs
    backbone: Backbone
    tuning: Tuning


def read(told: Told, say: Say = lambda _: None) -> Asked:
    """Everything read and checked that needs no torch. Raises InputError."""
    if not told.folder.is_dir():
        raise mistake(str(told.folder), "no such folder", "give a folder of photographs, in folders of classes")
    tuning = adjusted(load_tuning(told.recipe), told)
    backbone = choose(told.model, told.weights, told.accept_licence)
    photos = open_photographs(
        told.folder, cache=told.output / "cache", cut=told.cut, skip_bad=told.skip_bad, say=say
    )  # fmt: skip
    for note in photos.notes:
        say(f"note: {note}")
    where = f" ({backbone.found})" if backbone.found else ""
    say(f"{len(photos.classes)} classes, {len(photos.train):,} train images; {backbone.spec.slug}{where}")
    return Asked(photos, backbone, tuning)


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
