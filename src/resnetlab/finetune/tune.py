"""Stages after one another, the best by validation kept, tested once, and written as a model's folder."""

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
from resnetlab.codec import encode
from resnetlab.data.augment import normalise
from resnetlab.data.sources import images
from resnetlab.data.view import View, show, ten_crops
from resnetlab.errors import Problem, ResnetlabError, mistake
from resnetlab.finetune.backbones import Backbone
from resnetlab.finetune.kept import Kept, TakenError, basis_of
from resnetlab.finetune.photographs import Part, Photographs
from resnetlab.finetune.progress import Pulse, silent
from resnetlab.finetune.record import Comparison, Look, Mistake, Record, StageRecord
from resnetlab.finetune.stage import Fitted, Watch, balanced, fit
from resnetlab.finetune.subject import BATCH, Halves, Subject
from resnetlab.models.transfer import run
from resnetlab.runs.provenance import provenance
from resnetlab.stats.estimate import clopper_pearson
from resnetlab.stats.exact import mcnemar
from resnetlab.training.accelerate import prepare
from resnetlab.training.evaluate import evaluate
from resnetlab.training.numerics import Numerics
from resnetlab.training.team import ALONE, Team
from resnetlab.training.tuning import Stage, Tuning

Say = Callable[[str], None]
WORST = 12
"""Mistakes that are told, the most confident first."""


class StoppedError(ResnetlabError):
    """A signal came before there was anything to keep."""

    exit_code = 130


@dataclass(frozen=True)
class Job:
    """What a fine-tuning is told: all that decides its result."""

    photos: Photographs
    backbone: Backbone
    tuning: Tuning
    seed: int
    numerics: Numerics
    """Resolved: without `auto`."""
    device_index: int = 0
    """Of the GPU, where one process does all of it."""


@dataclass(frozen=True)
class Scores:
    """A network on a split: probabilities (N, K)."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def said(self) -> NDArray[np.int64]:
        """The class that is most probable (N,)."""
        found: NDArray[np.int64] = self.probabilities.argmax(1)
        return found

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether it is the class of the image (N,)."""
        found: NDArray[np.bool_] = self.said == self.labels
        return found


def staged(
    job: Job, subject: Subject, kept: Kept, *, stop: Callable[[], bool] = lambda: False, say: Say = lambda _: None,
    watch: Watch = lambda _: None, adjusted: Callable[[Stage, dict[str, View]], Stage] = lambda stage, _: stage,
) -> Iterator[tuple[Fitted, Scores]]:  # fmt: skip
    """Each stage as it is done, with what it gives validation in use; the network is left with the stage's weights.

    `adjusted` gives a stage as time allows. Ends early when `stop()` says so before a stage or within its first epoch;
    one that it cuts short later is not whole. Raises TakenError.
    """
    tuning, photos, team = job.tuning, job.photos, subject.team
    views = {"train": subject.view(tuning.train_size), "test": subject.view(tuning.test_size, tuning.view)}
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
            fit, subject, stage, photos, views, job.seed, weights=weights, stop=stop, say=say, watch=watch
        )  # fmt: skip
        fitted = kept.stage(basis, subject, fitting, stop)
        if not fitted.epochs and not fitted.whole:
            say(f"{stage.name}: stopped after {fitted.seconds:.0f} s, within its first epoch: it changes nothing")
            return
        halves = subject.halves("classifier", tuning.test_size)
        scores = scores_of(subject, halves, photos.validation, views["test"])
        accuracy = 100 * float(scores.right.mean())
        say(f"{stage.name}: validation {accuracy:.1f} % at {tuning.test_size} pixels, {fitted.seconds:.0f} s")
        yield fitted, scores


def merit(look: Look) -> tuple[float, float]:
    """What is larger for a better look: validation accuracy, then a lower loss."""
    return look.accuracy_pct, -look.loss_nats


def fit_all(
    job: Job, folder: Path, kept: Kept, *, budget_seconds: float | None = None, baseline: Path | None = None,
    stop: Callable[[], bool] = lambda: False, say: Say = lambda _: None, pulse: Pulse = silent, team: Team = ALONE,
) -> Record:  # fmt: skip
    """Fit the network, write the model as `folder`, and give what was found.

    A usable model is written after the first stage, and replaced where a later one is better on validation. Stages
    begin while the budget lasts; the first one always does. One that `kept` has is not computed again. Of the processes
    of a `team`, the first one writes. Raises InputError and ResourceError; a folder that was there stays as it was
    until a whole one takes its place.
    """
    began = time.monotonic()
    earlier = _baseline(baseline, job.photos, pulse) if baseline else None
    device = prepare(job.numerics, team.local if team.size > 1 else job.device_index)
    spec, weights, classes = job.backbone.spec, job.backbone.weights, job.photos.classes
    subject = Subject(spec, weights, classes, job.seed, job.numerics, device, team, pulse)
    tuning, photos = job.tuning, job.photos
    view = subject.view(tuning.test_size, tuning.view)
    done: list[tuple[Fitted, Look]] = []
    best: dict[str, torch.Tensor] = {}

    pace: dict[str, float] = {}
    """Seconds of an epoch of a stage, as estimated before it began."""

    def ended() -> bool:
        return stop() or (bool(done) and budget_seconds is not None and time.monotonic() - began > budget_seconds)

    def adjusted(stage: Stage, views: dict[str, View]) -> Stage:
        if not done:
            return stage
        stage, epoch_seconds = team.from_first(_within(stage, subject, photos, views, budget_seconds, began))
        if epoch_seconds:
            pace[stage.name] = epoch_seconds
            say(f"{stage.name}: an epoch takes about {epoch_seconds:.0f} s here")
        return stage

    with contextlib.suppress(TakenError):  # told to stop while another process computed the stage
        for fitted, seen in staged(job, subject, kept, stop=ended, say=say, adjusted=adjusted):
            look = look_of(seen)
            if not done or merit(look) > max(merit(other) for _, other in done):
                best = {name: tensor.detach().clone() for name, tensor in subject.model.state_dict().items()}
                if team.first:
                    save(job, subject, view, folder, (metric("validation", look, photos.name),))
                say(f"usable from now on: {folder}")
            done.append((fitted, look))
    if not done:
        raise StoppedError(Problem(str(folder), "stopped before the first epoch; nothing was written", "start again"))
    left_out = _left_out(tuning.due[len(done) :], time.monotonic() - began, budget_seconds, pace)
    for line in left_out:
        say(line)
    subject.model.load_state_dict(best)
    say(f"scoring {len(photos.test):,} test images")
    scores = score(subject.model, photos.test, view, device, tuning.crops, pulse)
    record = _record(job, folder, done, scores, earlier, time.monotonic() - began)
    record = replace(record, caveats=(*record.caveats, *left_out))
    metrics = (metric("validation", record.validation, photos.name), metric("test", record.test, photos.name))
    if team.first:
        save(job, subject, view, folder, metrics, left_out)
    return record


def _left_out(
    stages: Sequence[Stage], seconds: float, budget: float | None, pace: dict[str, float]
) -> tuple[str, ...]:  # fmt: skip
    """A line for each stage that was not done, with the reason."""
    reason = "it was told to stop"
    if budget is not None and seconds > budget:
        reason = f"the budget of {budget:.0f} s was over after {seconds:.0f} s"
    return tuple(
        f'stage "{stage.name}" was left out: {reason}'
        + (f"; an epoch of it takes about {pace[stage.name]:.0f} s here" if stage.name in pace else "")
        for stage in stages
    )


def score(
    model: nn.Module, part: Part, view: View, device: torch.device, crops: int = 1, pulse: Pulse = silent
) -> Scores:  # fmt: skip
    """Probabilities of every photograph of `part`, in fp32 as `predict` gives them; of 10 `crops`, their mean."""
    mean, deviation = (torch.tensor(held, device=device) for held in (view.mean, view.deviation))
    found = []
    batch = BATCH if view.rule == "crop" else 1  # whole photographs differ in shape
    with images.quiet():
        for begin in range(0, len(part), batch):
            places = range(begin, min(begin + batch, len(part)))
            shown = [part.load(place) for place in places]
            pixels = np.concatenate([ten_crops(one, view) if crops == 10 else show(one, view)[None] for one in shown])
            logits = run(model, normalise(torch.from_numpy(pixels).to(device), mean, deviation))
            each = torch.softmax(logits.double(), 1).view(len(shown), crops, -1)
            found.append(each.mean(1).cpu().numpy())
            pulse("photographs scored", places.stop, len(part))
    return Scores(np.concatenate(found), part.labels)


def compare(ours: Scores, theirs: Scores) -> Comparison:
    """McNemar's exact test of two networks on the same images."""
    only_ours = int((ours.right & ~theirs.right).sum())
    only_theirs = int((theirs.right & ~ours.right).sum())
    return Comparison(
        baseline_accuracy_pct=100 * float(theirs.right.mean()), only_this=only_ours, only_baseline=only_theirs,
        p=mcnemar(only_ours, only_theirs),
    )  # fmt: skip


def look_of(scores: Scores) -> Look:
    """Accuracy with its exact interval over the images, and the loss."""
    right, count = int(scores.right.sum()), len(scores.labels)
    low, high = clopper_pearson(right, count)
    picked = scores.probabilities[np.arange(count), scores.labels]
    loss = float(-np.log(np.maximum(picked, 1e-300)).mean())
    return Look(
        images=count, right=right, accuracy_pct=100 * right / count, low_pct=100 * low, high_pct=100 * high,
        loss_nats=loss,
    )  # fmt: skip


def scores_of(subject: Subject, halves: Halves, part: Part, view: View) -> Scores:
    """A split by the network as it stands, from constant rows of its frozen part where they are at hand."""
    held = subject.held(halves, part, view)

    def judge(rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = halves.tail(rows)
        return logits

    scored = evaluate(subject.model, subject.forward(halves, judge), held, subject.team, batch=BATCH)
    return Scores(torch.softmax(scored.logits.double(), 1).numpy(), part.labels)


def _within(
    stage: Stage, subject: Subject, photos: Photographs, views: dict[str, View], budget: float | None, began: float
) -> tuple[Stage, float]:
    """The stage with no more epochs than the budget has time for, so that its schedule comes to an end.

    And the seconds that an epoch takes, as estimated; 0 where it is not.
    """
    if budget is None or stage.recipe.epochs is None or stage.augment == "none":
        return stage, 0.0
    view, timed = views[stage.size], time.monotonic()
    few = replace(photos.validation, rows=photos.validation.rows[:BATCH], labels=photos.validation.labels[:BATCH])
    score(subject.model, few, view, subject.device)
    passes = 1 if stage.trains in ("classifier", "last norm") else 3  # forward; forward and backward
    pace = (time.monotonic() - timed) / len(few)
    epoch = pace * (passes * len(photos.train) + len(photos.validation))
    left = budget - (time.monotonic() - began) - pace * (len(photos.test) + len(photos.validation))
    epochs = max(1, min(stage.recipe.epochs, int(left / epoch)))
    return replace(stage, recipe=replace(stage.recipe, epochs=epochs)), epoch


def save(
    job: Job, subject: Subject, view: View, folder: Path, metrics: tuple[Metric, ...], left_out: tuple[str, ...] = ()
) -> None:  # fmt: skip
    """Write the network as it stands as a model's folder; `left_out` says of stages that were not done."""
    line = provenance("finetune", 0, job.numerics, job.photos.sha256)
    file = ModelFile(
        name=folder.name, model=subject.spec, classes=job.photos.classes, view=view, licence=job.backbone.licence,
        caveats=(*caveats(job), *left_out), metrics=metrics,
        provenance={"recipe": encode(job.tuning), "seed": job.seed, "data": job.photos.name, **line},
    )  # fmt: skip
    save_bundle(folder, subject.model, file)


def caveats(job: Job) -> tuple[str, ...]:
    """What a reader of the numbers must know."""
    said = []
    if job.photos.overlap:
        said.append(job.photos.overlap)
    return tuple(said)


def metric(split: str, look: Look, data: str) -> Metric:
    """A look as model.json has it."""
    return Metric(
        name="top1_accuracy_pct", value=look.accuracy_pct, low=look.low_pct, high=look.high_pct, data=data, split=split,
        images=look.images,
    )  # fmt: skip


def _baseline(folder: Path, photos: Photographs, pulse: Pulse = silent) -> tuple[str, Scores]:
    """An earlier model on the same test images. Raises InputError when it knows other classes."""
    bundle = load_bundle(folder)
    if set(bundle.file.classes) != set(photos.classes):
        strangers = sorted(set(bundle.file.classes) ^ set(photos.classes))
        what = f"knows other classes than {photos.root}: {', '.join(strangers[:3])}"
        raise mistake(str(folder), what, "a model of these classes as --baseline")
    device = torch.device("cpu")
    scores = score(bundle.module, photos.test, bundle.file.view, device, pulse=pulse)
    order = [bundle.file.classes.index(name) for name in photos.classes]
    return folder.name, Scores(scores.probabilities[:, order], photos.test.labels)


def _record(
    job: Job, folder: Path, done: list[tuple[Fitted, Look]], scores: Scores, earlier: tuple[str, Scores] | None,
    seconds: float,
) -> Record:  # fmt: skip
    photos = job.photos
    chosen = max(range(len(done)), key=lambda k: merit(done[k][1]))
    stages = tuple(
        StageRecord(
            name=fitted.stage, rate=fitted.rate, trained=fitted.trained, epochs=len(fitted.epochs),
            best_epoch=fitted.best.epoch, validation=look, seconds=round(fitted.seconds, 1), diverged=fitted.diverged,
            chosen=place == chosen,
        )
        for place, (fitted, look) in enumerate(done)
    )  # fmt: skip
    confident = scores.probabilities.max(1)
    wrong = sorted(np.flatnonzero(~scores.right), key=lambda place: (-confident[place], place))
    worst = tuple(
        Mistake(
            path=photos.test.rows[place].path, label=photos.classes[scores.labels[place]],
            said=photos.classes[scores.said[place]], probability=float(confident[place]),
        )
        for place in wrong[:WORST]
    )  # fmt: skip
    comparison = replace(compare(scores, earlier[1]), baseline=earlier[0]) if earlier else None
    return Record(
        model=job.backbone.spec.slug, data=photos.name, classes=len(photos.classes), folder=folder.name,
        train_images=len(photos.train), stages=stages, validation=done[chosen][1], test=look_of(scores), worst=worst,
        example=photos.test.rows[0].path,
        caveats=caveats(job), comparison=comparison, seconds=round(seconds, 1), train_size=job.tuning.train_size,
        test_size=job.tuning.test_size, seed=job.seed, recipe=job.tuning.name, chance_pct=100 * photos.chance,
    )  # fmt: skip
