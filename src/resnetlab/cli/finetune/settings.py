"""Recipe and numerics of `finetune` with the changes by `--batch-size`, `--lr` and `--set`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from resnetlab.errors import input_error

if TYPE_CHECKING:
    from resnetlab.recipes.finetune import FinetuneRecipe
    from resnetlab.recipes.numerics import Numerics

NUMERICS = ("device", "precision", "memory_format", "threads")
"""Fields of the numerics that a fine-tuning uses."""


def change_recipe(
    recipe: str, batch_size: int | None, lr: float | None, settings: Sequence[str]
) -> tuple[str | FinetuneRecipe, Numerics]:
    """Return the recipe and the numerics with the changes by options of the command.

    Args:
        recipe: Name of a recipe, or a TOML file.
        batch_size: Images per step of the stages on augmented photographs (of every stage if there
            is none); None for the recipe's.
        lr: Learning rate of the same stages; it replaces the rates that a stage would try.
        settings: Settings such as `recipe.epochs=2` or `numerics.threads=1`. They have priority.

    Raises:
        InputError: A setting is invalid.
    """
    from resnetlab.recipes.finetune import FinetuneRecipe, load_finetune_recipe
    from resnetlab.recipes.numerics import Numerics
    from resnetlab.schema import decode, encode
    from resnetlab.studies.parsing.overrides import Overrides, apply_overrides

    if batch_size is None and lr is None and not settings:
        return recipe, Numerics()
    base = load_finetune_recipe(recipe)
    augmented = [k for k, stage in enumerate(base.stages) if stage.augment != "none"]
    given = []
    for index in augmented or range(len(base.stages)):
        prefix = f"recipe.stages.{index}"
        if batch_size is not None:
            given.append(f"{prefix}.recipe.batch_size={batch_size}")
        if lr is not None:
            given += [f"{prefix}.recipe.optimizer.lr={lr}", f"{prefix}.lrs=[]"]
    _check_settings(settings)
    tables = {"recipe": encode(base), "numerics": {}}
    tables = apply_overrides(tables, "", Overrides(settings=(*given, *settings))).tables
    changed = tables["recipe"]
    if isinstance(changed, str):
        changed = load_finetune_recipe(changed)
    else:
        changed = decode(FinetuneRecipe, changed, "", "recipe")
    return changed, decode(Numerics, tables["numerics"], "", "numerics")


def _check_settings(settings: Sequence[str]) -> None:
    """Raise InputError for a setting of a part that other options set or that is not used."""
    for setting in settings:
        key = setting.partition("=")[0].strip()
        part, _, field = key.partition(".")
        if part in ("model", "data", "grid"):
            message = "fine-tuning has options for its network and its photographs"
            fix = "--model, --split, --skip-bad, --nested or another option"
            allowed = "recipe.*, numerics.*"
            raise input_error("--set", message, fix, got=setting[:60], allowed=allowed)
        if part == "numerics" and field not in NUMERICS and field in _numerics_fields():
            message, fix = "not used in fine-tuning", "remove it"
            raise input_error("--set", message, fix, field=key, allowed=", ".join(NUMERICS))


def _numerics_fields() -> tuple[str, ...]:
    from resnetlab.recipes.numerics import Numerics

    return tuple(item.name for item in fields(Numerics))
