"""Evaluation of a run: its splits, its curve, its best weights and its status."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from resnetlab.data.config import Dataset, LabeledImages, Split
from resnetlab.data.device_images import DeviceImageCache, DeviceImages
from resnetlab.recipes.train import train_subset_size
from resnetlab.runs.records import Evaluation, RunFile, Scores, TrainModeEvaluation
from resnetlab.schema import finite_or_none
from resnetlab.stats.chance import (
    compare_with_chance,
    is_at_chance,
    largest_class_share,
    status_from_chance,
)
from resnetlab.training.evaluate import SplitEvaluation, evaluate, evaluate_in_train_mode
from resnetlab.training.events import TrainEvent
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.rng import derive_seed, make_generator
from resnetlab.training.state import clone_tensors

CurveSplit = Split | Literal["train epoch"]
"""Split of a line of metrics.jsonl."""


@dataclass
class BestWeights:
    """Weights with the lowest validation error so far."""

    step: int
    error_pct: float
    weights: dict[str, Tensor]


class RunEvaluator:
    """Evaluator of a run's splits.

    Args:
        state: Training state of the run.
        file: Configuration of the run.
        dataset: Data of the run.
        image_cache: Splits that are on the device already.
    """

    def __init__(
        self,
        state: FromScratchState,
        file: RunFile,
        dataset: Dataset,
        image_cache: DeviceImageCache,
    ) -> None:
        self.state, self.file = state, file
        data, device = file.run.data, state.device
        self.splits: dict[Split, DeviceImages] = {
            "train": _train_subset(dataset.train, data.split_seed, device)
        }
        if dataset.validation is not None:
            self.splits["validation"] = image_cache.get(dataset.validation, device)
        self.test = image_cache.get(dataset.test, device)
        if data.test_curve:
            self.splits["test"] = self.test
        self.curve_splits: dict[Split, DeviceImages] = {
            name: _curve_subset(images, data.curve_images, data.split_seed)
            for name, images in self.splits.items()
        }
        self.best: BestWeights | None = None
        self.latest: dict[Split, SplitEvaluation] = {}
        self.seconds = 0.0
        """Time of all evaluations of the run, of earlier sessions too."""

    def evaluate(self, event: TrainEvent, train_seconds: float) -> tuple[Evaluation, ...]:
        """Evaluate the splits of the curve, and keep the weights if they are the best so far.

        After an epoch without an evaluation, only the metrics of its train batches are returned.
        Before the first step these are the metrics of the train subset, also in training mode.
        """
        is_epoch = event.kind == "epoch"
        values: dict[CurveSplit, tuple[float, float]] = {}
        if self._is_evaluated(event):
            values |= self._evaluate_curve(event, is_epoch)
        if is_epoch:
            values["train epoch"] = self.state.train_metrics()
        elif event.step == 0:
            train: dict[Split, DeviceImages] = {"train": self.curve_splits["train"]}
            first = self._train_mode_results(train, event.step)["train"]
            values["train epoch"] = first.loss_nats, first.top1_error_pct
        return _evaluations(event, train_seconds, values)

    def evaluate_in_train_mode(
        self, event: TrainEvent, train_seconds: float
    ) -> tuple[Evaluation, ...]:
        """Evaluate the splits of the curve in training mode.

        The result is empty after an epoch without an evaluation. Nothing is selected by it.
        """
        if not self._is_evaluated(event):
            return ()
        results = self._train_mode_results(self.curve_splits, event.step)
        values: dict[CurveSplit, tuple[float, float]] = {
            name: (result.loss_nats, result.top1_error_pct) for name, result in results.items()
        }
        return _evaluations(event, train_seconds, values)

    def evaluate_selected_in_train_mode(
        self, so_far: TrainModeEvaluation | None
    ) -> TrainModeEvaluation:
        """Evaluate all splits in training mode, with the weights that `evaluate_selected` loaded.

        The scores depend on the weights, the seed and the step alone, so they are the same after
        the end of the run. The status follows from them and from the curve of `so_far`.
        """
        step = self.best.step if self.best is not None else self.state.step
        results = self._train_mode_results({**self.splits, "test": self.test}, step)
        curve = so_far.curve if so_far is not None else ()
        status, reason = self.status(curve, results["test"])
        scores: dict[str, Any] = self.scores(results)
        return TrainModeEvaluation(curve=curve, status=status, reason=reason, **scores)

    def _train_mode_results(
        self, splits: dict[Split, DeviceImages], step: int
    ) -> dict[Split, SplitEvaluation]:
        """Evaluate splits in training mode and add the time to `seconds`."""
        start, state = time.monotonic(), self.state
        results = {
            name: evaluate_in_train_mode(
                state.model,
                state.eval_forward_pixels,
                images,
                state.recipe.batch_size,
                derive_seed(state.seed, "evaluation in training mode", step, name),
                state.set_train_mode,
            )
            for name, images in splits.items()
        }
        self.seconds += time.monotonic() - start
        return results

    def _is_evaluated(self, event: TrainEvent) -> bool:
        recipe, num_images = self.state.recipe, self.state.num_train_images
        return event.kind != "epoch" or recipe.is_evaluated(event.step, num_images)

    def _evaluate_curve(
        self, event: TrainEvent, is_epoch: bool
    ) -> dict[CurveSplit, tuple[float, float]]:
        """Evaluate the curve's images and return the loss and the error of each split."""
        start = time.monotonic()
        self.latest = {
            name: self._evaluate_split(images) for name, images in self.curve_splits.items()
        }
        self.seconds += time.monotonic() - start
        validation = self.latest.get("validation")
        if self.state.recipe.select == "best" and validation is not None and is_epoch:
            better = self.best is None or validation.top1_error_pct < self.best.error_pct
            if better and validation.is_finite:
                weights = clone_tensors(self.state.eval_state_dict())
                self.best = BestWeights(event.step, validation.top1_error_pct, weights)
        return {
            name: (result.loss_nats, result.top1_error_pct) for name, result in self.latest.items()
        }

    def evaluate_selected(self) -> dict[Split, SplitEvaluation]:
        """Load the selected weights and evaluate all splits with them."""
        results = {
            name: result
            for name, result in self.latest.items()
            if len(self.curve_splits[name]) == len(self.splits[name])
        }
        if self.best is not None and self.best.step != self.state.step:
            self.state.use_weights(self.best.weights)
            results = {}
        start = time.monotonic()
        splits: dict[Split, DeviceImages] = {**self.splits, "test": self.test}
        results |= {
            name: self._evaluate_split(images)
            for name, images in splits.items()
            if name not in results
        }
        self.seconds += time.monotonic() - start
        return results

    def _evaluate_split(self, images: DeviceImages) -> SplitEvaluation:
        return evaluate(self.state.model, self.state.eval_forward_pixels, images, self.state.world)

    def first_nonfinite_step(self) -> int | None:
        """Return the first step of this epoch with a loss or weight that is not finite, or None."""
        step = self.state.first_nonfinite_step()
        if step is None and not all(result.is_finite for result in self.latest.values()):
            return self.state.step
        return step

    def status(
        self, curve: Sequence[Evaluation], test: SplitEvaluation
    ) -> tuple[Literal["trained", "at chance"], str]:
        """Return the status and its reason: "at chance" if no evaluation was above chance.

        Args:
            curve: Evaluations of the run so far, in one mode.
            test: Result on the test split. It counts unless validation images, or all test images,
                were evaluated each epoch and are enough.
        """
        split: Split = "validation" if "validation" in self.splits else "test"
        errors = [line.top1_error_pct for line in curve if line.split == split]
        images = len(self.curve_splits.get(split, self.test))
        if not errors:
            split, errors, images = "test", [test.top1_error_pct], len(self.test)
        elif split == "test" and images < len(self.test):
            # All test images are a better test than the part of them that was evaluated each epoch.
            accuracy = 100 - test.top1_error_pct
            if not is_at_chance(accuracy, self.file.class_share, len(self.test), 1):
                return "trained", ""
        best = 100 - min(errors)
        predictions = self.test.labels.cpu().numpy(), test.logits.argmax(1).numpy()
        share = test_share = self.file.class_share
        if split == "validation":
            share = largest_class_share(self.splits[split].labels.cpu().numpy())
        chance = compare_with_chance(
            best, share, images, len(errors), predictions, test_class_share=test_share
        )
        return status_from_chance(chance, f"at best {best:.1f} % of {images:,} {split} images")

    def scores(self, results: dict[Split, SplitEvaluation]) -> dict[str, Scores]:
        """Return results of all splits as scores."""
        splits = {**self.splits, "test": self.test}
        return {
            name: Scores(
                images=len(splits[name]),
                loss_nats=finite_or_none(result.loss_nats),
                top1_error_pct=result.top1_error_pct,
                top5_error_pct=result.top5_error_pct,
            )
            for name, result in results.items()
        }


def _evaluations(
    event: TrainEvent, train_seconds: float, values: dict[CurveSplit, tuple[float, float]]
) -> tuple[Evaluation, ...]:
    """Return the loss and the error of each split as evaluations."""
    return tuple(
        Evaluation(
            step=event.step,
            epoch=round(event.epoch, 6),
            split=name,
            loss_nats=finite_or_none(loss),
            top1_error_pct=error,
            seconds=round(train_seconds, 3),
        )
        for name, (loss, error) in values.items()
    )


def _curve_subset(images: DeviceImages, count: int | None, split_seed: int) -> DeviceImages:
    """Draw the fixed subset of a split that is evaluated during training."""
    if count is None or count >= len(images):
        return images
    order = torch.randperm(len(images), generator=make_generator(split_seed, "curve subset"))
    indices = order[:count].sort().values.to(images.pixels.device)
    return DeviceImages(images.pixels[indices], images.labels[indices])


def _train_subset(images: LabeledImages, split_seed: int, device: torch.device) -> DeviceImages:
    """Draw the fixed subset of the train split for evaluation."""
    count = train_subset_size(len(images))
    indices = (
        torch.randperm(len(images), generator=make_generator(split_seed, "train subset"))[:count]
        .sort()
        .values.numpy()
    )
    return DeviceImages.from_images(
        LabeledImages(images.pixels[indices], images.labels[indices]), device
    )
