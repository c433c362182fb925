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
from resnetlab.data.transforms.augment import normalise
from resnetlab.data.transforms.eval_transform import View, show, ten_crops
from resnetlab.errors import Problem, ResnetlabError, mistake
from resnetlab.finetune.backbones import Backbone
from resnetlab.finetune.dataset import Part, Photographs
from resnetlab.finetune.model import BATCH, Halves, Subject
from resnetlab.finetune.progress import Pulse, silent
from resnetlab.finetune.results import Comparison, Look, Mistake, Record, StageRecord
from resnetlab.finetune.stage import Fitted, Watch, balanced, fit
from resnetlab.finetune.stage_cache import Kept, TakenError, basis_of
from resnetlab.models.transfer import run
from resnetlab.recipes.finetune import Stage, Tuning
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.provenance import provenance
from resnetlab.schema import encode
from resnetlab.stats.exact import mcnemar
from resnetlab.stats.intervals import clopper_pearson
from resnetlab.training.device import prepare
from resnetlab.training.distributed import ALONE, Team
from resnetlab.training.evaluate import evaluate

Say = Callable[[str], None]
WORST = 12
"""Number of mistakes in the record, the most confident first."""


class StoppedError(ResnetlabError):
    """Error of a fine-tuning that was stopped before it had any result."""

    exit_code = 130


@dataclass(frozen=True)
class Job:
    """Fine-tuning job: everything that determines the result."""

    photos: Photographs
    backbone: Backbone
    tuning: Tuning
    seed: int
    numerics: Numerics
    """Resolved numerics, without `auto`."""
    device_index: int = 0
    """Index of the GPU, if one process does all the work."""


@dataclass(frozen=True)
class Scores:
    """Predictions of a network on a split: probabilities (N, K) and labels (N,)."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def said(self) -> NDArray[np.int64]:
        """Return the most probable class of each image (N,)."""
        classes: NDArray[np.int64] = self.probabilities.argmax(1)
        return classes

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return True for each image whose most probable class is its label (N,)."""
        correct: NDArray[np.bool_] = self.said == self.labels
        return correct


def staged(
    job: Job,
    subject: Subject,
    cache: Kept,
    *,
    stop: Callable[[], bool] = lambda: False,
    say: Say = lambda _: None,
    watch: Watch = lambda _: None,
    adjusted: Callable[[Stage, dict[str, View]], Stage] = lambda stage, _: stage,
) -> Iterator[tuple[Fitted, Scores]]:
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
    tuning, photos, team = job.tuning, job.photos, subject.team
    views = {
        "train": subject.view(tuning.train_size),
        "test": subject.view(tuning.test_size, tuning.view),
    }
    weights = None
    if tuning.class_weights != "none":
        weights = balanced(photos.train.labels, len(photos.classes)).to(subject.device)
    basis = basis_of(subject, photos.sha256, tuning.class_weights)
    for stage in tuning.due:
        if team.agreed(stop()):
            return
        stage = adjusted(stage, views)
        count = stage.recipe.epochs
        epochs = f", {count} {'epoch' if count == 1 else 'epochs'} at most" if count else ""
        say(f"{stage.name}: begins at {views[stage.size].size} pixels{epochs}")
        basis = basis.then(stage, views[stage.size])
        fitting = partial(
            fit,
            subject,
            stage,
            photos,
            views,
            job.seed,
            weights=weights,
            stop=stop,
            say=say,
            watch=watch,
        )
        fitted = cache.stage(basis, subject, fitting, stop)
        if not fitted.epochs and not fitted.whole:
            say(
                f"{stage.name}: stopped after {fitted.seconds:.0f} s, within its first epoch: "
                "it changes nothing"
            )
            return
        halves = subject.halves("classifier", tuning.test_size)
        scores = scores_of(subject, halves, photos.validation, views["test"])
        accuracy = 100 * float(scores.right.mean())
        say(
            f"{stage.name}: validation {accuracy:.1f} % at {tuning.test_size} pixels, "
            f"{fitted.seconds:.0f} s"
        )
        yield fitted, scores


def merit(look: Look) -> tuple[float, float]:
    """Return the sort key of an estimate: a higher accuracy is better, then a lower loss."""
    return look.accuracy_pct, -look.loss_nats


def fit_all(
    job: Job,
    folder: Path,
    cache: Kept,
    *,
    budget_seconds: float | None = None,
    baseline: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = lambda _: None,
    pulse: Pulse = silent,
    team: Team = ALONE,
) -> Record:
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
    earlier = _baseline(baseline, job.photos, pulse) if baseline else None
    device = prepare(job.numerics, team.local if team.size > 1 else job.device_index)
    spec, weights, classes = job.backbone.spec, job.backbone.weights, job.photos.classes
    subject = Subject(spec, weights, classes, job.seed, job.numerics, device, team, pulse)
    tuning, photos = job.tuning, job.photos
    view = subject.view(tuning.test_size, tuning.view)
    done: list[tuple[Fitted, Look]] = []
    best: dict[str, torch.Tensor] = {}

    pace: dict[str, float] = {}
    """Estimated seconds of an epoch by stage name."""

    def ended() -> bool:
        return stop() or (
            bool(done) and budget_seconds is not None and time.monotonic() - start > budget_seconds
        )

    def adjusted(stage: Stage, views: dict[str, View]) -> Stage:
        if not done:
            return stage
        stage, epoch_seconds = team.from_first(
            _fit_to_budget(stage, subject, photos, views, budget_seconds, start)
        )
        if epoch_seconds:
            pace[stage.name] = epoch_seconds
            say(f"{stage.name}: an epoch takes about {epoch_seconds:.0f} s here")
        return stage

    with contextlib.suppress(TakenError):  # stopped while another process trained the stage
        for fitted, predictions in staged(
            job, subject, cache, stop=ended, say=say, adjusted=adjusted
        ):
            look = look_of(predictions)
            if not done or merit(look) > max(merit(other) for _, other in done):
                best = {
                    name: tensor.detach().clone()
                    for name, tensor in subject.model.state_dict().items()
                }
                if team.first:
                    save(job, subject, view, folder, (metric("validation", look, photos.name),))
                say(f"usable from now on: {folder}")
            done.append((fitted, look))
    if not done:
        raise StoppedError(
            Problem(
                str(folder), "stopped before the first epoch; nothing was written", "start again"
            )
        )
    left_out = _left_out(tuning.due[len(done) :], time.monotonic() - start, budget_seconds, pace)
    for line in left_out:
        say(line)
    subject.model.load_state_dict(best)
    say(f"scoring {len(photos.test):,} test images")
    scores = score(subject.model, photos.test, view, device, tuning.crops, pulse)
    record = _record(job, folder, done, scores, earlier, time.monotonic() - start)
    record = replace(record, caveats=(*record.caveats, *left_out))
    metrics = (
        metric("validation", record.validation, photos.name),
        metric("test", record.test, photos.name),
    )
    if team.first:
        save(job, subject, view, folder, metrics, left_out)
    return record


def _left_out(
    stages: Sequence[Stage], seconds: float, budget: float | None, pace: dict[str, float]
) -> tuple[str, ...]:
    """Return a line with the reason for each stage that was left out."""
    reason = "it was told to stop"
    if budget is not None and seconds > budget:
        reason = f"the budget of {budget:.0f} s was over after {seconds:.0f} s"
    return tuple(
        f'stage "{stage.name}" was left out: {reason}'
        + (
            f"; an epoch of it takes about {pace[stage.name]:.0f} s here"
            if stage.name in pace
            else ""
        )
        for stage in stages
    )


def score(
    model: nn.Module,
    part: Part,
    view: View,
    device: torch.device,
    crops: int = 1,
    pulse: Pulse = silent,
) -> Scores:
    """Predict every photograph of `part` in fp32, like `predict`.

    With 10 `crops`, average the probabilities.
    """
    mean, deviation = (
        torch.tensor(values, device=device) for values in (view.mean, view.deviation)
    )
    batches = []
    batch = BATCH if view.rule == "crop" else 1  # whole photographs differ in shape
    with image_decoder.quiet():
        for begin in range(0, len(part), batch):
            indices = range(begin, min(begin + batch, len(part)))
            photos = [part.load(index) for index in indices]
            views = [
                ten_crops(photo, view) if crops == 10 else show(photo, view)[None]
                for photo in photos
            ]
            pixels = np.concatenate(views)
            logits = run(model, normalise(torch.from_numpy(pixels).to(device), mean, deviation))
            probabilities = torch.softmax(logits.double(), 1).view(len(photos), crops, -1)
            batches.append(probabilities.mean(1).cpu().numpy())
            pulse("photographs scored", indices.stop, len(part))
    return Scores(np.concatenate(batches), part.labels)


def compare(ours: Scores, theirs: Scores) -> Comparison:
    """Compare two networks on the same images with McNemar's exact test."""
    only_ours = int((ours.right & ~theirs.right).sum())
    only_theirs = int((theirs.right & ~ours.right).sum())
    return Comparison(
        baseline_accuracy_pct=100 * float(theirs.right.mean()),
        only_this=only_ours,
        only_baseline=only_theirs,
        p=mcnemar(only_ours, only_theirs),
    )


def look_of(scores: Scores) -> Look:
    """Return accuracy, its exact (Clopper-Pearson) 95 % interval over the images, and the mean
    loss.
    """
    right, count = int(scores.right.sum()), len(scores.labels)
    low, high = clopper_pearson(right, count)
    picked = scores.probabilities[np.arange(count), scores.labels]
    loss = float(-np.log(np.maximum(picked, 1e-300)).mean())
    return Look(
        images=count,
        right=right,
        accuracy_pct=100 * right / count,
        low_pct=100 * low,
        high_pct=100 * high,
        loss_nats=loss,
    )


def scores_of(subject: Subject, halves: Halves, part: Part, view: View) -> Scores:
    """Predict a split with the present weights, from cached features of the frozen trunk if there
    are any.
    """
    inputs = subject.held(halves, part, view)

    def judge(rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = halves.tail(rows)
        return logits

    scored = evaluate(
        subject.model, subject.forward(halves, judge), inputs, subject.team, batch=BATCH
    )
    return Scores(torch.softmax(scored.logits.double(), 1).numpy(), part.labels)


def _fit_to_budget(
    stage: Stage,
    subject: Subject,
    photos: Photographs,
    views: dict[str, View],
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
        rows=photos.validation.rows[:BATCH],
        labels=photos.validation.labels[:BATCH],
    )
    score(subject.model, sample, view, subject.device)
    passes = (
        1 if stage.trains in ("classifier", "last norm") else 3
    )  # forward; forward and backward
    pace = (time.monotonic() - timer) / len(sample)
    epoch = pace * (passes * len(photos.train) + len(photos.validation))
    remaining = (
        budget - (time.monotonic() - start) - pace * (len(photos.test) + len(photos.validation))
    )
    epochs = max(1, min(stage.recipe.epochs, int(remaining / epoch)))
    return replace(stage, recipe=replace(stage.recipe, epochs=epochs)), epoch


def save(
    job: Job,
    subject: Subject,
    view: View,
    folder: Path,
    metrics: tuple[Metric, ...],
    left_out: tuple[str, ...] = (),
) -> None:
    """Write the network with its present weights as a model folder; `left_out` lists the stages
    left out.
    """
    line = provenance("finetune", 0, job.numerics, job.photos.sha256)
    file = ModelFile(
        name=folder.name,
        model=subject.spec,
        classes=job.photos.classes,
        view=view,
        licence=job.backbone.licence,
        caveats=(*caveats(job), *left_out),
        metrics=metrics,
        provenance={
            "recipe": encode(job.tuning),
            "seed": job.seed,
            "data": job.photos.name,
            **line,
        },
    )
    save_bundle(folder, subject.model, file)


def caveats(job: Job) -> tuple[str, ...]:
    """Return the caveats that a reader of the numbers must know."""
    lines = []
    if job.photos.overlap:
        lines.append(job.photos.overlap)
    return tuple(lines)


def metric(split: str, look: Look, data: str) -> Metric:
    """Convert an accuracy estimate to the form of model.json."""
    return Metric(
        name="top1_accuracy_pct",
        value=look.accuracy_pct,
        low=look.low_pct,
        high=look.high_pct,
        data=data,
        split=split,
        images=look.images,
    )


def _baseline(folder: Path, photos: Photographs, pulse: Pulse = silent) -> tuple[str, Scores]:
    """Evaluate an earlier model on the same test images.

    Raises InputError if it has other classes.
    """
    bundle = load_bundle(folder)
    if set(bundle.file.classes) != set(photos.classes):
        unknown = sorted(set(bundle.file.classes) ^ set(photos.classes))
        what = f"knows other classes than {photos.root}: {', '.join(unknown[:3])}"
        raise mistake(str(folder), what, "a model of these classes as --baseline")
    device = torch.device("cpu")
    scores = score(bundle.module, photos.test, bundle.file.view, device, pulse=pulse)
    order = [bundle.file.classes.index(name) for name in photos.classes]
    return folder.name, Scores(scores.probabilities[:, order], photos.test.labels)


def _record(
    job: Job,
    folder: Path,
    done: list[tuple[Fitted, Look]],
    scores: Scores,
    earlier: tuple[str, Scores] | None,
    seconds: float,
) -> Record:
    photos = job.photos
    best = max(range(len(done)), key=lambda k: merit(done[k][1]))
    stages = tuple(
        StageRecord(
            name=fitted.stage,
            rate=fitted.rate,
            trained=fitted.trained,
            epochs=len(fitted.epochs),
            best_epoch=fitted.best.epoch,
            validation=look,
            seconds=round(fitted.seconds, 1),
            diverged=fitted.diverged,
            chosen=index == best,
        )
        for index, (fitted, look) in enumerate(done)
    )
    confident = scores.probabilities.max(1)
    wrong = sorted(np.flatnonzero(~scores.right), key=lambda index: (-confident[index], index))
    worst = tuple(
        Mistake(
            path=photos.test.rows[index].path,
            label=photos.classes[scores.labels[index]],
            said=photos.classes[scores.said[index]],
            probability=float(confident[index]),
        )
        for index in wrong[:WORST]
    )
    comparison = replace(compare(scores, earlier[1]), baseline=earlier[0]) if earlier else None
    return Record(
        model=job.backbone.spec.slug,
        data=photos.name,
        classes=len(photos.classes),
        folder=folder.name,
        train_images=len(photos.train),
        stages=stages,
        validation=done[best][1],
        test=look_of(scores),
        worst=worst,
        example=photos.test.rows[0].path,
        caveats=caveats(job),
        comparison=comparison,
        seconds=round(seconds, 1),
        train_size=job.tuning.train_size,
        test_size=job.tuning.test_size,
        seed=job.seed,
        recipe=job.tuning.name,
        chance_pct=100 * photos.chance,
    )
