"""Details of a report about fine-tuning: its protocol and the licenses of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnetlab.recipes.finetune import FinetuneRecipe, Stage
from resnetlab.reports.document import Detail
from resnetlab.reports.format import join_words
from resnetlab.runs.kinds import is_fine_tuning
from resnetlab.schema import encode, without_defaults
from resnetlab.translation import deferred, tr, tr_count

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis
    from resnetlab.studies.study import Condition

_TRAINABLE = {
    "classifier": deferred("the classifier learns"),
    "last norm": deferred("the classifier and the last batch norm learn"),
    "all": deferred("all layers learn"),
}
_AUGMENTATION = {
    "none": deferred("on photographs as in evaluation"),
    "standard": deferred(
        "on random crops, mirrored and recolored (RandomResizedCrop, flip, ColorJitter .3)"
    ),
    "trivial": deferred(
        "on random crops, mirrored and changed by one operation (RandomResizedCrop, flip, "
        "TrivialAugment)"
    ),
    "test-like": deferred(
        "on crops as in evaluation but shifted at random, mirrored and recolored (flip, "
        "ColorJitter .05)"
    ),
}


def has_finetuning(analysis: StudyAnalysis) -> bool:
    """Return True if the study has a recipe of fine-tuning."""
    return any(condition.kind.has_stages for condition in analysis.study.conditions)


def finetuning_details(analysis: StudyAnalysis) -> tuple[Detail, ...]:
    """Return the protocol of each fine-tuning recipe and the license of each network's weights."""
    from resnetlab.model_folder.licenses import find_license

    protocols: dict[str, list[str]] = {}
    licenses: dict[str, list[str]] = {}
    for condition in analysis.study.conditions:
        if not is_fine_tuning(condition.recipe):
            continue
        protocols.setdefault(describe_protocol(condition.recipe), []).append(condition.label)
        license_ = find_license(condition.model)
        restriction = tr(", which rules out commercial use") if license_.non_commercial else ""
        licenses.setdefault(f"{license_}{restriction}", []).append(condition.label)
    groups = [(tr("Fine-tuning"), protocols), (tr("License of the weights"), licenses)]
    return tuple(
        Detail(term + (f" ({join_words(labels)})" if len(labels_by_text) > 1 else ""), text)
        for term, labels_by_text in groups
        for text, labels in labels_by_text.items()
    )


def settings(condition: Condition) -> dict[str, dict[str, Any]]:
    """Return the data and recipe of a fine-tuning condition as tables, without unused fields."""
    recipe = condition.recipe
    if not is_fine_tuning(recipe):
        return {}
    stages = {stage.name: without_defaults(stage) | {"name": None} for stage in recipe.stages}
    table = encode(recipe) | {"about": None, "stages": stages}
    data = {name: getattr(condition.data, name) for name in ("source", "split", "skip_bad")}
    return {"recipe": table, "data": data}


def describe_protocol(recipe: FinetuneRecipe) -> str:
    """Describe the protocol of a recipe of fine-tuning in sentences."""
    sentences = [_describe_stage(stage) for stage in recipe.resolved_stages]
    view = tr("by the shorter side at int(256/224 x test size) and the center crop")
    if recipe.crop_mode == "whole":
        view = tr("whole")
    if recipe.crops > 1:
        view += tr(
            "; the test photographs by the mean probabilities of {crops} crops", crops=recipe.crops
        )
    balance = {
        "none": "",
        "class weights": " " + tr("Each class weighs alike in the loss."),
        "balanced sampler": " "
        + tr("Train photographs are drawn so that each class is equally likely."),
    }[recipe.balance]
    return tr(
        "{stages}{balance} Evaluation shows photographs {view}.",
        stages=" ".join(sentences),
        balance=balance,
        view=view,
    )


def _describe_stage(stage: Stage) -> str:
    recipe, optimizer = stage.recipe, stage.recipe.optimizer
    trainable = tr("all but the first {trainable} parts learn", trainable=stage.trainable)
    if stage.trainable in _TRAINABLE:
        trainable = tr(_TRAINABLE[stage.trainable])
    rates = [tr("{rate:g}", rate=rate) for rate in stage.lrs or (optimizer.lr,)]
    rate = (
        tr("at {rate}", rate=rates[0])
        if len(rates) == 1
        else tr("at the best of {rates}", rates=", ".join(rates))
    )
    length = (
        tr_count(recipe.epochs, "epoch") if recipe.epochs else tr_count(recipe.steps or 0, "step")
    )
    frozen = tr(", the frozen layers in training mode") if stage.frozen_mode == "train" else ""
    scaled = tr(", JPEGs decoded no further than a crop needs") if stage.decode == "scaled" else ""
    changes = [
        tr("mixup {mixup:g}", mixup=stage.mixup) if stage.mixup else "",
        tr("CutMix {cutmix:g}", cutmix=stage.cutmix) if stage.cutmix else "",
        tr("a rectangle erased in {share:g} %", share=100 * stage.random_erasing)
        if stage.random_erasing
        else "",
    ]
    mixed = "".join(f", {change}" for change in changes if change)
    until = ""
    if stage.patience:
        until = tr(
            ", ended after {epochs} without a lower validation loss",
            epochs=tr_count(stage.patience, "epoch"),
        )
    prefix = tr("at most ") if stage.patience else ""
    method = tr(
        "by {name} {rate} ({schedule}), in batches of {batch_size}",
        name=optimizer.name,
        rate=rate,
        schedule=recipe.schedule.name,
        batch_size=recipe.batch_size,
    )
    return tr(
        "{stage}: {trainable} at the {size} size, {augmentation}{mixed}{frozen}{scaled}, "
        "{method}, for {prefix}{length}{until}.",
        stage=stage.name.capitalize(),
        trainable=trainable,
        size=stage.size,
        augmentation=tr(_AUGMENTATION[stage.augment]),
        mixed=mixed,
        frozen=frozen,
        scaled=scaled,
        method=method,
        prefix=prefix,
        length=length,
        until=until,
    )
