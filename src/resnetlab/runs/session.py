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

from resnetlab.data.config import Dataset, Images, Split
from resnetlab.data.device_images import Resident, Residents
from resnetlab.data.transforms.normalization import described
from resnetlab.errors import mistake
from resnetlab.files import sha256
from resnetlab.inspection.block_ablation import drop_blocks
from resnetlab.inspection.gradients import of_learner
from resnetlab.models.configs.bag_of_words import BagOfWords
from resnetlab.models.weights import SCALE
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.bag_of_words import execute_words
from resnetlab.runs.checkpoint import (
    Checkpoint,
    forget_after,
    load_checkpoint,
    save_checkpoint,
    saved_steps,
    torch_version,
    write_tensors,
)
from resnetlab.runs.config import SCHEMA
from resnetlab.runs.directory import PROFILE, RunDirectory
from resnetlab.runs.lifecycle import carried_out, same_processes
from resnetlab.runs.load import finished, recipe_of
from resnetlab.runs.provenance import now, provenance
from resnetlab.runs.records import Evaluation, Result, RunFile, Scores, Status
from resnetlab.schema import encode
from resnetlab.shell import resume_command
from resnetlab.stats.outcomes import is_dead
from resnetlab.training.cuda_graphs import steps_of, why_plain
from resnetlab.training.device import prepare
from resnetlab.training.distributed import ALONE, Team
from resnetlab.training.evaluate import Scored, evaluate
from resnetlab.training.interleave import take_turns
from resnetlab.training.loop import Progress, train
from resnetlab.training.memory import is_out_of_memory
from resnetlab.training.profiler import Phases, Profile
from resnetlab.training.rng import stream
from resnetlab.training.state import Learner

Say = Callable[[Progress, tuple[Evaluation, ...]], None]
"""Callback for each pause of the training loop, with the evaluations at that moment."""


def execute(
    run_id: str,
    file: RunFile,
    dataset: Dataset,
    root: Path,
    placement: Placement,
    stop: Callable[[], bool],
    say: Say,
    from_step: int | None = None,
    team: Team = ALONE,
) -> Result | None:
    """Run `attempt` to its end and return the result."""
    attempted = attempt(run_id, file, dataset, root, placement, stop, say, from_step, team)
    ((_, result),) = take_turns([attempted])
    return result


def attempt(
    run_id: str,
    file: RunFile,
    dataset: Dataset,
    root: Path,
    placement: Placement,
    stop: Callable[[], bool],
    say: Say,
    from_step: int | None = None,
    team: Team = ALONE,
    beside: Residents | None = None,
) -> Generator[None, None, Result | None]:
    """Train the run under `root`/runs and return its result, or None if `stop()` ended the training
    before.

    A finished run is read, not run again.

    Args:
        run_id: Id of the run, the name of its folder.
        file: Configuration of the run.
        dataset: Data of the run.
        root: Folder that contains `runs`.
        placement: Device index, workers and checkpoint interval.
        stop: Function that is asked between steps; the training ends with a checkpoint once it
            returns True.
        say: Callback for progress and evaluations.
        from_step: Step of the checkpoint to resume from (0: from the start); None for the last
            checkpoint.
        team: Processes that train the run together. The first one reads and writes the folder.
        beside: Data of other runs that share the device with this one. The generator then yields
            after each step.

    Raises:
        BusyError: Another process trains the run.
        CrowdedError: The memory is exhausted while other runs share the device. This is not a
            result of the run.
        InputError: The data or the number of processes differ from the run's, or a checkpoint is
            damaged.
        ResourceError: The disk is full.
    """
    directory = RunDirectory.of(root, run_id)
    _check_batch_size(file, len(dataset.train), team, directory)

    def training() -> Generator[None, None, Result | None]:
        if isinstance(file.run.model, BagOfWords):
            return execute_words(file.run.model, directory, file, dataset) if team.first else None
        device = prepare(file.run.numerics, placement.device_index)
        session = _Session(directory, file, dataset, placement, device, team, beside or Residents())
        with session.phases:
            return (yield from session.run(stop, say, from_step, turns=beside is not None))

    def again(
        result: Result,
    ) -> Result:  # the block ablation was requested after the run had finished
        opened = finished(directory, file, dataset)
        directory.save_dropped(drop_blocks(opened.learner, opened.test))
        return result

    return (
        yield from carried_out(
            directory, file, dataset.identity, training, team, again, beside is not None
        )
    )


def _check_batch_size(file: RunFile, images: int, team: Team, directory: RunDirectory) -> None:
    """Raise InputError if the run's batches are too small for its number of processes."""
    numerics, recipe = file.run.numerics, recipe_of(file)
    same_processes(file, team, directory)
    parts = numerics.ranks * numerics.accumulate
    least = min(
        recipe.batch_size, images - (recipe.steps_per_epoch(images) - 1) * recipe.batch_size
    )
    if parts > 1 and least // parts < 2:
        what = f"a batch of {least} images (of {images:,}) leaves a part of it without two images"
        raise mistake(
            "", what, "another batch size", field="recipe.batch_size", got=recipe.batch_size
        )


@dataclass
class _Best:
    step: int
    error_pct: float
    weights: dict[str, Tensor]


class _Session:
    """Session of a run in this process."""

    def __init__(
        self,
        directory: RunDirectory,
        file: RunFile,
        dataset: Dataset,
        placement: Placement,
        device: torch.device,
        team: Team,
        residents: Residents,
    ) -> None:
        self.directory, self.file, self.dataset, self.placement = (
            directory,
            file,
            dataset,
            placement,
        )
        self.team = team
        run, self.recipe = file.run, recipe_of(file)
        self.learner = Learner(
            run.model,
            self.recipe,
            run.numerics,
            run.seed,
            dataset.train,
            len(dataset.classes),
            device,
            team,
        )
        self.train = residents.of(dataset.train, device)
        self.splits: dict[Split, Resident] = {
            "train": _subset(dataset.train, run.data.split_seed, device)
        }
        if dataset.validation is not None:
            self.splits["validation"] = residents.of(dataset.validation, device)
        self.test = residents.of(dataset.test, device)
        if run.data.test_curve:
            self.splits["test"] = self.test
        profiled = placement.profile and team.first
        self.phases = Profile(self.learner, directory.path / PROFILE) if profiled else Phases()
        self.best: _Best | None = None
        self.plain = ""  # reason for eager steps, as last written to provenance.jsonl
        self.latest: dict[Split, Scored] = {}
        self.train_seconds = self.evaluation_seconds = (
            0.0  # of earlier sessions, and of evaluations in this one
        )
        self.images = 0

    def run(
        self, stop: Callable[[], bool], say: Say, from_step: int | None, *, turns: bool
    ) -> Generator[None, None, Result | None]:
        if self.team.first:
            self._restore(from_step)
        self._synchronize()
        steps = self.phases.timed(steps_of(self.learner, self.train))
        saved, base_seconds, base_images = time.monotonic(), self.train_seconds, self.images
        for progress in train(self.learner, steps, stop, turns=turns):
            if progress.moment == "turn":
                yield
                continue
            self.train_seconds, self.images = (
                base_seconds + progress.seconds,
                base_images + progress.images,
            )
            evaluations: tuple[Evaluation, ...] = ()
            if progress.moment in ("start", "epoch"):
                with self.phases.phase("evaluation"):
                    evaluations = self._evaluate(progress)
            if self.team.first:
                self.directory.append(*evaluations)
                if progress.epoch in self.file.instruments.gradients:
                    self._save_gradient_norms()
                say(progress, evaluations)
                self._note_plain()
            waited = time.monotonic() - saved
            should_save = {
                "start": False,
                "pulse": waited >= self.placement.longest_loss_seconds,
                "epoch": waited >= self.placement.checkpoint_seconds
                and progress.step < progress.total,
                "stopped": progress.step > 0,
            }[progress.moment]
            # Check this before saving, so that no checkpoint contains a value that is not finite.
            # Several processes end
            # together at the end of an epoch, because they have different clocks for the other
            # checkpoints.
            bad_step = self._diverged_at() if should_save or progress.moment == "epoch" else None
            if bad_step is not None and (self.team.size == 1 or progress.moment == "epoch"):
                return self._commit_diverged(bad_step) if self.team.first else None
            if should_save and bad_step is None and self.team.first:
                with self.phases.phase("checkpoints"):
                    self._save()
                saved = time.monotonic()
            if progress.moment == "stopped":
                return None
            if turns:
                yield
        return self._finish()

    def _restore(self, from_step: int | None) -> None:
        steps = saved_steps(self.directory.checkpoints)
        step = from_step if from_step is not None else max(steps, default=0)
        path = str(self.directory.path)
        if step and step not in steps:
            available = ", ".join(map(str, steps)) or "none"
            raise mistake(
                path, f"no checkpoint of step {step}", "--from 0 starts again", allowed=available
            )
        if step:
            checkpoint = load_checkpoint(self.directory.checkpoints, step)
            facts = checkpoint.facts
            if facts["torch"] != torch_version():
                fix = (
                    f"install torch {facts['torch']}, or {resume_command(path, '--from', '0')} to "
                    "start again"
                )
                raise mistake(
                    path,
                    f"torch: the checkpoint has {facts['torch']}, here is {torch_version()}",
                    fix,
                )
            self.learner.restore(checkpoint.tensors["state"], step)
            self.train_seconds, self.images = facts["train_seconds"], facts["images"]
            self.evaluation_seconds = facts["evaluation_seconds"]
            if "best" in checkpoint.tensors:
                self.best = _Best(
                    facts["best"]["step"], facts["best"]["error_pct"], checkpoint.tensors["best"]
                )
        forget_after(self.directory.checkpoints, step)
        self.directory.rewind(step if step else -1)
        run = self.file.run
        self.plain = why_plain(self.learner)
        extra = (
            {"steps": f"plain: {self.plain}" if self.plain else "captured"}
            if run.numerics.device == "cuda"
            else {}
        )
        self.directory.note(
            provenance("resume" if step else "start", step, run.numerics, run.data.sha256, **extra)
        )

    def _note_plain(self) -> None:
        """Write the reason to provenance.jsonl if CUDA graphs were given up for eager steps."""
        if self.learner.plain != self.plain:
            self.plain = self.learner.plain
            self.directory.note(
                {
                    "event": "plain steps",
                    "time": now(),
                    "step": self.learner.step,
                    "reason": self.plain,
                }
            )

    def _synchronize(self) -> None:
        """Send the restored state of the first process to all other processes."""
        if self.team.size == 1:
            return
        first_state = self.learner.tensors(), self.learner.step, self.best
        tensors, step, self.best = self.team.from_first(first_state)
        self.learner.restore(tensors, step)

    def _evaluate(self, progress: Progress) -> tuple[Evaluation, ...]:
        start = time.monotonic()
        self.latest = {name: self._score(images) for name, images in self.splits.items()}
        self.evaluation_seconds += time.monotonic() - start
        validation = self.latest.get("validation")
        if self.recipe.choose == "best" and validation is not None and progress.moment == "epoch":
            better = self.best is None or validation.top1_error_pct < self.best.error_pct
            if better and validation.finite:
                weights = {
                    name: t.detach().clone() for name, t in self.learner.judged_weights().items()
                }
                self.best = _Best(progress.step, validation.top1_error_pct, weights)
        lines = [
            _evaluation(progress, name, scored.loss_nats, scored.top1_error_pct, self.train_seconds)
            for name, scored in self.latest.items()
        ]
        if progress.moment == "epoch":
            lines.append(
                _evaluation(progress, "running", *self.learner.running(), self.train_seconds)
            )
        return tuple(lines)

    def _save_gradient_norms(self) -> None:
        """Save the gradient norms of the layers.

        If memory is exhausted, continue training without them.
        """
        start = time.monotonic()
        try:
            self.directory.save_gradients(of_learner(self.learner, self.train))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self.evaluation_seconds += time.monotonic() - start

    def _score(self, images: Resident) -> Scored:
        return evaluate(self.learner.model, self.learner.forward, images, self.team)

    def _diverged_at(self) -> int | None:
        bad_step = self.learner.first_bad_step()
        if bad_step is None and not all(scored.finite for scored in self.latest.values()):
            bad_step = self.learner.step
        return bad_step

    def _save(self) -> None:
        facts = {
            "step": self.learner.step,
            "torch": torch_version(),
            "train_seconds": self.train_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "images": self.images,
        }
        tensors = {"state": self.learner.tensors()}
        if self.best is not None:
            facts["best"] = {"step": self.best.step, "error_pct": self.best.error_pct}
            tensors["best"] = self.best.weights
        save_checkpoint(self.directory.checkpoints, Checkpoint(tensors, facts))

    def _commit_diverged(self, step: int) -> Result:
        return self._commit(
            "diverged", f"the loss or a weight is not finite at step {step}", step, {}
        )

    def _finish(self) -> Result | None:
        scores = dict(self.latest)
        if self.best is not None and self.best.step != self.learner.step:
            self.learner.average = []
            self.learner.model.load_state_dict(self.best.weights)
            scores = {}
        start = time.monotonic()
        splits: dict[Split, Resident] = {**self.splits, "test": self.test}
        with self.phases.phase("evaluation"):
            scores |= {
                name: self._score(images) for name, images in splits.items() if name not in scores
            }
        self.evaluation_seconds += time.monotonic() - start
        if not self.team.first:
            return None
        if not all(scored.finite for scored in scores.values()):
            return self._commit_diverged(self.learner.step)
        status, reason = self._status(scores["test"])
        self._write_outputs(scores["test"])
        if self.file.instruments.drop_blocks:
            self.directory.save_dropped(drop_blocks(self.learner, self.test))
        return self._commit(status, reason, self.learner.step, scores)

    def _status(self, test: Scored) -> tuple[Status, str]:
        """Return the status and its reason: dead if no evaluation of the watched split was above
        chance.
        """
        watched: Split = "validation" if "validation" in self.splits else "test"
        errors = [line.top1_error_pct for line in self.directory.metrics() if line.split == watched]
        errors = errors or [
            test.top1_error_pct
        ]  # no split was evaluated each epoch: one evaluation, at the end
        images = len(self.splits.get(watched, self.test))
        best = 100 - min(errors)
        if is_dead(best, self.file.class_share, images, len(errors)):
            return (
                "dead",
                f"never above chance: at best {best:.1f} % of {images:,} {watched} images",
            )
        return "converged", ""

    def _write_outputs(self, test: Scored) -> None:
        how, fitted = described(self.learner.scale)
        side, crop = self.dataset.side, self.recipe.augment.crop
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
        tensors = self.learner.judged_weights() | {
            f"{SCALE}{name}": tensor for name, tensor in fitted.items()
        }
        write_tensors(self.directory.path / "weights.safetensors", tensors, metadata)
        outputs = {"logits": test.logits, "labels": self.test.labels}
        write_tensors(self.directory.path / "logits-test.safetensors", outputs)

    def _commit(
        self, status: Status, reason: str, step: int, scores: dict[Split, Scored]
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
            chosen_step=self.best.step if self.best else step,
            train=split_scores.get("train"),
            validation=split_scores.get("validation"),
            test=split_scores.get("test"),
            train_seconds=round(self.train_seconds, 3),
            evaluation_seconds=round(self.evaluation_seconds, 3),
            images_per_second=round(self.images / self.train_seconds, 1)
            if self.train_seconds
            else 0.0,
            weights_sha256=sha256(weights) if scores else "",
        )
        self.directory.commit(result)
        return result


def _subset(images: Images, split_seed: int, device: torch.device) -> Resident:
    """Draw the fixed subset of the train split for evaluation: a twentieth, 500 to 5,000 images."""
    count = min(len(images), max(500, min(5_000, len(images) // 20)))
    indices = (
        torch.randperm(len(images), generator=stream(split_seed, "train subset"))[:count]
        .sort()
        .values.numpy()
    )
    return Resident.of(Images(images.pixels[indices], images.labels[indices]), device)


def _evaluation(
    progress: Progress, split: Split | Literal["running"], loss: float, error: float, seconds: float
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
