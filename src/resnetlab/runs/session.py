"""Training session of a run, from its start or last checkpoint to its result.

Writes all files of the run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from resnetlab.data.config import Dataset, LabeledImages, Split
from resnetlab.data.device_images import DeviceImageCache, DeviceImages
from resnetlab.data.transforms.normalization import export_normalizer
from resnetlab.errors import input_error
from resnetlab.files import sha256
from resnetlab.inspection.block_ablation import ablate_blocks
from resnetlab.inspection.gradients import measure_gradients
from resnetlab.models.configs.bag_of_words import BagOfWordsConfig
from resnetlab.models.weights import NORMALIZER_PREFIX
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.bag_of_words import execute_bag_of_words
from resnetlab.runs.checkpoint import (
    Checkpoint,
    delete_after,
    load_checkpoint,
    save_checkpoint,
    saved_steps,
    torch_version,
    write_tensors,
)
from resnetlab.runs.directory import PROFILE, RunDirectory
from resnetlab.runs.lifecycle import check_world_size, run_once
from resnetlab.runs.load import load_run, recipe_of
from resnetlab.runs.provenance import provenance_event, utc_now
from resnetlab.runs.records import Evaluation, Result, RunFile, Scores, Status
from resnetlab.schema import SCHEMA, encode
from resnetlab.shell import resume_command
from resnetlab.stats.outcomes import is_at_chance
from resnetlab.training.cuda_graphs import build_steps, graph_blocker
from resnetlab.training.device import setup_device
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.evaluate import EvalResult, evaluate
from resnetlab.training.interleave import round_robin
from resnetlab.training.loop import TrainEvent, train
from resnetlab.training.memory import is_out_of_memory
from resnetlab.training.profiler import NullProfiler, RunProfiler
from resnetlab.training.rng import make_generator
from resnetlab.training.state import ScratchTrainState

ProgressCallback = Callable[[TrainEvent, tuple[Evaluation, ...]], None]
"""Callback for each pause of the training loop, with the evaluations at that moment."""


def execute(
    run_id: str,
    file: RunFile,
    dataset: Dataset,
    root: Path,
    placement: Placement,
    should_stop: Callable[[], bool],
    on_progress: ProgressCallback,
    from_step: int | None = None,
    world: World = SINGLE_PROCESS,
) -> Result | None:
    """Run `attempt` to its end and return the result."""
    attempted = run_attempt(
        run_id, file, dataset, root, placement, should_stop, on_progress, from_step, world
    )
    ((_, result),) = round_robin([attempted])
    return result


def run_attempt(
    run_id: str,
    file: RunFile,
    dataset: Dataset,
    root: Path,
    placement: Placement,
    should_stop: Callable[[], bool],
    on_progress: ProgressCallback,
    from_step: int | None = None,
    world: World = SINGLE_PROCESS,
    shared_image_cache: DeviceImageCache | None = None,
) -> Generator[None, None, Result | None]:
    """Train the run under `root`/runs and return its result, or None if `should_stop()` ended the
    training before.

    A finished run is read, not run again.

    Args:
        run_id: Id of the run, the name of its folder.
        file: Configuration of the run.
        dataset: Data of the run.
        root: Folder that contains `runs`.
        placement: Device index, workers and checkpoint interval.
        should_stop: Function that is asked between steps; the training ends with a checkpoint once
            it returns True.
        on_progress: Callback for progress and evaluations.
        from_step: Step of the checkpoint to resume from (0: from the start); None for the last
            checkpoint.
        world: Processes that train the run together. The first one reads and writes the folder.
        shared_image_cache: Data of other runs that share the device with this one. The generator
            then yields after each step.

    Raises:
        RunLockedError: Another process trains the run.
        SharedDeviceOutOfMemoryError: The memory is exhausted while other runs share the device.
            This is not a result of the run.
        InputError: The data or the number of processes differ from the run's, or a checkpoint is
            damaged.
        ResourceError: The disk is full.
    """
    directory = RunDirectory.find(root, run_id)
    _check_batch_size(file, len(dataset.train), world, directory)

    def training() -> Generator[None, None, Result | None]:
        if isinstance(file.run.model, BagOfWordsConfig):
            return (
                execute_bag_of_words(file.run.model, directory, file, dataset)
                if world.is_main_process
                else None
            )
        device = setup_device(file.run.numerics, placement.device_index)
        session = RunSession(
            directory,
            file,
            dataset,
            placement,
            device,
            world,
            shared_image_cache or DeviceImageCache(),
        )
        with session.phases:
            return (
                yield from session.run(
                    should_stop,
                    on_progress,
                    from_step,
                    yield_each_step=shared_image_cache is not None,
                )
            )

    def again(
        result: Result,
    ) -> Result:  # the block ablation was requested after the run had finished
        opened = load_run(directory, file, dataset)
        directory.save_block_ablation(ablate_blocks(opened.state, opened.test))
        return result

    return (
        yield from run_once(
            directory,
            file,
            dataset.identity,
            training,
            world,
            again,
            shared_image_cache is not None,
        )
    )


def _check_batch_size(
    file: RunFile, image_count: int, world: World, directory: RunDirectory
) -> None:
    """Raise InputError if the run's batches are too small for its number of processes."""
    numerics, recipe = file.run.numerics, recipe_of(file)
    check_world_size(file, world, directory)
    parts = numerics.world_size * numerics.grad_accum_steps
    least = min(
        recipe.batch_size,
        image_count - (recipe.steps_per_epoch(image_count) - 1) * recipe.batch_size,
    )
    if parts > 1 and least // parts < 2:
        what = (
            f"a batch of {least} images (of {image_count:,}) leaves a part of it without two images"
        )
        raise input_error(
            "", what, "another batch size", field="recipe.batch_size", got=recipe.batch_size
        )


@dataclass
class _BestWeights:
    step: int
    error_pct: float
    weights: dict[str, Tensor]


class RunSession:
    """Session of a run in this process."""

    def __init__(
        self,
        directory: RunDirectory,
        file: RunFile,
        dataset: Dataset,
        placement: Placement,
        device: torch.device,
        world: World,
        image_cache: DeviceImageCache,
    ) -> None:
        self.directory, self.file, self.dataset, self.placement = (
            directory,
            file,
            dataset,
            placement,
        )
        self.world = world
        run, self.recipe = file.run, recipe_of(file)
        self.state = ScratchTrainState(
            run.model,
            self.recipe,
            run.numerics,
            run.seed,
            dataset.train,
            len(dataset.classes),
            device,
            world,
        )
        self.train = image_cache.get(dataset.train, device)
        self.splits: dict[Split, DeviceImages] = {
            "train": _train_subset(dataset.train, run.data.split_seed, device)
        }
        if dataset.validation is not None:
            self.splits["validation"] = image_cache.get(dataset.validation, device)
        self.test = image_cache.get(dataset.test, device)
        if run.data.test_curve:
            self.splits["test"] = self.test
        profiled = placement.profile and world.is_main_process
        self.phases = (
            RunProfiler(self.state, directory.path / PROFILE) if profiled else NullProfiler()
        )
        self.best: _BestWeights | None = None
        self.eager_reason = ""  # reason for eager steps, as last written to provenance.jsonl
        self.latest_results: dict[Split, EvalResult] = {}
        self.train_seconds = self.evaluation_seconds = (
            0.0  # of earlier sessions, and of evaluations in this one
        )
        self.images_processed = 0

    def run(
        self,
        should_stop: Callable[[], bool],
        on_progress: ProgressCallback,
        from_step: int | None,
        *,
        yield_each_step: bool,
    ) -> Generator[None, None, Result | None]:
        """Train from the checkpoint on and return the result, or None if the training was ended."""
        if self.world.is_main_process:
            self._restore(from_step)
        self._broadcast_state()
        steps = self.phases.wrap_steps(build_steps(self.state, self.train))
        saved, base_seconds, base_images = (
            time.monotonic(),
            self.train_seconds,
            self.images_processed,
        )
        for progress in train(self.state, steps, should_stop, yield_every_step=yield_each_step):
            if progress.kind == "step":
                yield
                continue
            self.train_seconds, self.images_processed = (
                base_seconds + progress.seconds,
                base_images + progress.images_processed,
            )
            evaluations: tuple[Evaluation, ...] = ()
            if progress.kind in ("start", "epoch"):
                with self.phases.phase("evaluation"):
                    evaluations = self._evaluate(progress)
            if self.world.is_main_process:
                self.directory.append_metrics(*evaluations)
                if progress.epoch in self.file.diagnostics.gradient_norms:
                    self._save_gradient_norms()
                on_progress(progress, evaluations)
                self._log_eager_reason()
            waited = time.monotonic() - saved
            should_save = {
                "start": False,
                "tick": waited >= self.placement.max_checkpoint_seconds,
                "epoch": waited >= self.placement.checkpoint_seconds
                and progress.step < progress.total_steps,
                "interrupted": progress.step > 0,
            }[progress.kind]
            # Check this before saving, so that no checkpoint contains a value that is not finite.
            # Several processes end
            # together at the end of an epoch, because they have different clocks for the other
            # checkpoints.
            bad_step = self._nonfinite_step() if should_save or progress.kind == "epoch" else None
            if bad_step is not None and (self.world.size == 1 or progress.kind == "epoch"):
                return self._commit_diverged(bad_step) if self.world.is_main_process else None
            if should_save and bad_step is None and self.world.is_main_process:
                with self.phases.phase("checkpoints"):
                    self._save_checkpoint()
                saved = time.monotonic()
            if progress.kind == "interrupted":
                return None
            if yield_each_step:
                yield
        return self._finish()

    def _restore(self, from_step: int | None) -> None:
        steps = saved_steps(self.directory.checkpoints)
        step = from_step if from_step is not None else max(steps, default=0)
        path = str(self.directory.path)
        if step and step not in steps:
            available = ", ".join(map(str, steps)) or "none"
            raise input_error(
                path,
                f"no checkpoint of step {step}",
                "--from-step 0 starts again",
                allowed=available,
            )
        if step:
            checkpoint = load_checkpoint(self.directory.checkpoints, step)
            facts = checkpoint.metadata
            if facts["torch"] != torch_version():
                fix = (
                    f"install torch {facts['torch']}, or "
                    f"{resume_command(path, '--from-step', '0')} to "
                    "start again"
                )
                raise input_error(
                    path,
                    f"torch: the checkpoint has {facts['torch']}, here is {torch_version()}",
                    fix,
                )
            self.state.load_state_dict(checkpoint.tensors["state"], step)
            self.train_seconds, self.images_processed = facts["train_seconds"], facts["images"]
            self.evaluation_seconds = facts["evaluation_seconds"]
            if "best" in checkpoint.tensors:
                self.best = _BestWeights(
                    facts["best"]["step"], facts["best"]["error_pct"], checkpoint.tensors["best"]
                )
        delete_after(self.directory.checkpoints, step)
        self.directory.truncate_metrics(step if step else -1)
        run = self.file.run
        self.eager_reason = graph_blocker(self.state)
        extra = (
            {"steps": f"plain: {self.eager_reason}" if self.eager_reason else "captured"}
            if run.numerics.device == "cuda"
            else {}
        )
        self.directory.log_event(
            provenance_event(
                "resume" if step else "start", step, run.numerics, run.data.sha256, **extra
            )
        )

    def _log_eager_reason(self) -> None:
        """Write the reason to provenance.jsonl if CUDA graphs were given up for eager steps."""
        if self.state.eager_reason != self.eager_reason:
            self.eager_reason = self.state.eager_reason
            self.directory.log_event(
                {
                    "event": "plain steps",
                    "time": utc_now(),
                    "step": self.state.step,
                    "reason": self.eager_reason,
                }
            )

    def _broadcast_state(self) -> None:
        """Send the restored state of the first process to all other processes."""
        if self.world.size == 1:
            return
        first_state = self.state.state_dict(), self.state.step, self.best
        tensors, step, self.best = self.world.broadcast(first_state)
        self.state.load_state_dict(tensors, step)

    def _evaluate(self, progress: TrainEvent) -> tuple[Evaluation, ...]:
        start = time.monotonic()
        self.latest_results = {
            name: self._evaluate_split(images) for name, images in self.splits.items()
        }
        self.evaluation_seconds += time.monotonic() - start
        validation = self.latest_results.get("validation")
        if self.recipe.select == "best" and validation is not None and progress.kind == "epoch":
            better = self.best is None or validation.top1_error_pct < self.best.error_pct
            if better and validation.is_finite:
                weights = {
                    name: t.detach().clone() for name, t in self.state.eval_state_dict().items()
                }
                self.best = _BestWeights(progress.step, validation.top1_error_pct, weights)
        lines = [
            _evaluation(progress, name, scored.loss_nats, scored.top1_error_pct, self.train_seconds)
            for name, scored in self.latest_results.items()
        ]
        if progress.kind == "epoch":
            lines.append(
                _evaluation(
                    progress, "train epoch", *self.state.train_metrics(), self.train_seconds
                )
            )
        return tuple(lines)

    def _save_gradient_norms(self) -> None:
        """Save the gradient norms of the layers.

        If memory is exhausted, continue training without them.
        """
        start = time.monotonic()
        try:
            self.directory.save_gradient_norms(measure_gradients(self.state, self.train))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self.evaluation_seconds += time.monotonic() - start

    def _evaluate_split(self, images: DeviceImages) -> EvalResult:
        return evaluate(self.state.model, self.state.forward, images, self.world)

    def _nonfinite_step(self) -> int | None:
        bad_step = self.state.first_nonfinite_step()
        if bad_step is None and not all(
            scored.is_finite for scored in self.latest_results.values()
        ):
            bad_step = self.state.step
        return bad_step

    def _save_checkpoint(self) -> None:
        facts = {
            "step": self.state.step,
            "torch": torch_version(),
            "train_seconds": self.train_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "images": self.images_processed,
        }
        tensors = {"state": self.state.state_dict()}
        if self.best is not None:
            facts["best"] = {"step": self.best.step, "error_pct": self.best.error_pct}
            tensors["best"] = self.best.weights
        save_checkpoint(self.directory.checkpoints, Checkpoint(tensors, facts))

    def _commit_diverged(self, step: int) -> Result:
        return self._commit(
            "diverged", f"the loss or a weight is not finite at step {step}", step, {}
        )

    def _finish(self) -> Result | None:
        scores = dict(self.latest_results)
        if self.best is not None and self.best.step != self.state.step:
            self.state.ema_weights = []
            self.state.model.load_state_dict(self.best.weights)
            scores = {}
        start = time.monotonic()
        splits: dict[Split, DeviceImages] = {**self.splits, "test": self.test}
        with self.phases.phase("evaluation"):
            scores |= {
                name: self._evaluate_split(images)
                for name, images in splits.items()
                if name not in scores
            }
        self.evaluation_seconds += time.monotonic() - start
        if not self.world.is_main_process:
            return None
        if not all(scored.is_finite for scored in scores.values()):
            return self._commit_diverged(self.state.step)
        status, reason = self._status(scores["test"])
        self._write_outputs(scores["test"])
        if self.file.diagnostics.ablate_blocks:
            self.directory.save_block_ablation(ablate_blocks(self.state, self.test))
        return self._commit(status, reason, self.state.step, scores)

    def _status(self, test: EvalResult) -> tuple[Status, str]:
        """Return the status and its reason: at chance if no evaluation of that split rose above
        chance.
        """
        watched: Split = "validation" if "validation" in self.splits else "test"
        errors = [line.top1_error_pct for line in self.directory.metrics() if line.split == watched]
        errors = errors or [
            test.top1_error_pct
        ]  # no split was evaluated each epoch: one evaluation, at the end
        images = len(self.splits.get(watched, self.test))
        best = 100 - min(errors)
        if is_at_chance(best, self.file.class_share, images, len(errors)):
            return (
                "at chance",
                f"never above chance: at best {best:.1f} % of {images:,} {watched} images",
            )
        return "trained", ""

    def _write_outputs(self, test: EvalResult) -> None:
        how, fitted = export_normalizer(self.state.normalizer)
        side, crop = self.dataset.image_size, self.recipe.augment.crop
        description = {
            "model": encode(self.file.run.model),
            "classes": self.file.classes,
            "channels": self.dataset.channels,
            "side": crop or side,
            **({"resize": side} if crop else {}),
            **how,
            "run": self.directory.path.name,
        }
        metadata = {"resnetlab": json.dumps(description)}
        tensors = self.state.eval_state_dict() | {
            f"{NORMALIZER_PREFIX}{name}": tensor for name, tensor in fitted.items()
        }
        write_tensors(self.directory.path / "weights.safetensors", tensors, metadata)
        outputs = {"logits": test.logits, "labels": self.test.labels}
        write_tensors(self.directory.path / "logits-test.safetensors", outputs)

    def _commit(
        self, status: Status, reason: str, step: int, scores: dict[Split, EvalResult]
    ) -> Result:
        sizes = {
            "train": len(self.splits["train"]),
            "validation": len(self.splits.get("validation", ())),
            "test": len(self.test),
        }
        split_scores = {
            name: Scores(
                images=sizes[name],
                loss_nats=scored.loss_nats,
                top1_error_pct=scored.top1_error_pct,
                top5_error_pct=scored.top5_error_pct,
            )
            for name, scored in scores.items()
        }
        weights = self.directory.path / "weights.safetensors"
        result = Result(
            schema=SCHEMA,
            status=status,
            reason=reason,
            step=step,
            selected_step=self.best.step if self.best else step,
            train=split_scores.get("train"),
            validation=split_scores.get("validation"),
            test=split_scores.get("test"),
            train_seconds=round(self.train_seconds, 3),
            evaluation_seconds=round(self.evaluation_seconds, 3),
            images_per_second=round(self.images_processed / self.train_seconds, 1)
            if self.train_seconds
            else 0.0,
            weights_sha256=sha256(weights) if scores else "",
        )
        self.directory.commit(result)
        return result


def _train_subset(images: LabeledImages, split_seed: int, device: torch.device) -> DeviceImages:
    """Draw the fixed subset of the train split for evaluation: a twentieth, 500 to 5,000 images."""
    count = min(len(images), max(500, min(5_000, len(images) // 20)))
    indices = (
        torch.randperm(len(images), generator=make_generator(split_seed, "train subset"))[:count]
        .sort()
        .values.numpy()
    )
    return DeviceImages.from_images(
        LabeledImages(images.pixels[indices], images.labels[indices]), device
    )


def _evaluation(
    progress: TrainEvent,
    split: Split | Literal["train epoch"],
    loss: float,
    error: float,
    seconds: float,
) -> Evaluation:
    finite = loss if abs(loss) < float("inf") else None  # false for nan too
    return Evaluation(
        step=progress.step,
        epoch=round(progress.epoch, 6),
        split=split,
        loss_nats=finite,
        top1_error_pct=error,
        seconds=round(seconds, 3),
    )
