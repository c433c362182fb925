"""Fine-tuning request of a user, which is read and checked before torch is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, FolderChoices
from resnetlab.data.sources.folder.manifest import SplitSpec
from resnetlab.errors import input_error
from resnetlab.finetuning.dataset import PhotoDataset, check_all_folds, open_photographs
from resnetlab.finetuning.network.backbones import Backbone
from resnetlab.finetuning.network.candidates import Candidates, select_candidates
from resnetlab.messages import Notify, format_count, silent
from resnetlab.models.configs.external import allow_code, check_code
from resnetlab.models.freeze_option import Freeze, parse_freeze
from resnetlab.recipes.finetune import (
    BalanceChoice,
    BalanceMethod,
    FinetuneRecipe,
    Stage,
    Trainable,
    load_finetune_recipe,
)
from resnetlab.recipes.numerics import Numerics


@dataclass(frozen=True, kw_only=True)
class FinetuneRequest:
    """Fine-tuning request of a user. An empty field leaves the choice to resnetlab."""

    folder: Path
    model: str = ""
    weights: Path | None = None
    tries: tuple[str, ...] = ()
    """Networks to try on their features, of which validation selects one: names, files, `local`.
    """
    recipe: str | FinetuneRecipe = "full"
    freeze: str = ""
    balance: BalanceChoice = "auto"
    """Method for uneven classes: none, weights, sampler, or auto.

    auto: that of the recipe, or if it has none and the classes are uneven, the one that validation
    selects.
    """
    train_size: int | None = None
    test_size: int | None = None
    epochs: int | None = None
    split_spec: SplitSpec | Path | None = None
    seed: int = 0
    skip_bad: bool = False
    no_test: bool = False
    """True if no images are set apart for a test split."""
    folds: int | None = None
    """Number of folds of a cross-validation; None for none."""
    fold: int = 0
    """Fold that is the test split, from 0 to `folds` - 1."""
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES
    accept_license: bool = False
    device: str = "auto"
    numerics: Numerics = field(default_factory=Numerics)
    """Precision, memory format and threads; `device` has priority over its device."""
    workers: int = 0
    """Threads that decode photographs; 0 for one per core. They change no bit."""
    output: Path = Path()
    name: str = ""
    """Name of the folders of the model and the report."""
    trust_code: bool = False
    """Consent to run the code (`package.module:function`) that `model` or its file names."""


@dataclass(frozen=True)
class CheckedRequest:
    """Checked fine-tuning request: photographs, backbone and recipe."""

    photos: PhotoDataset
    candidates: Candidates
    """Pre-trained networks, of which validation selects one."""
    recipe: FinetuneRecipe

    @property
    def backbone(self) -> Backbone:
        """First network."""
        return self.candidates.backbones[0]


def check_folder_name(name: str) -> None:
    """Raise InputError unless `name` is empty or can be the name of a model's folder."""
    if name and not re.fullmatch(r"\w[\w.-]{0,99}", name):
        allowed = "letters, digits, dots, hyphens and underscores, at most 100"
        raise input_error(
            "--name", "not a name of a folder", "--name pets", got=name, allowed=allowed
        )


def read_request(request: FinetuneRequest, notify: Notify = silent) -> CheckedRequest:
    """Read and check the parts of a request that need no torch.

    Raises InputError if one is invalid.
    """
    if not request.folder.is_dir():
        raise input_error(
            str(request.folder),
            "no such folder",
            "give a folder of photographs, with a folder per class",
        )
    check_folder_name(request.name)
    if request.folds is not None:
        _check_no_other_split(request)
    recipe = request.recipe
    if isinstance(recipe, str):
        recipe = load_finetune_recipe(recipe)
    recipe = apply_options(recipe, request)
    candidates = select_candidates(
        request.model, request.weights, request.tries, request.accept_license, request.device
    )
    for backbone in candidates.backbones:
        if request.trust_code:
            allow_code(backbone.config)
        check_code(backbone.config)
    photos = open_photographs(
        request.folder,
        cache=request.output / "cache",
        split_spec=request.split_spec,
        skip_bad=request.skip_bad,
        no_test=request.no_test,
        folds=request.folds,
        fold=request.fold,
        folder_choices=request.folder_choices,
        notify=notify,
    )
    for note in photos.notes:
        notify(f"note: {note}")
    (backbone, *others) = candidates.backbones
    origin = f" ({backbone.origin})" if backbone.origin else ""
    more = f" and {format_count(len(others), 'other network')} to try" if others else ""
    notify(
        f"{format_count(len(photos.classes), 'class')}, "
        f"{_split_sizes(photos)}; {backbone.config.slug}{origin}{more}"
    )
    return CheckedRequest(photos, candidates, recipe)


def _split_sizes(photos: PhotoDataset) -> str:
    """Return the size of each split, as in `70 train, 15 validation and 15 test images`."""
    if not photos.has_test:
        return f"{len(photos.train):,} train and {len(photos.validation):,} validation images"
    return (
        f"{len(photos.train):,} train, {len(photos.validation):,} validation and "
        f"{len(photos.test):,} test images"
    )


def check_folds(request: FinetuneRequest, folds: int, notify: Notify = silent) -> None:
    """Check every fold of a cross-validation before the first one is trained.

    Raises InputError if a class has too few images for one of them.
    """
    _check_no_other_split(request)
    check_all_folds(
        request.folder,
        folds,
        cache=request.output / "cache",
        skip_bad=request.skip_bad,
        folder_choices=request.folder_choices,
        notify=notify,
    )


def _check_no_other_split(request: FinetuneRequest) -> None:
    """Raise InputError if a request of folds names other splits too."""
    if request.no_test or request.split_spec is not None:
        other = "--no-test" if request.no_test else "--split"
        raise input_error("--folds", f"given together with {other}", "keep one of the two")


def apply_options(recipe: FinetuneRecipe, request: FinetuneRequest) -> FinetuneRecipe:
    """Apply the options of a request to a recipe. Raises InputError if one does not fit it."""
    train = request.train_size or recipe.train_size
    test = request.test_size or request.train_size or recipe.test_size
    trainable = _trainable_parts(request.freeze)

    def changed(stage: Stage) -> Stage:
        return (
            replace(stage, trainable=trainable)
            if trainable is not None and stage.augment in ("standard", "trivial")
            else stage
        )

    stages = tuple(map(changed, recipe.stages))
    if request.balance != "auto":
        recipe = recipe.with_balance(_balance_method(request.balance))
    return replace(
        recipe,
        train_size=train,
        test_size=test,
        epochs=request.epochs or recipe.epochs,
        stages=stages,
    )


def _balance_method(choice: BalanceChoice) -> BalanceMethod:
    """Return the method of a choice other than `auto`. Raises InputError for another word."""
    methods: dict[str, BalanceMethod] = {
        "none": "none",
        "weights": "class weights",
        "sampler": "balanced sampler",
    }
    if choice not in methods:  # from Python, where nothing has checked the type
        allowed = ", ".join(("auto", *methods))
        raise input_error("--balance", "unknown", "--balance auto", got=choice, allowed=allowed)
    return methods[choice]


def _trainable_parts(freeze: str) -> Trainable | None:
    if not freeze:
        return None
    by_name: dict[Freeze, Trainable] = {"backbone": "classifier", "none": "all"}
    freeze_value = parse_freeze(freeze)
    return by_name.get(freeze_value, freeze_value if isinstance(freeze_value, int) else None)
