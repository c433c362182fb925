"""Training session of a run, from its start or last checkpoint to its result.

Writes all files of the run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from typing import Any

from torch import Tensor

from resnetlab.data.config import Dataset
from resnetlab.data.device_images import DeviceImageCache
from resnetlab.data.transforms.normalization import export_normalizer
from resnetlab.errors import input_error
from resnetlab.inspection.gradients import measure_gradients
from resnetlab.models.tensorfile import NORMALIZER_PREFIX
from resnetlab.models.weights import check_finite
from resnetlab.runs.attempt import RunAttempt
from resnetlab.runs.checkpoint import (
    Checkpoint,
    delete_after,
    load_checkpoint,
    save_checkpoint,
    torch_version,
)
from resnetlab.runs.evaluator import BestWeights, RunEvaluator
from resnetlab.runs.kinds import from_scratch_recipe
from resnetlab.runs.lifecycle import check_world_size, locked_run
from resnetlab.runs.load import load_run
from resnetlab.runs.measure_missing import log_measurement_out_of_memory, measure_missing
from resnetlab.runs.outputs import write_outputs
from resnetlab.runs.paths import saved_steps
from resnetlab.runs.provenance import provenance_event
from resnetlab.runs.records import Evaluation, Result, RunFile, Scores, Status
from resnetlab.runs.run_folder import PROFILE, RunFolder, utc_now
from resnetlab.runs.writer import commit_result
from resnetlab.schema import encode
from resnetlab.shell import resume_command
from resnetlab.training.device import setup_device
from resnetlab.training.events import TrainEvent, train_events
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.make_step import find_eager_reason, make_step
from resnetlab.training.profiler import NullProfiler, RunProfiler


def run_attempt(attempt: RunAttempt, dataset: Dataset) -> Generator[None, None, Result | None]:
    """Train a run on its data. A finished run is read, not run again.

    Yields after each step if other runs share the device, so that they can take one too.

    Returns:
        The result of the run, or None if it was stopped. It is the value of the generator.

    Raises:
        RunLockedError: Another process trains the run.
        SharedDeviceOutOfMemoryError: The memory is exhausted while other runs share the device.
            This is not a result of the run.
        InputError: The data or the number of processes differ from the run's, or a checkpoint is
            damaged.
        ResourceError: The disk is full.
    """
    file, world, shares_device = attempt.file, attempt.world, attempt.shares_device
    run_folder = RunFolder.find(attempt.root, attempt.run_id)
    check_world_size(file, world, run_folder)
    _check_batch_size(file, len(dataset.train))
    with locked_run(run_folder, file, dataset.identity, world, shares_device) as run:
        if run.result is None:
            session = RunSession(run_folder, attempt, dataset)
            with session.profiler:
                run.result = world.broadcast((yield from session.run()))
            if run.lacks_measurements():
                measure_missing(run_folder, file, session.train_images, session.evaluator)
        elif run.lacks_measurements():
            loaded = load_run(run_folder, file, dataset)
            evaluator = RunEvaluator(loaded.state, file, dataset, DeviceImageCache())
            measure_missing(run_folder, file, loaded.train_images(), evaluator)
    return run.result


def _check_batch_size(file: RunFile, num_train_images: int) -> None:
    """Raise InputError if a batch is too small for the run's processes and microbatches."""
    numerics, recipe = file.run.numerics, from_scratch_recipe(file.run.recipe, file.data_name)
    parts = numerics.world_size * numerics.grad_accum_steps
    smallest = recipe.smallest_batch(num_train_images)
    if parts > 1 and smallest // parts < 2:
        problem = (
            f"a batch of {smallest} images (of {num_train_images:,}) is too small for {parts} "
            "microbatches of two images"
        )
        raise input_error(
            "",
            problem,
            f"--set recipe.batch_size={2 * parts}, or more",
            field="recipe.batch_size",
            got=recipe.batch_size,
        )


class RunSession:
    """Session of a run in this process, from its last checkpoint to its result or a stop."""

    def __init__(self, run_folder: RunFolder, attempt: RunAttempt, dataset: Dataset) -> None:
        self.run_folder, self.attempt, self.dataset = run_folder, attempt, dataset
        self.file, self.placement, self.world = attempt.file, attempt.placement, attempt.world
        file, run, world = attempt.file, attempt.file.run, attempt.world
        device = setup_device(run.numerics, attempt.placement.device_index)
        image_cache = attempt.shared_image_cache or DeviceImageCache()
        recipe = from_scratch_recipe(run.recipe, file.data_name)
        num_classes = len(dataset.classes)
        self.state = FromScratchState(
            run.model, recipe, run.numerics, run.seed, dataset.train, num_classes, device, world
        )
        self.train_images = image_cache.get(dataset.train, device)
        self.evaluator = RunEvaluator(self.state, file, dataset, image_cache)
        profiled = attempt.placement.profile and world.is_main_process
        self.profiler = (
            RunProfiler(self.state, run_folder.path / PROFILE) if profiled else NullProfiler()
        )
        self.logged_eager_reason = ""  # as last written to provenance.jsonl
        self.train_seconds, self.images_processed = 0.0, 0  # of earlier sessions too

    def run(self) -> Generator[None, None, Result | None]:
        """Train to the end and return the result, or None after a stop."""
        should_stop, yield_every_step = self.attempt.should_stop, self.attempt.shares_device
        if self.world.is_main_process:
            self._start_or_resume(self.attempt.from_step)
        self._broadcast_state()
        take_step = self.profiler.wrap_step(make_step(self.state, self.train_images))
        last_save, base_seconds = time.monotonic(), self.train_seconds
        base_images = self.images_processed
        events = train_events(self.state, take_step, should_stop, yield_every_step=yield_every_step)
        with contextlib.closing(events):
            for event in events:
                if event.kind == "step":
                    yield
                    continue
                self.train_seconds = base_seconds + event.seconds
                self.images_processed = base_images + event.images_processed
                self._evaluate_and_record(event)
                should_save = self._should_save(event, time.monotonic() - last_save)
                # Check this first, so that no checkpoint has a value that is not finite. Several
                # processes end together at the end of an epoch, because their clocks differ.
                if should_save or event.kind == "epoch":
                    bad_step = self.evaluator.first_nonfinite_step()
                    if bad_step is not None and (self.world.size == 1 or event.kind == "epoch"):
                        return self._commit_diverged(bad_step)
                    if should_save and bad_step is None and self.world.is_main_process:
                        with self.profiler.phase("checkpoints"):
                            self._save_checkpoint()
                        last_save = time.monotonic()
                if event.kind == "interrupted":
                    return None
                if yield_every_step:
                    yield
        return self._finish()

    def _should_save(self, event: TrainEvent, seconds: float) -> bool:
        """Return True if a checkpoint is due, `seconds` after the last one."""
        match event.kind:
            case "interrupted":
                return event.step > 0
            case "tick":
                return seconds >= self.placement.max_checkpoint_seconds
            case "epoch":
                due = seconds >= self.placement.checkpoint_seconds
                return due and event.step < event.total_steps
            case _:
                return False

    def _evaluate_and_record(self, event: TrainEvent) -> None:
        """Evaluate if an epoch ended, and write and report what is new."""
        evaluations: tuple[Evaluation, ...] = ()
        in_train_mode: tuple[Evaluation, ...] = ()
        if event.kind in ("start", "epoch"):
            with self.profiler.phase("evaluation"):
                evaluations = self.evaluator.evaluate(event, self.train_seconds)
                if self.file.diagnostics.train_mode and self.world.is_main_process:
                    in_train_mode = self.evaluator.evaluate_in_train_mode(event, self.train_seconds)
        if not self.world.is_main_process:
            return
        self.run_folder.append_metrics(*evaluations)
        self.run_folder.measurements.append_train_mode(*in_train_mode)
        if event.epoch in self.file.diagnostics.gradient_norms:
            self._save_gradient_norms()
        self.attempt.on_progress(event, evaluations)
        if self.state.eager_reason != self.logged_eager_reason:  # CUDA graphs were given up
            self.logged_eager_reason = self.state.eager_reason
            line = {"event": "eager steps", "time": utc_now()}
            self.run_folder.log_event(
                line | {"step": self.state.step, "reason": self.logged_eager_reason}
            )

    def _start_or_resume(self, from_step: int | None) -> None:
        """Resume the run from a checkpoint, by default the last one, or start it without one.

        What was written after the checkpoint is removed. Raises InputError if there is none of
        `from_step`, or if it does not continue this run with the same bits.
        """
        steps = saved_steps(self.run_folder.checkpoints)
        step = from_step if from_step is not None else max(steps, default=0)
        path = str(self.run_folder.path)
        if step and step not in steps:
            available = ", ".join(map(str, steps)) or "none"
            problem, fix = f"no checkpoint of step {step}", "--from-step 0 starts again"
            raise input_error(path, problem, fix, allowed=available)
        if step:
            checkpoint = load_checkpoint(self.run_folder.checkpoints, step)
            self._check_checkpoint(checkpoint, step)
            self._load_checkpoint(checkpoint, step)
        delete_after(self.run_folder.checkpoints, step)
        self.run_folder.discard_after(step if step else -1)
        self._log_start(step)

    def _check_checkpoint(self, checkpoint: Checkpoint, step: int) -> None:
        """Raise InputError unless the checkpoint continues this run with the same bits.

        It must have the same torch, run.json and metrics.jsonl, and finite values.
        """
        path, metadata = str(self.run_folder.path), checkpoint.metadata
        restart = resume_command(path, "--from-step", "0")
        if metadata["torch"] != torch_version():
            fix = f"install torch {metadata['torch']}, or {restart} to start again"
            problem = f"torch: the checkpoint has {metadata['torch']}, here is {torch_version()}"
            raise input_error(path, problem, fix)
        # A folder without the hash in its name is not compared with run.json when it is read.
        if metadata.get("run", self.file.run.hash) != self.file.run.hash:
            problem = "was edited: its config is not that of the checkpoints"
            fix = "restore the file, or start a run with this config by train or study run"
            raise input_error(str(self.run_folder.path / "run.json"), problem, fix)
        before = metadata.get("metrics_sha256")  # absent in older checkpoints
        if before not in (None, self.run_folder.metrics_sha256(step)):
            problem = f"changed since the checkpoint of step {step} was written"
            fix = f"restore it, or {restart} to start again"
            raise input_error(str(self.run_folder.path / "metrics.jsonl"), problem, fix)
        for name, tensors in checkpoint.tensors.items():
            check_finite(tensors, f"{self.run_folder.checkpoints / str(step)}/{name}")

    def _load_checkpoint(self, checkpoint: Checkpoint, step: int) -> None:
        """Restore the training state, the best weights and the sums of earlier sessions."""
        metadata = checkpoint.metadata
        self.state.load_state_dict(checkpoint.tensors["state"], step)
        self.train_seconds, self.images_processed = metadata["train_seconds"], metadata["images"]
        self.evaluator.seconds = metadata["evaluation_seconds"]
        if "best" in checkpoint.tensors:
            best = metadata["best"]
            self.evaluator.best = BestWeights(
                best["step"], best["error_pct"], checkpoint.tensors["best"]
            )

    def _log_start(self, step: int) -> None:
        """Write the start or the resumption of the run to provenance.jsonl."""
        run = self.file.run
        self.logged_eager_reason = find_eager_reason(self.state)
        extra = {"run_file_sha256": self.run_folder.run_file_sha256()}
        if run.numerics.device == "cuda":
            kind = f"eager: {self.logged_eager_reason}" if self.logged_eager_reason else "captured"
            extra = {"steps": kind, **extra}
        event = "resume" if step else "start"
        self.run_folder.log_event(
            provenance_event(event, step, run.numerics, run.data.sha256, **extra)
        )

    def _broadcast_state(self) -> None:
        """Send the restored state of the first process to all other processes."""
        if self.world.size == 1:
            return
        restored = self.state.state_dict(), self.state.step, self.evaluator.best
        tensors, step, self.evaluator.best = self.world.broadcast(restored)
        self.state.load_state_dict(tensors, step)

    def _save_gradient_norms(self) -> None:
        """Save the gradient norms of the layers. If they run out of memory, train without them."""
        start = time.monotonic()
        try:
            norms = measure_gradients(self.state, self.train_images)
            self.run_folder.measurements.save_gradient_norms(norms)
        except (MemoryError, RuntimeError) as error:
            log_measurement_out_of_memory(self.run_folder, error)
        self.evaluator.seconds += time.monotonic() - start

    def _save_checkpoint(self) -> None:
        """Save what a resumption needs: the training state, the best weights and the sums."""
        metadata = {
            "run": self.file.run.hash,
            "step": self.state.step,
            "torch": torch_version(),
            "train_seconds": self.train_seconds,
            "evaluation_seconds": self.evaluator.seconds,
            "images": self.images_processed,
            "metrics_sha256": self.run_folder.metrics_sha256(self.state.step),
        }
        tensors, best = {"state": self.state.state_dict()}, self.evaluator.best
        if best is not None:
            metadata["best"] = {"step": best.step, "error_pct": best.error_pct}
            tensors["best"] = best.weights
        save_checkpoint(self.run_folder.checkpoints, Checkpoint(tensors, metadata))

    def _finish(self) -> Result | None:
        """Evaluate the selected weights, write them and their outputs, and commit the result."""
        with self.profiler.phase("evaluation"):
            results = self.evaluator.evaluate_selected()
        if not self.world.is_main_process:
            return None
        if not all(result.is_finite for result in results.values()):
            return self._commit_diverged(self.state.step)
        test = results["test"]
        status, reason = self.evaluator.status(self.run_folder.metrics(), test)
        weights, description = self._export()
        labels = self.evaluator.test.labels
        write_outputs(self.run_folder.path, description, weights, test.logits, labels)
        scores = self.evaluator.scores(results)
        return self._commit(status, reason, self.state.step, scores)

    def _export(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the evaluated weights with the normalizer, and a description of the model."""
        normalization, fitted = export_normalizer(self.state.normalizer)
        side, crop = self.dataset.image_size, self.state.recipe.augment.crop
        description = {
            "model": encode(self.file.run.model),
            "classes": self.file.classes,
            "channels": self.dataset.channels,
            "side": crop or side,
            **({"resize": side} if crop else {}),
            **normalization,
            "run": self.run_folder.path.name,
        }
        weights = self.state.eval_state_dict() | {
            f"{NORMALIZER_PREFIX}{name}": tensor for name, tensor in fitted.items()
        }
        return weights, description

    def _commit_diverged(self, step: int) -> Result | None:
        """Write the result of a run whose loss or weights are not finite at `step`."""
        if not self.world.is_main_process:
            return None
        reason = f"the loss or a weight is not finite at step {step}"
        return self._commit("diverged", reason, step, {})

    def _commit(self, status: Status, reason: str, step: int, scores: dict[str, Scores]) -> Result:
        """Write the result, which ends the run."""
        best = self.evaluator.best
        return commit_result(
            self.run_folder,
            status,
            reason,
            step=step,
            selected_step=best.step if best else step,
            scores=scores,
            train_seconds=self.train_seconds,
            evaluation_seconds=self.evaluator.seconds,
            images_processed=self.images_processed,
        )
