"""Fine-tuning pipeline: train the stages, select the best by validation, test it once, write the
model folder.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from resnetlab.data.class_names import class_order
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.errors import Problem, input_error
from resnetlab.files import remove_tree
from resnetlab.finetuning.confidence import split_outputs, write_model_confidence
from resnetlab.finetuning.dataset import PhotoDataset, PhotoSplit
from resnetlab.finetuning.earlier_model import EarlierModel
from resnetlab.finetuning.evaluation import (
    accuracy_estimate,
    accuracy_metric,
    predict_from_features,
    predict_photos,
)
from resnetlab.finetuning.job import FinetuneJob, save_model
from resnetlab.finetuning.make_result import find_confident_mistakes, make_result
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.photo_record import describe_overlap
from resnetlab.finetuning.results import AccuracyEstimate, FinetuneResult, StoppedError
from resnetlab.finetuning.stage.stage_cache import StageCache, StageLockedError, stage_key
from resnetlab.finetuning.stage.train_stage import (
    NO_CALLBACKS,
    StageCallbacks,
    StageResult,
    train_stage,
)
from resnetlab.finetuning.time_limit.stage_time_limit import (
    adjust_stage_to_limit,
    affordable_reference,
    record_unfinished,
    reserve_time,
)
from resnetlab.finetuning.time_limit.time_limit import TimeLimit
from resnetlab.messages import ItemCallback, Notify, format_count, silent
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.photo_predictions import SplitPredictions
from resnetlab.recipes.finetune import Stage
from resnetlab.training.distributed import SINGLE_PROCESS, World

AdjustStage = Callable[[Stage, dict[str, EvalTransform]], tuple[Stage | None, PhotoSplit]]
"""Function from a stage and the evaluation transforms by size to the stage to train, or None, and
the photographs to train it on."""


def run_stages(
    job: FinetuneJob,
    finetune_model: FinetuneModel,
    cache: StageCache,
    *,
    callbacks: StageCallbacks = NO_CALLBACKS,
    adjust_stage: AdjustStage | None = None,
) -> Iterator[tuple[StageResult, SplitPredictions]]:
    """Train the stages one after another. Yields each finished stage with its predictions on
    validation.

    After each stage the network has the weights of its best epoch. Returns early if
    `callbacks.should_stop()` becomes true before a stage or within its first epoch; a stage that is
    stopped later has `complete` = False.

    Args:
        job: Fine-tuning job.
        finetune_model: Network to train.
        cache: Cache of finished stages.
        callbacks: Functions that training calls.
        adjust_stage: Function that shortens a stage to the time limit or leaves train photographs
            out; without a stage, training ends before it. It is not called for a stage that is in
            the cache.

    Raises:
        StageLockedError: Another process trains the stage, and the time to wait for it is over.
    """
    recipe, photos, world = job.recipe, job.photos, finetune_model.world
    should_stop, notify = callbacks.should_stop, callbacks.notify
    transforms = {
        "train": finetune_model.eval_transform(recipe.train_size),
        "test": finetune_model.eval_transform(recipe.test_size, recipe.crop_mode),
    }
    weights = job.class_weights(finetune_model.device)
    key = stage_key(finetune_model, photos.sha256, recipe.class_weights, recipe.sampler)
    train = partial(train_stage, finetune_model, sampler=recipe.sampler, callbacks=callbacks)
    for planned in recipe.resolved_stages:
        if world.any_rank(should_stop()):
            return
        stage: Stage | None = planned
        train_photos = photos.train
        planned_key = key.with_stage(planned, transforms[planned.size])
        if adjust_stage and not world.broadcast(cache.contains(planned_key)):
            stage, train_photos = adjust_stage(planned, transforms)
        if stage is None:
            return
        count = stage.recipe.epochs
        epochs = f", {format_count(count, 'epoch')} at most" if count else ""
        notify(f"{stage.name}: begins at {transforms[stage.size].size} pixels{epochs}")
        reduced_to = len(train_photos) if len(train_photos) < len(photos.train) else 0
        key = key.with_stage(stage, transforms[stage.size], reduced_to)
        stage_photos = replace(photos, train=train_photos)
        compute = partial(train, stage, stage_photos, transforms, job.seed, class_weights=weights)
        result = cache.load_or_train(key, finetune_model, compute, should_stop)
        if not result.epochs and not result.complete:
            notify(
                f"{stage.name}: stopped after {result.seconds:.0f} s, within its first epoch; "
                "the weights did not change"
            )
            return
        predictions = _predict_validation(job, finetune_model, transforms["test"])
        accuracy = f"{100 * float(predictions.correct.mean()):.1f} % at {recipe.test_size} pixels"
        notify(f"{stage.name}: validation {accuracy}, {result.seconds:.0f} s")
        yield result, predictions


def _predict_validation(
    job: FinetuneJob, finetune_model: FinetuneModel, transform: EvalTransform
) -> SplitPredictions:
    """Predict the validation images at the test size, from cached features if there are any."""
    partitioned = finetune_model.partition_for_training("classifier", job.recipe.test_size)
    return predict_from_features(finetune_model, partitioned, job.photos.validation, transform)


def run_finetuning(
    job: FinetuneJob,
    folder: Path,
    cache: StageCache,
    *,
    limit: TimeLimit | None = None,
    baseline: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    notify: Notify = silent,
    on_item: ItemCallback = silent,
    world: World = SINGLE_PROCESS,
    finetune_model: FinetuneModel | None = None,
    earlier_model: EarlierModel | None = None,
) -> tuple[FinetuneResult, SplitPredictions]:
    """Fine-tune the network, write the model to `folder`, and return the record.

    A usable model is written after the first stage and replaced if a later stage is better on
    validation. Each write replaces the folder atomically. The first stage always gets one epoch or
    learning rate; a later one begins only if an epoch of it fits into the time limit.

    Args:
        job: Fine-tuning job.
        folder: Folder of the model.
        cache: Cache of finished stages, which are not trained again.
        limit: Time limit.
        baseline: Folder of an earlier model to compare with on the test images.
        should_stop: Function that is called between steps; training ends once it returns True.
        notify: Function that gets a line about each stage.
        on_item: Callback for the progress of long steps.
        world: Processes that train together. The first one writes the files.
        finetune_model: Network of the job before its first stage, if there is one already.
        earlier_model: Model in `folder`. The new one is written to `earlier_model.other_folder`
            until it is complete, and stays there if the earlier one is kept.

    Returns:
        The record with the name of the model's folder, and the predictions on the test images
        (without a test split, on validation).

    Raises:
        InputError: The baseline is invalid, or the network does not accept the image size.
        ResourceError: The disk is full.
        StoppedError: Training was stopped before the first epoch.
    """
    limit = limit or TimeLimit(None, time.monotonic())
    earlier = _evaluate_baseline(baseline, job.photos, on_item) if baseline else None
    overlap = describe_overlap(baseline, job.photos, cache.folder.parent) if baseline else ""
    finetune_model = finetune_model or job.setup_model(world, on_item, cache.features_folder)
    for line in finetune_model.assumptions:
        notify(f"note: {line}")
    recipe, photos = job.recipe, job.photos
    transform = finetune_model.eval_transform(recipe.test_size, recipe.crop_mode)
    reserve_time(limit, job, finetune_model, transform, notify)
    other = earlier_model.other_folder if earlier_model else folder
    stages = _train_and_save(
        job, finetune_model, transform, other, cache, limit, should_stop, notify
    )
    left_out = (
        *_left_out_lines(recipe.resolved_stages[len(stages) :], limit),
        *_diverged_lines([result for result, _ in stages]),
    )
    for line in left_out:
        notify(line)
    kind = "test" if photos.has_test else "validation"
    notify(f"evaluating {format_count(len(photos.test), f'{kind} image')}")
    predictions = _predict_test(job, finetune_model, transform, on_item)
    caveats = (*job.caveats, *finetune_model.assumptions, *left_out)
    caveats = (*caveats, overlap) if overlap else caveats
    result = make_result(job, folder, stages, predictions, earlier, limit, caveats)
    if earlier_model and earlier_model.must_stay(result):
        notify(earlier_model.note(result))
        folder, result = other, replace(result, folder=other.name)
    if not world.is_main_process:
        return result, predictions
    metrics = [accuracy_metric("validation", result.validation, photos.name)]
    if photos.has_test:
        metrics.append(accuracy_metric("test", result.test, photos.name))
    save_model(job, finetune_model, transform, folder, tuple(metrics), left_out)
    reference, note = affordable_reference(job, finetune_model, transform, limit)
    if note:
        notify(note)
    confidence = write_model_confidence(
        photos, finetune_model, transform, folder, notify, on_item, reference
    )
    printed = predictions  # probabilities as `predict` prints them
    if confidence is not None:
        calibrated = confidence.calibrate(predictions.probabilities)
        printed = replace(predictions, probabilities=calibrated)
    if other != folder:
        remove_tree(other)
    worst = find_confident_mistakes(photos, printed)
    caveats = (*caveats, note) if note else caveats
    return replace(result, caveats=caveats, worst=worst), predictions


def _predict_test(
    job: FinetuneJob,
    finetune_model: FinetuneModel,
    transform: EvalTransform,
    on_item: ItemCallback,
) -> SplitPredictions:
    """Predict the test images in fp32, by the cache of features where each has one crop."""
    photos, recipe = job.photos, job.recipe
    if recipe.crops == 1:
        outputs = split_outputs(photos.test, finetune_model, transform, on_item)
        return SplitPredictions(outputs.probabilities, photos.test.labels)
    return predict_photos(
        finetune_model.model,
        photos.test,
        transform,
        finetune_model.device,
        recipe.crops,
        on_item,
        where=job.backbone.config.slug,
    )


def _left_out_lines(stages: Sequence[Stage], limit: TimeLimit) -> tuple[str, ...]:
    """Return a line for each stage that the time limit changed or that was not trained at all."""
    by_limit = {cut.stage for cut in limit.cuts}
    others = [stage.name for stage in stages if stage.name not in by_limit]
    return (
        *map(str, limit.cuts),
        *(f'stage "{name}" was left out: fine-tuning was stopped' for name in others),
    )


def _diverged_lines(results: Sequence[StageResult]) -> list[str]:
    """Return a line for each stage that diverged after some epochs, whose best one is kept."""
    return [
        f'stage "{result.stage}" diverged: its loss is not finite after epoch '
        f"{result.epochs[-1].epoch}; the weights of its epoch {result.best.epoch} are kept"
        for result in results
        if result.diverged and result.epochs
    ]


def _train_and_save(
    job: FinetuneJob,
    finetune_model: FinetuneModel,
    transform: EvalTransform,
    folder: Path,
    cache: StageCache,
    limit: TimeLimit,
    should_stop: Callable[[], bool],
    notify: Notify,
) -> list[tuple[StageResult, AccuracyEstimate]]:
    """Train the stages, write each model that is the best so far, and load the best one.

    Returns:
        The results of the stages, each with its accuracy on validation.

    Raises:
        StoppedError: No stage has a result.
    """
    world, stages = finetune_model.world, list[tuple[StageResult, AccuracyEstimate]]()
    best: dict[str, torch.Tensor] = {}

    def should_end() -> bool:
        return should_stop() or (bool(stages) and limit.is_over)

    def adjust_stage(
        stage: Stage, transforms: dict[str, EvalTransform]
    ) -> tuple[Stage | None, PhotoSplit]:
        return adjust_stage_to_limit(job, finetune_model, stage, transforms, limit, notify)

    with contextlib.suppress(StageLockedError):  # stopped while another process trained the stage
        for result, predictions in run_stages(
            job,
            finetune_model,
            cache,
            callbacks=StageCallbacks(should_end, lambda: limit.is_over, notify),
            adjust_stage=adjust_stage,
        ):
            estimate = accuracy_estimate(predictions)
            if not stages or estimate.selection_key > max(e.selection_key for _, e in stages):
                best = finetune_model.clone_state()
                if world.is_main_process:
                    metric = accuracy_metric("validation", estimate, job.photos.name)
                    save_model(job, finetune_model, transform, folder, (metric,))
                notify(f"usable from now on: {folder}")
            stages.append((result, estimate))
            if result.complete:
                limit.stage = None
    if not should_stop():
        record_unfinished(limit, job.recipe.resolved_stages, [result for result, _ in stages])
    if not stages:
        problem = "stopped before the first epoch; nothing was written"
        raise StoppedError(Problem(str(folder), problem, "start again"))
    finetune_model.model.load_state_dict(best)
    return stages


def _evaluate_baseline(
    folder: Path, photos: PhotoDataset, on_item: ItemCallback = silent
) -> tuple[str, SplitPredictions]:
    """Evaluate an earlier model on the same test images.

    Raises InputError if it has other classes.
    """
    loaded_model = load_model_folder(folder)
    order = class_order(loaded_model.file.classes, photos.classes)
    if order is None:
        unknown = sorted(set(loaded_model.file.classes) ^ set(photos.classes))
        message = f"has other classes than {photos.root}: {', '.join(unknown[:3])}"
        raise input_error(str(folder), message, "give a model of the same classes to --baseline")
    device = torch.device("cpu")  # the GPU keeps its memory for the training
    predictions = predict_photos(
        loaded_model.module,
        photos.test,
        loaded_model.file.eval_transform,
        device,
        on_item=on_item,
        where=str(folder),
    )
    return folder.name, SplitPredictions(predictions.probabilities[:, order], photos.test.labels)
