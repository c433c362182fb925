"""Fine-tuning request of a user, which is read and checked before torch is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from resnetlab.data.sources.manifest import Cut
from resnetlab.errors import mistake
from resnetlab.finetune.backbones import Backbone, choose
from resnetlab.finetune.dataset import Photographs, open_photographs
from resnetlab.models.frozen import Freeze, parse_freeze
from resnetlab.recipes.finetune import Stage, Trains, Tuning, load_tuning

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Told:
    """Fine-tuning request of a user. An empty field leaves the choice to resnetlab."""

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
    """Checked fine-tuning request: photographs, backbone and recipe."""

    photos: Photographs
    backbone: Backbone
    tuning: Tuning


def read(request: Told, say: Say = lambda _: None) -> Asked:
    """Read and check the parts of a request that need no torch. Raises InputError."""
    if not request.folder.is_dir():
        raise mistake(
            str(request.folder),
            "no such folder",
            "give a folder of photographs, in folders of classes",
        )
    tuning = adjusted(load_tuning(request.recipe), request)
    backbone = choose(request.model, request.weights, request.accept_licence)
    photos = open_photographs(
        request.folder,
        cache=request.output / "cache",
        cut=request.cut,
        skip_bad=request.skip_bad,
        say=say,
    )
    for note in photos.notes:
        say(f"note: {note}")
    origin = f" ({backbone.found})" if backbone.found else ""
    say(
        f"{len(photos.classes)} classes, {len(photos.train):,} train images; "
        f"{backbone.spec.slug}{origin}"
    )
    return Asked(photos, backbone, tuning)


def adjusted(tuning: Tuning, request: Told) -> Tuning:
    """Apply the image sizes, the epochs and the frozen part of a request to a recipe."""
    train = request.train_size or tuning.train_size
    test = request.test_size or request.train_size or tuning.test_size
    trains = _trains(request.freeze)

    def changed(stage: Stage) -> Stage:
        return (
            replace(stage, trains=trains)
            if trains is not None and stage.augment == "standard"
            else stage
        )

    stages = tuple(map(changed, tuning.stages))
    return replace(
        tuning,
        train_size=train,
        test_size=test,
        epochs=request.epochs or tuning.epochs,
        stages=stages,
    )


def _trains(freeze: str) -> Trains | None:
    if not freeze:
        return None
    by_name: dict[Freeze, Trains] = {"backbone": "classifier", "none": "all"}
    freeze_value = parse_freeze(freeze)
    return by_name.get(freeze_value, freeze_value if isinstance(freeze_value, int) else None)
