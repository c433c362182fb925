"""How a pre-trained network is fitted to photographs, as data. Free of torch."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Annotated, Any, Literal

from resnetlab.errors import mistake, nearest
from resnetlab.recipes.train import Recipe
from resnetlab.schema import FieldError, Fraction, Positive, PositiveAmount, Whole, decode, parse_toml, read_toml, spec

Trains = Literal["classifier", "last norm", "all"] | Whole


@spec
class Stage:
    """One stage of training: what learns, on what it is shown."""

    name: str
    trains: Trains = "classifier"
    """classifier; last norm: the classifier and the last batch norm; all; or all but so many of the first parts."""
    size: Literal["train", "test"] = "train"
    """At which of the two sizes."""
    augment: Literal["none", "standard", "test-like"] = "standard"
    """none: as in evaluation. standard: RandomResizedCrop, flip, ColorJitter(.3). test-like: resize, flip,
    ColorJitter(.05), the centre crop shifted at random."""
    decode: Literal["exact", "scaled"] = "exact"
    """scaled: of a JPEG no more than a training crop needs, at 1/2, 1/4 or 1/8 of its sides. Evaluation is exact."""
    recipe: Recipe
    """Optimiser, schedule, batch, epochs, EMA; what it says of pixels is for training runs and must be left out."""
    rates: tuple[PositiveAmount, ...] = ()
    """Learning rates to try in place of the recipe's; validation chooses."""
    patience: Whole = 0
    """Stop after so many epochs without a lower validation loss; 0 for never."""
    depth_decay: Annotated[Fraction, "above 0"] | Literal[1] = 1
    """Of the learning rate, from each part of the network to the one before it; 1 for one rate."""
    accumulate: Positive = 1
    """Pieces into which a batch is cut, one after another in memory; the step is that of the whole batch."""
    checkpoint_parts: bool = False
    """Compute the activations of each part again on the way back: less memory, more time."""

    def __post_init__(self) -> None:
        held = self.recipe
        if (held.augment, held.normalise, held.choose) != (type(held.augment)(), "train", "last"):
            raise FieldError("recipe", "its augment, normalise and choose have no place here", "leave them out")
        if self.decode == "scaled" and self.augment == "none":
            raise FieldError(
                "decode", "without augmentation photographs are shown as in evaluation", 'decode = "exact"'
            )
        if not self.depth_decay:
            raise FieldError("depth_decay", "0 leaves one part to learn", "depth_decay = 0.8")


@spec
class Tuning:
    """Stages, one after another, each from the best epoch of the one before; validation chooses among all."""

    name: str
    about: str = ""
    train_size: Positive = 224
    test_size: Positive = 224
    view: Literal["crop", "whole"] = "crop"
    """In evaluation: the shorter side to int(256/224 x size) and the centre crop, or the whole image."""
    crops: Literal[1, 10] = 1
    """Of each test photograph: the centre, or the mean of the probabilities of ten. Validation sees the centre."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each class weighs as if all had as many train images."""
    epochs: Positive | None = None
    """Of each stage that counts in epochs, at most."""
    stages: tuple[Stage, ...]

    choose = "best"

    def __post_init__(self) -> None:
        if not self.stages:
            raise FieldError("stages", "none", "give one at least")
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise FieldError("stages", "two of one name, which would draw alike", "give each a name of its own")
        if self.view == "whole" and any(
            stage.trains != "classifier" or stage.augment != "none" for stage in self.stages
        ):
            what = "whole images differ in shape, so only a classifier on constant features can be trained on them"
            raise FieldError("view", what, 'view = "crop"')
        if self.view == "whole" and self.crops != 1:
            raise FieldError("crops", "whole images leave no corners", "crops = 1")

    @property
    def due(self) -> tuple[Stage, ...]:
        """The stages, none with more epochs than `epochs`."""

        def shortened(stage: Stage) -> Stage:
            epochs = min(stage.recipe.epochs or 0, self.epochs or 0)  # a probe counts in steps
            return replace(stage, recipe=replace(stage.recipe, epochs=epochs)) if epochs else stage

        return tuple(map(shortened, self.stages))

    @property
    def batch_size(self) -> int:
        """Of the first stage."""
        return self.stages[0].recipe.batch_size

    def seen(self, _side: int, _channels: int) -> int:
        """Side in pixels of what the network sees in use, whatever the photographs' own."""
        return self.test_size

    def total_steps(self, images: int) -> int:
        """Steps of all stages over `images` train images, each by one learning rate."""
        return sum(stage.recipe.total_steps(images) for stage in self.due)

    def passes(self, images: int) -> float:
        """Epochs of all stages over `images` train images."""
        return sum(stage.recipe.passes(images) for stage in self.due)


AnyRecipe = Recipe | Tuning
"""How a network is trained from its first weights, or fitted from those of a pre-training."""


def tuning_names() -> list[str]:
    """The recipes of the catalog."""
    return sorted(path.name.removesuffix(".toml") for path in _catalog().iterdir() if path.name.endswith(".toml"))


def load_tuning(source: str) -> Tuning:
    """The recipe of that name, or of a TOML file. Raises InputError with every mistake."""
    if source in tuning_names():
        table = tuning_table(source)
    elif source.endswith(".toml"):
        table = {"name": Path(source).stem} | read_toml(Path(source))
    else:
        fix = nearest(source, tuning_names()) or "a name, or a TOML file"
        raise mistake(source, "unknown recipe of fine-tuning", fix, allowed=", ".join(tuning_names()))
    held: Tuning = decode(Tuning, table, source)
    return held


def tuning_table(name: str) -> dict[str, Any]:
    """The table of a recipe of the catalog."""
    return {"name": name} | parse_toml(_catalog().joinpath(f"{name}.toml").read_text(encoding="utf-8"), name)


def _catalog() -> Any:
    return package_files("resnetlab.catalog") / "finetune"
