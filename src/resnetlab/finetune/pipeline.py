"""Fine-tuning pipeline: train the stages, select the best by validation, test it once, write the
model folder.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resnetlab.bundle.spec import Metric, ModelFile
from resnetlab.bundle.store import load_bundle, save_bundle
from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.augment import normalize
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform, ten_crops
from resnetlab.errors import Problem, ResnetlabError, input_error
from resnetlab.finetune.backbones import Backbone
from resnetlab.finetune.dataset import PhotoDataset, PhotoSplit
from resnetlab.finetune.model import FEATURE_BATCH_SIZE, FinetuneModel, SplitModel
from resnetlab.finetune.results import (
    AccuracyEstimate,
    Comparison,
    FinetuneResult,
    Misclassification,
    StageRecord,
)
from resnetlab.finetune.stage import EventCallback, StageResult, balanced_class_weights, fit
from resnetlab.finetune.stage_cache import StageCache, StageLockedError, stage_key
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.models.transfer import forward_in_eval_mode
from resnetlab.recipes.finetune import FinetuneRecipe, Stage
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.provenance import provenance_event
from resnetlab.schema import encode
from resnetlab.stats.exact import mcnemar
from resnetlab.stats.intervals import clopper_pearson
from resnetlab.training.device import setup_device
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.evaluate import evaluate

MAX_MISCLASSIFIED = 12
"""Number of mistakes in the record, the most confident first."""


class StoppedError(ResnetlabError):
    """Error of a fine-tuning that was stopped before it had any result."""

    exit_code = 130


@dataclass(frozen=True)
class FinetuneJob:
    """Fine-tuning job: everything that determines the result."""

    photos: PhotoDataset
    backbone: Backbone
    recipe: FinetuneRecipe
    seed: int
    numerics: Numerics
    """Resolved numerics, without `auto`."""
    device_index: int = 0
    """Index of the GPU, if one process does all the work."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network on a split: probabilities (N, K) and labels (N,)."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Return the most probable class of each image (N,)."""
        classes: NDArray[np.int64] = self.probabilities.argmax(1)
        return classes

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Return True for each image whose most probable class is its label (N,)."""
        correct: NDArray[np.bool_] = self.predicted == self.labels
        return correct


def run_stages(
    job: FinetuneJob,
    finetune_model: FinetuneModel,
    cache: StageCache,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    notify: Notify = silent,
    on_event: EventCallback = lambda _: None,
    adjust_stage: Callable[[Stage, dict[str, EvalTransform]], Stage] = lambda stage, _: stage,
) -> Iterator[tuple[StageResult, Predictions]]:
    """Train the stages one after another. Yields each finished stage with its predictions on
    validation.

    After each stage the network has the weights of its best epoch. Returns early if `stop()`
    becomes true before a stage or within its first epoch; a stage that is stopped later has `whole`
    = False.

    Args:
        job: Fine-tuning job.
        subject: Network to train.
        cache: Cache of finished stages.
        stop: Function that is asked between steps; training ends once it returns True.
        say: Function that gets a line about each stage.
        watch: Callback for each pause of the training loop.
        adjusted: Function that returns a stage with the number of epochs that the time limit
            allows.

    Raises:
        TakenError: Another process trains the stage, and the time to wait for it is over.
    """
    tuning, photos, team = job.recipe, job.photos, finetune_model.world
    views = {
        "train": finetune_model.eval_transform(tuning.train_size),
        "test": finetune_model.eval_transform(tuning.test_size, tuning.crop_mode),
    }
    weights = None
    if tuning.class_weights != "none":
        weights = balanced_class_weights(photos.train.labels, len(photos.classes)).to(
            finetune_model.device
        )
    basis = stage_key(finetune_model, photos.sha256, tuning.class_weights)
    for stage in tuning.resolved_stages:
        if team.all_reduce_any(should_stop()):
            return
        stage = adjust_stage(stage, views)
        count = stage.recipe.epochs
        epochs = f", {count} {'epoch' if count == 1 else 'epochs'} at most" if count else ""
        notify(f"{stage.name}: begins at {views[stage.size].size} pixels{epochs}")
        basis = basis.with_stage(stage, views[stage.size])
        fitting = partial(
            fit,
            finetune_model,
            stage,
            photos,
            views,
            job.seed,
            class_weights=weights,
            should_stop=should_stop,
            notify=notify,
            on_event=on_event,
        )
        fitted = cache.load_or_train(basis, finetune_model, fitting, should_stop)
        if not fitted.epochs and not fitted.complete:
            notify(
                f"{stage.name}: stopped after {fitted.seconds:.0f} s, within its first epoch: "
                "it changes nothing"
            )
            return
        halves = finetune_model.split_for_training("classifier", tuning.test_size)
        scores = predict_from_features(finetune_model, halves, photos.validation, views["test"])
        accuracy = 100 * float(scores.correct.mean())
        notify(
            f"{stage.name}: validation {accuracy:.1f} % at {tuning.test_size} pixels, "
            f"{fitted.seconds:.0f} s"
        )
        yield fitted, scores


def selection_key(estimate: AccuracyEstimate) -> tuple[float, float]:
    """Return the sort key of an estimate: a higher accuracy is better, then a lower loss."""
    return estimate.accuracy_pct, -estimate.loss_nats


def run_finetuning(
    job: FinetuneJob,
    folder: Path,
    cache: StageCache,
    *,
    budget_seconds: float | None = None,
    baseline: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    notify: Notify = silent,
    on_item: ItemCallback = silent,
    world: World = SINGLE_PROCESS,
) -> FinetuneResult:
    """Fine-tune the network, write the model to `folder`, and return the record.

    A usable model is written after the first stage and replaced if a later stage is better on
    validation. Each write replaces the folder atomically. The first stage always runs; a later one
    starts only within the time limit.

    Args:
        job: Fine-tuning job.
        folder: Folder of the model.
        cache: Cache of finished stages, which are not trained again.
        budget_seconds: Time limit.
        baseline: Folder of an earlier model to compare with on the test images.
        stop: Function that is asked between steps; training ends once it returns True.
        say: Function that gets a line about each stage.
        pulse: Callback for the progress of long steps.
        team: Processes that train together. The first one writes the files.

    Raises:
        InputError: The baseline is invalid, or the network does not accept the image size.
        ResourceError: The disk is full.
        StoppedError: Training was stopped before the first epoch.
    """
    start = time.monotonic()
    earlier = _evaluate_baseline(baseline, job.photos, on_item) if baseline else None
    device = setup_device(job.numerics, world.local_rank if world.size > 1 else job.device_index)
    spec, weights, classes = job.backbone.spec, job.backbone.weights, job.photos.classes
    subject = FinetuneModel(spec, weights, classes, job.seed, job.numerics, device, world, on_item)
    tuning, photos = job.recipe, job.photos
    view = subject.eval_transform(tuning.test_size, tuning.crop_mode)
    done: list[tuple[StageResult, AccuracyEstimate]] = []
    best: dict[str, torch.Tensor] = {}

    pace: dict[str, float] = {}
    """Estimated seconds of an epoch by stage name."""

    def ended() -> bool:
        return should_stop() or (
            bool(done) and budget_seconds is not None and time.monotonic() - start > budget_seconds
        )

    def adjusted(stage: Stage, views: dict[str, EvalTransform]) -> Stage:
        if not done:
            return stage
        stage, epoch_seconds = world.broadcast(
            _fit_to_budget(stage, subject, photos, views, budget_seconds, start)
        )
        if epoch_seconds:
            pace[stage.name] = epoch_seconds
            notify(f"{stage.name}: an epoch takes about {epoch_seconds:.0f} s here")
        return stage

    with contextlib.suppress(StageLockedError):  # stopped while another process trained the stage
        for fitted, predictions in run_stages(
            job, subject, cache, should_stop=ended, notify=notify, adjust_stage=adjusted
        ):
            look = accuracy_estimate(predictions)
            if not done or selection_key(look) > max(selection_key(other) for _, other in done):
                best = {
                    name: tensor.detach().clone()
                    for name, tensor in subject.model.state_dict().items()
                }
                if world.is_main_process:
                    save_model(
                        job,
                        subject,
                        view,
                        folder,
                        (accuracy_metric("validation", look, photos.name),),
                    )
                notify(f"usable from now on: {folder}")
            done.append((fitted, look))
    if not done:
        raise StoppedError(
            Problem(
                str(folder), "stopped before the first epoch; nothing was written", "start again"
            )
        )
    left_out = _left_out(
        tuning.resolved_stages[len(done) :], time.monotonic() - start, budget_seconds, pace
    )
    for line in left_out:
        notify(line)
    subject.model.load_state_dict(best)
    notify(f"scoring {len(photos.test):,} test images")
    scores = predict_photos(subject.model, photos.test, view, device, tuning.crops, on_item)
    record = _make_result(job, folder, done, scores, earlier, time.monotonic() - start)
    record = replace(record, caveats=(*record.caveats, *left_out))
    metrics = (
        accuracy_metric("validation", record.validation, photos.name),
        accuracy_metric("test", record.test, photos.name),
    )
    if world.is_main_process:
        save_model(job, subject, view, folder, metrics, left_out)
    return record


def _left_out(
    stages: Sequence[Stage], seconds: float, budget: float | None, epoch_seconds: dict[str, float]
) -> tuple[str, ...]:
    """Return a line with the reason for each stage that was left out."""
    reason = "it was told to stop"
    if budget is not None and seconds > budget:
        reason = f"the budget of {budget:.0f} s was over after {seconds:.0f} s"
    return tuple(
        f'stage "{stage.name}" was left out: {reason}'
        + (
            f"; an epoch of it takes about {epoch_seconds[stage.name]:.0f} s here"
            if stage.name in epoch_seconds
            else ""
        )
        for stage in stages
    )


def predict_photos(
    model: nn.Module,
    photo_split: PhotoSplit,
    transform: EvalTransform,
    device: torch.device,
    crops: int = 1,
    on_item: ItemCallback = silent,
) -> Predictions:
    """Predict every photograph of `part` in fp32, like `predict`.

    With 10 `crops`, average the probabilities.
    """
    mean, deviation = (
        torch.tensor(values, device=device) for values in (transform.mean, transform.std)
    )
    batches = []
    batch = (
        FEATURE_BATCH_SIZE if transform.crop_mode == "crop" else 1
    )  # whole photographs differ in shape
    with image_decoder.suppress_pillow_warnings():
        for begin in range(0, len(photo_split), batch):
            indices = range(begin, min(begin + batch, len(photo_split)))
            photos = [photo_split.load(index) for index in indices]
            views = [
                ten_crops(photo, transform)
                if crops == 10
                else apply_eval_transform(photo, transform)[None]
                for photo in photos
            ]
            pixels = np.concatenate(views)
            logits = forward_in_eval_mode(
                model, normalize(torch.from_numpy(pixels).to(device), mean, deviation)
            )
            probabilities = torch.softmax(logits.double(), 1).view(len(photos), crops, -1)
            batches.append(probabilities.mean(1).cpu().numpy())
            on_item("photographs scored", indices.stop, len(photo_split))
    return Predictions(np.concatenate(batches), photo_split.labels)


def compare(ours: Predictions, theirs: Predictions) -> Comparison:
    """Compare two networks on the same images with McNemar's exact test."""
    only_ours = int((ours.correct & ~theirs.correct).sum())
    only_theirs = int((theirs.correct & ~ours.correct).sum())
    return Comparison(
        baseline_accuracy_pct=100 * float(theirs.correct.mean()),
        only_this=only_ours,
        only_baseline=only_theirs,
        p=mcnemar(only_ours, only_theirs),
    )


def accuracy_estimate(predictions: Predictions) -> AccuracyEstimate:
    """Return accuracy, its exact (Clopper-Pearson) 95 % interval over the images, and the mean
    loss.
    """
    right, count = int(predictions.correct.sum()), len(predictions.labels)
    low, high = clopper_pearson(right, count)
    picked = predictions.probabilities[np.arange(count), predictions.labels]
    loss = float(-np.log(np.maximum(picked, 1e-300)).mean())
    return AccuracyEstimate(
        images=count,
        correct=right,
        accuracy_pct=100 * right / count,
        low_pct=100 * low,
        high_pct=100 * high,
        loss_nats=loss,
    )


def predict_from_features(
    finetune_model: FinetuneModel,
    split_model: SplitModel,
    photo_split: PhotoSplit,
    transform: EvalTransform,
) -> Predictions:
    """Predict a split with the present weights, from cached features of the frozen trunk if there
    are any.
    """
    inputs = finetune_model.features_or_pixels(split_model, photo_split, transform)

    def judge(rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = split_model.tail(rows)
        return logits

    scored = evaluate(
        finetune_model.model,
        finetune_model.make_forward(split_model, judge),
        inputs,
        finetune_model.world,
        batch_size=FEATURE_BATCH_SIZE,
    )
    return Predictions(torch.softmax(scored.logits.double(), 1).numpy(), photo_split.labels)


def _fit_to_budget(
    stage: Stage,
    finetune_model: FinetuneModel,
    photos: PhotoDataset,
    views: dict[str, EvalTransform],
    budget: float | None,
    start: float,
) -> tuple[Stage, float]:
    """Reduce the epochs of a stage to fit the time limit, so that its learning rate schedule is
    complete.

    Returns:
        The stage, and the estimated seconds of an epoch (0 if there is no estimate).
    """
    if budget is None or stage.recipe.epochs is None or stage.augment == "none":
        return stage, 0.0
    view, timer = views[stage.size], time.monotonic()
    sample = replace(
        photos.validation,
        rows=photos.validation.rows[:FEATURE_BATCH_SIZE],
        labels=photos.validation.labels[:FEATURE_BATCH_SIZE],
    )
    predict_photos(finetune_model.model, sample, view, finetune_model.device)
    passes = (
        1 if stage.trainable in ("classifier", "last norm") else 3
    )  # forward; forward and backward
    pace = (time.monotonic() - timer) / len(sample)
    epoch = pace * (passes * len(photos.train) + len(photos.validation))
    remaining = (
        budget - (time.monotonic() - start) - pace * (len(photos.test) + len(photos.validation))
    )
    epochs = max(1, min(stage.recipe.epochs, int(remaining / epoch)))
    return replace(stage, recipe=replace(stage.recipe, epochs=epochs)), epoch


def save_model(
    job: FinetuneJob,
    finetune_model: FinetuneModel,
    transform: EvalTransform,
    folder: Path,
    metrics: tuple[Metric, ...],
    left_out: tuple[str, ...] = (),
) -> None:
    """Write the network with its present weights as a model folder; `left_out` lists the stages
    left out.
    """
    line = provenance_event("finetune", 0, job.numerics, job.photos.sha256)
    file = ModelFile(
        name=folder.name,
        model=finetune_model.spec,
        classes=job.photos.classes,
        eval_transform=transform,
        license=job.backbone.license,
        caveats=(*caveats(job), *left_out),
        metrics=metrics,
        provenance={
            "recipe": encode(job.recipe),
            "seed": job.seed,
            "data": job.photos.name,
            **line,
        },
    )
    save_bundle(folder, finetune_model.model, file)


def caveats(job: FinetuneJob) -> tuple[str, ...]:
    """Return the caveats that a reader of the numbers must know."""
    lines = []
    if job.photos.pretraining_overlap:
        lines.append(job.photos.pretraining_overlap)
    return tuple(lines)


def accuracy_metric(split: str, estimate: AccuracyEstimate, data: str) -> Metric:
    """Convert an accuracy estimate to the form of model.json."""
    return Metric(
        name="top1_accuracy_pct",
        value=estimate.accuracy_pct,
        low=estimate.low_pct,
        high=estimate.high_pct,
        data=data,
        split=split,
        images=estimate.images,
    )


def _evaluate_baseline(
    folder: Path, photos: PhotoDataset, on_item: ItemCallback = silent
) -> tuple[str, Predictions]:
    """Evaluate an earlier model on the same test images.

    Raises InputError if it has other classes.
    """
    bundle = load_bundle(folder)
    if set(bundle.file.classes) != set(photos.classes):
        unknown = sorted(set(bundle.file.classes) ^ set(photos.classes))
        what = f"knows other classes than {photos.root}: {', '.join(unknown[:3])}"
        raise input_error(str(folder), what, "a model of these classes as --baseline")
    device = torch.device("cpu")
    scores = predict_photos(
        bundle.module, photos.test, bundle.file.eval_transform, device, on_item=on_item
    )
    order = [bundle.file.classes.index(name) for name in photos.classes]
    return folder.name, Predictions(scores.probabilities[:, order], photos.test.labels)


def _make_result(
    job: FinetuneJob,
    folder: Path,
    stage_results: list[tuple[StageResult, AccuracyEstimate]],
    predictions: Predictions,
    baseline: tuple[str, Predictions] | None,
    seconds: float,
) -> FinetuneResult:
    photos = job.photos
    best = max(range(len(stage_results)), key=lambda k: selection_key(stage_results[k][1]))
    stages = tuple(
        StageRecord(
            name=fitted.stage,
            lr=fitted.lr,
            trainable_parameters=fitted.trainable_parameters,
            epochs=len(fitted.epochs),
            best_epoch=fitted.best.epoch,
            validation=look,
            seconds=round(fitted.seconds, 1),
            diverged=fitted.diverged,
            selected=index == best,
        )
        for index, (fitted, look) in enumerate(stage_results)
    )
    confident = predictions.probabilities.max(1)
    wrong = sorted(
        np.flatnonzero(~predictions.correct), key=lambda index: (-confident[index], index)
    )
    worst = tuple(
        Misclassification(
            path=photos.test.rows[index].path,
            label=photos.classes[predictions.labels[index]],
            predicted=photos.classes[predictions.predicted[index]],
            probability=float(confident[index]),
        )
        for index in wrong[:MAX_MISCLASSIFIED]
    )
    comparison = (
        replace(compare(predictions, baseline[1]), baseline=baseline[0]) if baseline else None
    )
    return FinetuneResult(
        model=job.backbone.spec.slug,
        data=photos.name,
        classes=len(photos.classes),
        folder=folder.name,
        train_images=len(photos.train),
        stages=stages,
        validation=stage_results[best][1],
        test=accuracy_estimate(predictions),
        worst=worst,
        example=photos.test.rows[0].path,
        caveats=caveats(job),
        comparison=comparison,
        seconds=round(seconds, 1),
        train_size=job.recipe.train_size,
        test_size=job.recipe.test_size,
        seed=job.seed,
        recipe=job.recipe.name,
        chance_pct=100 * photos.chance_accuracy,
    )
