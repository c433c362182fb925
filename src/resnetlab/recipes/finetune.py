"""Fine-tuning recipes as dataclasses. Free of torch."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Annotated, Any, Literal

from resnetlab.errors import input_error, suggest
from resnetlab.recipes.train import Recipe
from resnetlab.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    decode,
    parse_toml,
    read_toml,
    strict_dataclass,
)
from resnetlab.schema_errors import FieldError

Trainable = Literal["classifier", "last norm", "all"] | NonNegativeInt
"""Parts of a network that are trained; a number freezes that many of the first parts."""


BalanceChoice = Literal["auto", "none", "weights", "sampler"]
"""Choice of a method for uneven classes, as the option `--balance` names it."""

BalanceMethod = Literal["none", "class weights", "balanced sampler"]
"""Method for uneven classes."""

FrozenMode = Literal["eval", "train"]
"""Mode of the frozen part of a network during training."""

RecipeCropMode = Literal["crop", "whole"]
"""Evaluation transform of a recipe: the center crop or the whole image."""

Sampler = Literal["shuffled", "balanced"]
"""Choice of the train images of an epoch."""


@strict_dataclass
class Stage:
    """Stage of fine-tuning: the trainable part, the training images and the recipe."""

    name: str
    """Name of the stage. Its random numbers depend on it."""
    trainable: Trainable = "classifier"
    """Trainable part. classifier; last norm: the classifier and the last batch norm; all; or a
    number of first parts that stay frozen.
    """
    frozen_mode: FrozenMode = "eval"
    """Mode of the frozen part during training. eval: its statistics stay. train: batch norm uses
    the statistics of each batch, its running statistics drift towards the new images, and dropout
    is on, as in a training loop that never leaves training mode.
    """
    size: Literal["train", "test"] = "train"
    """Image size of this stage: `train_size` or `test_size` of the recipe."""
    augment: Literal["none", "standard", "trivial", "test-like"] = "standard"
    """Augmentation. none: the evaluation transform. standard: RandomResizedCrop, flip,
    ColorJitter(.3). trivial: RandomResizedCrop, flip, TrivialAugment (Müller and Hutter 2021).
    test-like: resize, flip, ColorJitter(.05), and the center crop shifted at random.
    """
    mixup: NonNegativeFloat = 0.0
    """Mixup (Zhang et al. 2018): each image is mixed with another of its batch, with a weight from
    Beta(mixup, mixup); 0 for none. With `cutmix`, each batch gets one of the two at random.
    """
    cutmix: NonNegativeFloat = 0.0
    """CutMix (Yun et al. 2019): a rectangle of each image is that of another of its batch, with a
    share of the area from Beta(cutmix, cutmix); 0 for none.
    """
    random_erasing: UnitInterval = 0.0
    """Probability that a rectangle of an image gets the mean color (Zhong et al. 2020)."""
    decode: Literal["exact", "scaled"] = "exact"
    """Resolution of a decoded JPEG. scaled: 1/2, 1/4 or 1/8 of its sides if a crop needs no more.

    Evaluation always decodes exactly.
    """
    recipe: Recipe
    """Optimizer, schedule, batch size, epochs and EMA.

    `augment`, `normalize`, `select`, `eval_every_epochs` and `initial_weights_seed` must be left
    out.
    """
    lrs: tuple[PositiveFloat, ...] = ()
    """Learning rates to try in place of the recipe's; the validation result selects one."""
    patience: NonNegativeInt = 0
    """Epochs without a lower validation loss after which the stage stops; 0 for no early stopping.
    """
    layer_decay: Annotated[UnitInterval, "above 0"] | Literal[1] = 1
    """Factor of the learning rate from each part of the network to the part before it."""
    layer_decay_by: Literal["part", "block"] = "part"
    """Unit of `layer_decay`. part: a child of the network, of which each item of a sequence is one.
    block: a residual block, with the units of timm's `param_groups_layer_decay` (Bao et al. 2022).
    """
    grad_accum_steps: PositiveInt = 1
    """Number of microbatches that a batch is split into; the step is that of the full batch."""
    grad_checkpointing: bool = False
    """Activation checkpointing: recompute the activations of each part in the backward pass.

    It saves memory and costs time.
    """

    def __post_init__(self) -> None:
        recipe = self.recipe
        defaults = {
            "augment": type(recipe.augment)(),
            "normalize": "train",
            "select": "last",
            "eval_every_epochs": 1,
            "initial_weights_seed": None,
        }
        if any(getattr(recipe, name) != value for name, value in defaults.items()):
            message = f"a stage cannot set {', '.join(defaults)}"
            raise FieldError("recipe", message, "remove them")
        if self.decode == "scaled" and self.augment == "none":
            raise FieldError(
                "decode",
                "without augmentation photographs are decoded as in evaluation",
                'decode = "exact"',
            )
        if self.augment == "none" and (self.mixup or self.cutmix or self.random_erasing):
            field = "mixup" if self.mixup else "cutmix" if self.cutmix else "random_erasing"
            message = "without augmentation the features are computed only once"
            raise FieldError(field, message, f'{field} = 0, or augment = "standard"')
        if self.frozen_mode == "train" and self.augment == "none":
            raise FieldError(
                "frozen_mode",
                "without augmentation the features of the frozen part are computed only once",
                'frozen_mode = "eval", or augment = "standard"',
            )
        if not self.layer_decay:
            raise FieldError("layer_decay", "0 would train the last part only", "layer_decay = 0.8")


@strict_dataclass
class FinetuneRecipe:
    """Fine-tuning recipe: stages in order, each from the best epoch of the stage before.

    Validation selects among all of them.
    """

    name: str
    """Name of the recipe, for messages and reports."""
    about: str = ""
    """Description in a sentence."""
    train_size: PositiveInt = 224
    """Side in pixels of the training images of a stage with `size = "train"`."""
    test_size: PositiveInt = 224
    """Side in pixels of the images in evaluation, and of a stage with `size = "test"`."""
    crop_mode: RecipeCropMode = "crop"
    """Evaluation transform. crop: resize the shorter side to int(256/224 x size) and take the
    center crop. whole: the whole image.
    """
    crops: Literal[1, 10] = 1
    """Crops of each test image: the center crop, or the mean of the probabilities of ten crops.

    Validation uses the center crop.
    """
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the classes in the loss. balanced: as if all classes had as many train images."""
    sampler: Sampler = "shuffled"
    """Train images of an epoch. shuffled: each once. balanced: as many draws with replacement, in
    which every class is equally likely.
    """
    epochs: PositiveInt | None = None
    """Upper limit for the epochs of each stage that counts in epochs."""
    stages: tuple[Stage, ...]
    """Stages in the order of training."""

    select = "best"

    def __post_init__(self) -> None:
        if not self.stages:
            raise FieldError("stages", "there are none", "give at least one")
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise FieldError("stages", "two have the same name", "give each its own name")
        if self.crop_mode == "whole" and any(
            stage.trainable != "classifier" or stage.augment != "none" for stage in self.stages
        ):
            message = (
                "whole images differ in shape, so only a classifier on constant features can be "
                "trained on them"
            )
            raise FieldError("crop_mode", message, 'crop_mode = "crop"')
        if self.class_weights == "balanced" and self.sampler == "balanced":
            message = "given together with class_weights, which would balance the classes twice"
            raise FieldError("sampler", message, 'sampler = "shuffled"')
        if self.crop_mode == "whole" and self.crops != 1:
            raise FieldError("crops", "whole images cannot be cropped", "crops = 1")

    @property
    def balance(self) -> BalanceMethod:
        """Method for uneven classes that `class_weights` and `sampler` set."""
        if self.class_weights == "balanced":
            return "class weights"
        return "balanced sampler" if self.sampler == "balanced" else "none"

    def with_balance(self, method: BalanceMethod) -> FinetuneRecipe:
        """Return the recipe with a method for uneven classes."""
        return replace(
            self,
            class_weights="balanced" if method == "class weights" else "none",
            sampler="balanced" if method == "balanced sampler" else "shuffled",
        )

    @property
    def resolved_stages(self) -> tuple[Stage, ...]:
        """Stages with their epochs limited to `epochs`."""

        def shortened(stage: Stage) -> Stage:
            if not stage.recipe.epochs or not self.epochs:  # a stage may count steps instead
                return stage
            epochs = min(stage.recipe.epochs, self.epochs)
            return replace(stage, recipe=replace(stage.recipe, epochs=epochs))

        return tuple(map(shortened, self.stages))

    @property
    def identity(self) -> FinetuneRecipe:
        """Recipe without the fields that change no result."""
        return replace(self, name="", about="")

    @property
    def training(self) -> FinetuneRecipe:
        """Recipe without the fields that change the evaluation alone."""
        return replace(self, crops=1)

    @property
    def batch_size(self) -> int:
        """Batch size of the first stage."""
        return self.stages[0].recipe.batch_size

    def input_size(self, _side: int, _channels: int) -> int:
        """Return the side in pixels of the network's input, whatever the size of the images."""
        return self.test_size

    def total_steps(self, num_images: int) -> int:
        """Return the steps of all stages over `num_images` images, for one learning rate each."""
        return sum(stage.recipe.total_steps(num_images) for stage in self.resolved_stages)

    def epochs_at(self, _step: int, _num_images: int) -> None:
        """Return None: stages differ in batch size, so the step does not give the epochs."""

    def num_epochs(self, num_images: int) -> float:
        """Return the epochs of all stages over `num_images` train images."""
        return sum(stage.recipe.num_epochs(num_images) for stage in self.resolved_stages)


AnyRecipe = Recipe | FinetuneRecipe
"""Recipe of a run: training from scratch or fine-tuning."""


def finetune_recipe_names() -> list[str]:
    """Return the names of the catalog's fine-tuning recipes."""
    return sorted(
        path.name.removesuffix(".toml")
        for path in _catalog().iterdir()
        if path.name.endswith(".toml")
    )


def load_finetune_recipe(source: str) -> FinetuneRecipe:
    """Return the recipe of that name or TOML file. Raises InputError with every mistake."""
    if source in finetune_recipe_names():
        table = finetune_recipe_table(source)
    elif source.endswith(".toml"):
        table = {"name": Path(source).stem} | read_toml(Path(source))
    else:
        fix = suggest(source, finetune_recipe_names()) or "a name, or a TOML file"
        raise input_error(
            source, "unknown fine-tuning recipe", fix, allowed=", ".join(finetune_recipe_names())
        )
    recipe: FinetuneRecipe = decode(FinetuneRecipe, table, source)
    return recipe


def finetune_recipe_table(name: str) -> dict[str, Any]:
    """Return the TOML table of a recipe of the catalog."""
    return {"name": name} | parse_toml(
        _catalog().joinpath(f"{name}.toml").read_text(encoding="utf-8"), name
    )


def _catalog() -> Any:
    return package_files("resnetlab.catalog") / "finetune"
