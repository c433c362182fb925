"""What a report says of fine-tuning: how it was done, and from whose weights. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnetlab.bundle.licences import licence_of
from resnetlab.recipes.finetune import Stage, Tuning
from resnetlab.reports.document import Fact
from resnetlab.reports.format import listed, plural
from resnetlab.schema import encode, without_defaults

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis
    from resnetlab.studies.study import Condition

_LEARNS = {
    "classifier": "the classifier learns",
    "last norm": "the classifier and the last batch norm learn",
    "all": "all layers learn",
}
_SHOWN = {
    "none": "on photographs as in evaluation",
    "standard": "on random crops, mirrored and recoloured (RandomResizedCrop, flip, ColorJitter .3)",
    "test-like": "on crops as in evaluation but shifted at random, mirrored and recoloured (flip, ColorJitter .05)",
}


def any_tuned(judged: StudyAnalysis) -> bool:
    """Whether a recipe of the study is of fine-tuning."""
    return any(isinstance(condition.recipe, Tuning) for condition in judged.study.conditions)


def facts(judged: StudyAnalysis) -> tuple[Fact, ...]:
    """The protocol of each recipe of fine-tuning, and the licence of each network's weights."""
    tuned = [c for c in judged.study.conditions if isinstance(c.recipe, Tuning)]
    ways: dict[str, list[str]] = {}
    licences: dict[str, list[str]] = {}
    for condition in tuned:
        assert isinstance(condition.recipe, Tuning), condition.recipe
        ways.setdefault(protocol(condition.recipe), []).append(condition.label)
        held = licence_of(condition.model)
        barred = ", which rules out commercial use" if held.non_commercial else ""
        licences.setdefault(f"{held}{barred}", []).append(condition.label)
    told = [("Fine-tuning", ways), ("Licence of the weights", licences)]
    return tuple(
        Fact(term + (f" ({listed(labels)})" if len(held) > 1 else ""), said)
        for term, held in told
        for said, labels in held.items()
    )


def settings(condition: Condition) -> dict[str, dict[str, Any]]:
    """The data and the recipe of a condition that is fine-tuning as tables, without what has no place in it."""
    if not isinstance(condition.recipe, Tuning):
        return {}
    stages = {stage.name: without_defaults(stage) | {"name": None} for stage in condition.recipe.stages}
    recipe = encode(condition.recipe) | {"about": None, "stages": stages}
    data = {name: getattr(condition.data, name) for name in ("source", "split", "skip_bad")}
    return {"recipe": recipe, "data": data}


def protocol(tuning: Tuning) -> str:
    """How a recipe fits a network, in sentences."""
    said = [_stage(stage) for stage in tuning.due]
    shown = "whole" if tuning.view == "whole" else "by the shorter side at int(256/224 x test size) and the centre crop"
    if tuning.crops > 1:
        shown += f"; the test photographs by the mean probabilities of {tuning.crops} crops"
    balance = " Each class weighs alike in the loss." if tuning.class_weights == "balanced" else ""
    return f"{' '.join(said)}{balance} Evaluation shows photographs {shown}."


def _stage(stage: Stage) -> str:
    recipe, optimiser = stage.recipe, stage.recipe.optimiser
    learns = _LEARNS.get(str(stage.trains), f"all but the first {stage.trains} parts learn")
    rates = [f"{rate:g}" for rate in stage.rates or (optimiser.lr,)]
    rate = f"at {rates[0]}" if len(rates) == 1 else f"at the best of {', '.join(rates)}"
    most = plural(recipe.epochs, "epoch") if recipe.epochs else plural(recipe.steps or 0, "step")
    scaled = ", JPEGs decoded no further than a crop needs" if stage.decode == "scaled" else ""
    until = f", ended after {plural(stage.patience, 'epoch')} without a lower validation loss" if stage.patience else ""
    at_most = "at most " if stage.patience else ""
    how = f"by {optimiser.name} {rate} ({recipe.schedule.name}), in batches of {recipe.batch_size}"
    return (
        f"{stage.name.capitalize()}: {learns} at the {stage.size} size, {_SHOWN[stage.augment]}{scaled}, {how}, for "
        f"{at_most}{most}{until}."
    )
