"""Facts of a report about fine-tuning: its protocol and the licenses of the weights.

Free of torch.
"""

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

_TRAINABLE = {
    "classifier": "the classifier learns",
    "last norm": "the classifier and the last batch norm learn",
    "all": "all layers learn",
}
_AUGMENTATION = {
    "none": "on photographs as in evaluation",
    "standard": "on random crops, mirrored and recolored (RandomResizedCrop, flip, ColorJitter .3)",
    "test-like": "on crops as in evaluation but shifted at random, mirrored and recoloured (flip, "
    "ColorJitter .05)",
}


def any_tuned(analysis: StudyAnalysis) -> bool:
    """Return whether the study has a recipe of fine-tuning."""
    return any(isinstance(condition.recipe, Tuning) for condition in analysis.study.conditions)


def facts(analysis: StudyAnalysis) -> tuple[Fact, ...]:
    """Return the protocol of each fine-tuning recipe and the license of each network's weights."""
    tuned = [c for c in analysis.study.conditions if isinstance(c.recipe, Tuning)]
    protocols: dict[str, list[str]] = {}
    licenses: dict[str, list[str]] = {}
    for condition in tuned:
        assert isinstance(condition.recipe, Tuning), condition.recipe
        protocols.setdefault(protocol(condition.recipe), []).append(condition.label)
        license_ = licence_of(condition.model)
        restriction = ", which rules out commercial use" if license_.non_commercial else ""
        licenses.setdefault(f"{license_}{restriction}", []).append(condition.label)
    groups = [("Fine-tuning", protocols), ("Licence of the weights", licenses)]
    return tuple(
        Fact(term + (f" ({listed(labels)})" if len(labels_by_text) > 1 else ""), text)
        for term, labels_by_text in groups
        for text, labels in labels_by_text.items()
    )


def settings(condition: Condition) -> dict[str, dict[str, Any]]:
    """Return the data and recipe of a fine-tuning condition as tables, without the fields that it
    does not use.
    """
    if not isinstance(condition.recipe, Tuning):
        return {}
    stages = {
        stage.name: without_defaults(stage) | {"name": None} for stage in condition.recipe.stages
    }
    recipe = encode(condition.recipe) | {"about": None, "stages": stages}
    data = {name: getattr(condition.data, name) for name in ("source", "split", "skip_bad")}
    return {"recipe": recipe, "data": data}


def protocol(tuning: Tuning) -> str:
    """Describe the protocol of a recipe of fine-tuning in sentences."""
    sentences = [_stage(stage) for stage in tuning.due]
    view = (
        "whole"
        if tuning.view == "whole"
        else "by the shorter side at int(256/224 x test size) and the centre crop"
    )
    if tuning.crops > 1:
        view += f"; the test photographs by the mean probabilities of {tuning.crops} crops"
    balance = " Each class weighs alike in the loss." if tuning.class_weights == "balanced" else ""
    return f"{' '.join(sentences)}{balance} Evaluation shows photographs {view}."


def _stage(stage: Stage) -> str:
    recipe, optimizer = stage.recipe, stage.recipe.optimiser
    trainable = _TRAINABLE.get(str(stage.trains), f"all but the first {stage.trains} parts learn")
    rates = [f"{rate:g}" for rate in stage.rates or (optimizer.lr,)]
    rate = f"at {rates[0]}" if len(rates) == 1 else f"at the best of {', '.join(rates)}"
    length = plural(recipe.epochs, "epoch") if recipe.epochs else plural(recipe.steps or 0, "step")
    scaled = ", JPEGs decoded no further than a crop needs" if stage.decode == "scaled" else ""
    until = (
        f", ended after {plural(stage.patience, 'epoch')} without a lower validation loss"
        if stage.patience
        else ""
    )
    prefix = "at most " if stage.patience else ""
    method = (
        f"by {optimizer.name} {rate} ({recipe.schedule.name}), in batches of {recipe.batch_size}"
    )
    return (
        f"{stage.name.capitalize()}: {trainable} at the {stage.size} size, "
        f"{_AUGMENTATION[stage.augment]}{scaled}, "
        f"{method}, for {prefix}{length}{until}."
    )
