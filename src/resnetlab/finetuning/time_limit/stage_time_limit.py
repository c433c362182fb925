"""Adjustment of the stages of a fine-tuning to its time limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.finetuning.confidence import describe_too_few, least_reference, select_reference
from resnetlab.finetuning.dataset import PhotoDataset, PhotoSplit
from resnetlab.finetuning.job import FinetuneJob
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.stage.train_stage import StageResult
from resnetlab.finetuning.time_limit.time_limit import (
    PAGE_IMAGES,
    TimeLimit,
    fit_to_limit,
    time_prediction,
)
from resnetlab.finetuning.time_limit.time_step import time_step
from resnetlab.messages import Notify, format_duration, format_estimate
from resnetlab.recipes.finetune import Stage

RESERVED_SHARE = 0.4
"""Share of the time limit above which only the fewest train photographs are reserved time for."""


def reserve_time(
    limit: TimeLimit,
    job: FinetuneJob,
    finetune_model: FinetuneModel,
    transform: EvalTransform,
    notify: Notify,
) -> None:
    """Measure and reserve the time of what follows training, if there is a time limit."""
    if limit.seconds is None:
        return
    photos = job.photos
    seconds = time_prediction(finetune_model, photos.validation, transform)
    seconds = finetune_model.world.broadcast(seconds)
    evaluated = job.recipe.crops * len(photos.test) + len(photos.validation)
    page_images = min(PAGE_IMAGES, len(photos.test))
    for reference in _reference_choices(photos):
        limit.reserve(seconds, evaluated + len(reference), page_images)
        if limit.reserved_seconds <= RESERVED_SHARE * limit.seconds:
            break
    notify(
        f"time limit {format_duration(limit.seconds)}: {format_duration(limit.elapsed)} are over, "
        f"and about {format_estimate(limit.reserved_seconds)} are for the evaluation at the end"
    )


def affordable_reference(
    job: FinetuneJob, finetune_model: FinetuneModel, transform: EvalTransform, limit: TimeLimit
) -> tuple[PhotoSplit, str]:
    """Return the train photographs whose features the model stores for its novelty, and a sentence
    if the time limit leaves some of them out.
    """
    full, least = _reference_choices(job.photos)
    partitioned = finetune_model.partition_for_training("classifier", transform.size)
    missing = finetune_model.count_missing(partitioned, full, transform, fp32=True)
    if limit.image_seconds * missing <= max(limit.seconds_before_page, 0):
        return full, ""
    note = (
        f"the time limit reduced the train photographs for the novelty to {len(least):,} of "
        f"{len(full):,}"
    )
    return least, note if len(least) < len(full) else ""


def _reference_choices(photos: PhotoDataset) -> tuple[PhotoSplit, PhotoSplit]:
    """Return the train photographs to store for the novelty, and the fewest; none if there are
    too few validation photographs.
    """
    if describe_too_few(len(photos.validation)):
        none = photos.train.take_evenly(np.zeros(len(photos.classes), np.int64))
        return none, none
    return select_reference(photos), least_reference(photos)


def record_unfinished(
    limit: TimeLimit, planned: Sequence[Stage], results: Sequence[StageResult]
) -> None:
    """Record the stage that the time limit stopped, and those that it left no time for."""
    if limit.stage is not None:
        epochs = {result.stage: len(result.epochs) for result in results}
        limit.record_cut(limit.stage, "stopped", epochs.get(limit.stage.name, 0))
    recorded = {cut.stage for cut in limit.cuts}
    for stage in planned[len(results) :]:
        if stage.name not in recorded:
            limit.record_cut(stage, "left out")


def adjust_stage_to_limit(
    job: FinetuneJob,
    finetune_model: FinetuneModel,
    stage: Stage,
    transforms: dict[str, EvalTransform],
    limit: TimeLimit,
    notify: Notify,
) -> tuple[Stage | None, PhotoSplit]:
    """Return the stage with the epochs that fit into the time limit, or None if not one does, and
    the train photographs whose features fit.
    """
    photos, transform = job.photos, transforms[stage.size]
    is_first = stage.name == job.recipe.stages[0].name

    def measure(affordable_seconds: float) -> float:
        weights = job.class_weights(finetune_model.device)
        return time_step(
            finetune_model,
            stage,
            photos,
            transform,
            job.seed,
            weights,
            affordable_seconds,
            job.recipe.sampler,
        )

    adjusted, epoch_seconds = fit_to_limit(
        stage,
        limit,
        len(photos.train),
        len(photos.validation),
        measure,
        is_first=is_first,
        world=finetune_model.world,
    )
    if epoch_seconds:
        limit.epoch_seconds[stage.name] = epoch_seconds
        notify(f"{stage.name}: an epoch takes about {format_estimate(epoch_seconds)} here")
    if adjusted is None:
        limit.record_cut(stage, "left out")
        return None, photos.train
    limit.stage = stage
    planned, epochs = stage.recipe.epochs or 0, adjusted.recipe.epochs or 0
    if epochs < planned:
        limit.record_cut(stage, "shortened", epochs)
        notify(f"{stage.name}: {epochs} of {planned} epochs fit into the time limit")
    if not (is_first and limit.seconds is not None and stage.augment == "none"):
        return adjusted, photos.train
    return adjusted, _reduce_photographs(job, finetune_model, stage, transform, limit, notify)


def _reduce_photographs(
    job: FinetuneJob,
    finetune_model: FinetuneModel,
    stage: Stage,
    transform: EvalTransform,
    limit: TimeLimit,
    notify: Notify,
) -> PhotoSplit:
    """Return the train photographs whose features can be computed in the time that is left."""
    train, validation = job.photos.train, job.photos.validation
    partitioned = finetune_model.partition_for_training(stage.trainable, transform.size)
    missing, missing_validation = (
        finetune_model.count_missing(partitioned, part, transform) for part in (train, validation)
    )
    counts = limit.affordable_photographs(train.labels, missing, missing_validation)
    counts = finetune_model.world.broadcast(counts)
    if counts is None:
        return train
    reduced = train.take_evenly(counts)
    limit.record_cut(stage, "fewer photographs", photographs=(len(reduced), len(train)))
    notify(
        f"{stage.name}: the features of {len(reduced):,} of {len(train):,} train photographs fit "
        "into the time limit"
    )
    return reduced
