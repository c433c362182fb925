"""Trials before a fine-tuning: pre-trained networks, and methods for uneven classes.

Each trial is a linear probe on the constant features of a frozen network. Validation selects; the
test images are not read. A probe that is also the first stage of the recipe is not trained again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from resnetlab.errors import InputError, Problem
from resnetlab.finetuning.dataset import PhotoDataset
from resnetlab.finetuning.evaluation import (
    accuracy_estimate,
    balanced_differences,
    compare,
    count_by_class,
)
from resnetlab.finetuning.job import FinetuneJob
from resnetlab.finetuning.network.backbones import Backbone
from resnetlab.finetuning.network.candidates import Candidates
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.pipeline import run_stages
from resnetlab.finetuning.results import (
    AccuracyEstimate,
    BackboneTrial,
    BalanceTrial,
    StoppedError,
)
from resnetlab.finetuning.stage.stage_cache import StageCache, StageLockedError, stage_key
from resnetlab.finetuning.stage.train_stage import StageCallbacks, StageResult
from resnetlab.finetuning.time_limit.time_limit import (
    TimeLimit,
    suggest_time_limit,
    time_prediction,
)
from resnetlab.messages import ItemCallback, Notify, format_count, format_estimate
from resnetlab.models.model_cost import count_parameters
from resnetlab.models.photo_predictions import SplitPredictions
from resnetlab.recipes.finetune import BalanceMethod, FinetuneRecipe, Stage, load_finetune_recipe
from resnetlab.stats.exact import balanced_accuracy_interval, sign_flip_p
from resnetlab.training.distributed import World

TRIAL_SHARE = 0.4
"""Share of the time limit after which no further trial begins."""

UNEVEN_RATIO = 1.5
"""Train images of the largest class over those of the smallest, from which classes are uneven."""

METHODS: tuple[BalanceMethod, ...] = ("none", "class weights", "balanced sampler")
"""Methods for uneven classes. Of equal ones the first is selected."""


@dataclass(frozen=True)
class Selection:
    """Job with what validation selected, and the trials that it selected from."""

    job: FinetuneJob
    finetune_model: FinetuneModel | None = None
    """Network of the job before its first stage, with its features; None without a trial."""
    backbones: tuple[BackboneTrial, ...] = ()
    balance: tuple[BalanceTrial, ...] = ()


@dataclass(frozen=True)
class Trials:
    """Trials of a job: what they need, and the functions of its caller."""

    job: FinetuneJob
    cache: StageCache
    limit: TimeLimit
    world: World
    should_stop: Callable[[], bool]
    notify: Notify
    on_item: ItemCallback

    def select(self, candidates: Candidates, *, with_balance: bool) -> Selection:
        """Select a network, and with `with_balance` a method for uneven classes.

        A single network is not tried, and no method for classes that are not uneven.

        Raises:
            InputError: No network can be used; the reason of each is given.
            StoppedError: The trials were stopped.
        """
        selection = Selection(self.job)
        if len(candidates.backbones) > 1 or candidates.left_out:
            selection = _BackboneTrials(self).select(candidates)
        job = selection.job
        if not (with_balance and job.recipe.balance == "none" and is_uneven(job.photos)):
            return selection
        finetune_model = selection.finetune_model or job.setup_model(
            self.world, self.on_item, self.cache.features_folder
        )
        if reason := self.limit_problem(self.seconds_of_features(job, finetune_model)):
            self.notify(
                f"no method for uneven classes is tried with {job.backbone.config.slug}: {reason}"
            )
            return replace(selection, finetune_model=finetune_model)
        method, trials = self._try_methods(job, finetune_model)
        sizes = np.bincount(job.photos.train.labels)
        note = (
            f"the classes are uneven ({sizes.min():,} to {sizes.max():,} train images): validation "
            f"selected {describe_method(method)} of {len(trials)} by balanced accuracy"
        )
        self.notify(note)
        recipe = job.recipe.with_balance(method)
        job = replace(job, recipe=recipe, selection=(*job.selection, note))
        return replace(selection, job=job, finetune_model=finetune_model, balance=trials)

    def train_probe(
        self, job: FinetuneJob, finetune_model: FinetuneModel
    ) -> tuple[StageResult, SplitPredictions]:
        """Train the probe of a job on its network, and remove it from the network again.

        Returns its result and its predictions on validation. Raises StoppedError after a stop.
        """
        initial = finetune_model.clone_state()
        job = replace(job, recipe=replace(job.recipe, stages=(probe_stage(job.recipe),)))
        callbacks = StageCallbacks(self.should_stop)
        stages = run_stages(job, finetune_model, self.cache, callbacks=callbacks)
        with contextlib.suppress(StageLockedError):  # stopped while another process trains it
            for result, predictions in stages:
                if result.complete:
                    finetune_model.model.load_state_dict(initial)
                    return result, predictions
        problem = "stopped during the trials; nothing was written"
        raise StoppedError(Problem(job.photos.name, problem, "start again"))

    def seconds_of_features(self, job: FinetuneJob, finetune_model: FinetuneModel) -> float:
        """Return the expected seconds of the features; 0 without a limit or if they are cached."""
        stage, photos, recipe = probe_stage(job.recipe), job.photos, job.recipe
        if self.limit.seconds is None:
            return 0.0
        side = recipe.test_size if stage.size == "test" else recipe.train_size
        crop_mode = recipe.crop_mode if stage.size == "test" else "crop"
        transform = finetune_model.eval_transform(side, crop_mode)
        key = stage_key(finetune_model, photos.sha256, recipe.class_weights, recipe.sampler)
        if self.world.broadcast(self.cache.contains(key.with_stage(stage, transform))):
            return 0.0
        partitioned = finetune_model.partition_for_training("classifier", side)
        parts = (photos.train, photos.validation)
        missing = sum(finetune_model.count_missing(partitioned, part, transform) for part in parts)
        each = time_prediction(finetune_model, photos.validation, transform) if missing else 0.0
        return self.world.broadcast(each * missing)

    def limit_problem(self, seconds: float) -> str:
        """Return the reason why the features of a network take too long, or "" if they do not."""
        if self.limit.seconds is None or not seconds:
            return ""
        total = self.world.broadcast(self.limit.elapsed) + seconds
        if total <= TRIAL_SHARE * self.limit.seconds:
            return ""
        needed = suggest_time_limit(total / TRIAL_SHARE)
        return (
            f"its features would take about {format_estimate(seconds)} here, and trials may take "
            f"{100 * TRIAL_SHARE:.0f} % of the time limit; --time-limit {needed} would do"
        )

    def _time_is_short(self) -> bool:
        """Return True once the trials have taken their share of the time limit."""
        limit = self.limit
        return limit.seconds is not None and limit.elapsed > TRIAL_SHARE * limit.seconds

    def _try_methods(
        self, job: FinetuneJob, finetune_model: FinetuneModel
    ) -> tuple[BalanceMethod, tuple[BalanceTrial, ...]]:
        """Return the selected method for uneven classes, and the trials of all methods."""
        trials, scored = list[BalanceTrial](), list[SplitPredictions]()
        for method in METHODS:
            is_late: bool = self.world.broadcast(self._time_is_short())
            if trials and is_late:
                self.notify(f"{describe_method(method)}: left out, too little time is left")
                continue
            with_method = replace(job, recipe=job.recipe.with_balance(method))
            result, predictions = self.train_probe(with_method, finetune_model)
            if not result.epochs:
                self.notify(f"{describe_method(method)}: left out, its loss is not finite")
                continue
            counts = count_by_class(predictions)
            interval = balanced_accuracy_interval(counts.right.tolist(), counts.images.tolist())
            trials.append(
                BalanceTrial(
                    method=method,
                    validation=accuracy_estimate(predictions),
                    balanced_pct=100 * counts.balanced_accuracy,
                    balanced_low_pct=100 * interval.low,
                    balanced_high_pct=100 * interval.high,
                    lr=result.lr,
                    seconds=round(result.seconds, 1),
                )
            )
            scored.append(predictions)
        if not trials:
            return "none", ()
        best = max(range(len(trials)), key=lambda k: (trials[k].balanced_pct, -k))  # a tie: first
        for index, other in enumerate(scored):
            differences = balanced_differences(other, scored[best]).tolist()
            p = None if index == best else sign_flip_p(differences)
            trials[index] = replace(trials[index], selected=index == best, p=p)
        return trials[best].method, tuple(trials)


@dataclass(frozen=True)
class _Probe:
    """Trained probe of a network: its record and its predictions on validation."""

    backbone: Backbone
    record: BackboneTrial
    estimate: AccuracyEstimate
    predictions: SplitPredictions

    @property
    def selection_key(self) -> tuple[float, float, int]:
        """Sort key: a higher accuracy, then a lower loss, then a smaller network."""
        return (*self.estimate.selection_key, -self.record.parameters)


class _BackboneTrials:
    """Trials of several networks. Only the best one so far is in memory, with its features."""

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self.probes: list[_Probe] = []
        self.left_out: list[BackboneTrial] = []
        self.postponed: list[tuple[float, Backbone, BackboneTrial]] = []
        self.problems: list[Problem] = []
        self.best: tuple[_Probe, FinetuneModel] | None = None

    def select(self, candidates: Candidates) -> Selection:
        """Try the networks and return the selected one. Raises InputError if none can be used."""
        for item in candidates.left_out:
            record = BackboneTrial(model=item.model, origin=item.origin, left_out=item.reason)
            self._leave_out(record)
        for backbone in candidates.backbones:
            self._attempt(backbone, candidates.title(backbone), is_limited=True)
        self.postponed.sort(key=lambda item: item[0])
        while self.best is None and self.postponed:  # the fastest one is tried in any case
            _, backbone, record = self.postponed.pop(0)
            self._attempt(backbone, record.model, is_limited=False)
        if self.best is None:
            raise InputError(*self.problems)
        for _, _, record in self.postponed:
            self._leave_out(record)
        probe, finetune_model = self.best
        job, count = self.trials.job, len(self.probes)
        note = (
            f"validation selected this network among {count}: its validation accuracy is optimistic"
        )
        job = replace(job, backbone=probe.backbone, selection=(note,) if count > 1 else ())
        return Selection(job, finetune_model, (*self._records(), *self.left_out))

    def _attempt(self, backbone: Backbone, title: str, *, is_limited: bool) -> None:
        """Try a network, or leave it out with the reason."""
        record = BackboneTrial(
            model=title,
            origin=backbone.origin,
            license=backbone.license.name or "unknown",
        )
        trials, start = self.trials, time.monotonic()
        job = replace(trials.job, backbone=backbone)
        try:
            finetune_model = job.setup_model(
                trials.world, trials.on_item, trials.cache.features_folder
            )
            record = replace(record, parameters=count_parameters(finetune_model.model))
            seconds = trials.seconds_of_features(job, finetune_model) if is_limited else 0.0
            if reason := trials.limit_problem(seconds):
                self.postponed.append((seconds, backbone, replace(record, left_out=reason)))
                return
            result, predictions = trials.train_probe(job, finetune_model)
        except InputError as error:
            self.problems += error.problems
            self._leave_out(replace(record, left_out=str(error.problems[0])))
            return
        if not result.epochs:
            self._leave_out(replace(record, left_out="the loss of its probe is not finite"))
            return
        estimate = accuracy_estimate(predictions)
        record = replace(
            record,
            lr=result.lr,
            seconds=round(time.monotonic() - start, 1),
            validation=estimate,
        )
        probe = _Probe(backbone, record, estimate, predictions)
        self.probes.append(probe)
        if self.best is None or probe.selection_key > self.best[0].selection_key:
            self.best = probe, finetune_model
        trials.notify(
            f"{record.model}: validation {estimate.accuracy_pct:.1f} % [{estimate.low_pct:.1f}, "
            f"{estimate.high_pct:.1f}] of {format_count(estimate.images, 'image')} by a probe, "
            f"{record.seconds:.0f} s"
        )

    def _leave_out(self, record: BackboneTrial) -> None:
        self.left_out.append(record)
        self.trials.notify(f"{record.model}: left out: {record.left_out}")

    def _records(self) -> list[BackboneTrial]:
        """Return the records of the probes, each compared with the selected one."""
        assert self.best is not None
        best, records = self.best[0], []
        for probe in self.probes:
            paired = compare(probe.predictions, best.predictions)
            paired = replace(paired, baseline=best.record.model)
            is_best = probe is best
            records.append(
                replace(probe.record, selected=is_best, paired=None if is_best else paired)
            )
        return records


def probe_stage(recipe: FinetuneRecipe) -> Stage:
    """Return the stage that trials train: the first of the recipe if it is a probe on constant
    features, else that of the recipe `probe`.
    """
    first = recipe.resolved_stages[0]
    if first.trainable == "classifier" and first.augment == "none":
        return first
    return load_finetune_recipe("probe").stages[0]


def is_uneven(photos: PhotoDataset) -> bool:
    """Return True if the largest class has at least `UNEVEN_RATIO` times the smallest's images."""
    sizes = np.bincount(photos.train.labels, minlength=len(photos.classes))
    return bool(sizes.max() >= UNEVEN_RATIO * sizes.min())


def describe_method(method: BalanceMethod) -> str:
    """Return the name of a method for uneven classes in a sentence."""
    return f'the method "{method}"'
