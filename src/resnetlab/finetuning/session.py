"""Fine-tuning run of a study: train the stages, then test the weights of the best one once."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import torch

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.errors import Problem, input_error
from resnetlab.finetuning.dataset import PhotoDataset
from resnetlab.finetuning.evaluation import accuracy_estimate, predict_photos
from resnetlab.finetuning.job import FinetuneJob
from resnetlab.finetuning.network.backbones import Backbone
from resnetlab.finetuning.network.stored_backbone import store_backbone, without_backbone
from resnetlab.finetuning.pipeline import run_stages
from resnetlab.finetuning.stage.stage_cache import StageCache, StageLockedError
from resnetlab.finetuning.stage.train_stage import StageCallbacks, StageResult
from resnetlab.messages import format_count
from resnetlab.model_folder.licenses import find_license
from resnetlab.models.photo_predictions import NonFiniteOutputsError, SplitPredictions
from resnetlab.runs.attempt import RunAttempt
from resnetlab.runs.kinds import is_fine_tuning
from resnetlab.runs.lifecycle import RunLockedError, check_world_size, locked_run
from resnetlab.runs.outputs import write_outputs
from resnetlab.runs.paths import WEIGHTS
from resnetlab.runs.provenance import provenance_event
from resnetlab.runs.records import Evaluation, Result, Scores, Status
from resnetlab.runs.run_folder import RunFolder
from resnetlab.runs.writer import commit_result
from resnetlab.schema import encode
from resnetlab.stats.chance import (
    compare_with_chance,
    largest_class_share,
    status_from_chance,
)
from resnetlab.training.evaluate import MAX_CLASSES_WITHOUT_TOP5
from resnetlab.training.events import TrainEvent

WAIT_SECONDS = 20.0
"""Time to wait for a stage that another worker trains before this worker does another run first."""


def run_finetune_attempt(
    attempt: RunAttempt, photos: PhotoDataset
) -> Generator[None, None, Result | None]:
    """Train a fine-tuning run. A finished run is read, not run again.

    The run continues after its last finished stage. Finished stages are cached under
    `root`/cache/stages and shared by all runs. The value of the generator and the errors are those
    of `runs.session.run_attempt`, with two differences: RunLockedError is also raised while another
    process trains a stage of the run, and the generator does not yield to the runs that share the
    device.
    """
    file, from_step, world = attempt.file, attempt.from_step, attempt.world
    run_folder = RunFolder.find(attempt.root, attempt.run_id)
    check_world_size(file, world, run_folder)
    if from_step:
        message = "a run of fine-tuning goes on from its stages, not from a step"
        raise input_error(str(run_folder.path), message, "leave --from-step out", got=from_step)
    if attempt.placement.profile:
        raise input_error(
            str(run_folder.path), "a run of fine-tuning is not profiled", "leave --profile out"
        )
    yield from ()
    with locked_run(run_folder, file, photos.identity, world, attempt.shares_device) as run:
        if run.result is None:
            run.result = world.broadcast(FinetuneSession(run_folder, attempt, photos).run())
    return run.result


@dataclass(frozen=True)
class _SelectedStage:
    """Stage with the best accuracy on validation so far."""

    predictions: SplitPredictions
    """Predictions on validation."""
    step: int
    """Step of its best epoch."""
    weights: dict[str, torch.Tensor]


class FinetuneSession:
    """Session of a fine-tuning run in this process."""

    def __init__(self, run_folder: RunFolder, attempt: RunAttempt, photos: PhotoDataset) -> None:
        run = attempt.file.run
        assert is_fine_tuning(run.recipe), run.recipe
        self.run_folder, self.attempt, self.photos = run_folder, attempt, photos
        self.file, self.world, self.recipe = attempt.file, attempt.world, run.recipe
        backbone = Backbone(run.model, None, find_license(run.model), "")
        device_index = attempt.placement.device_index
        self.job = FinetuneJob(photos, backbone, run.recipe, run.seed, run.numerics, device_index)
        self.finetune_model = self.job.setup_model(self.world)
        self.device = self.finetune_model.device
        self.cache = StageCache(attempt.root / "cache" / "stages", WAIT_SECONDS)
        self.transform = self.finetune_model.eval_transform(
            run.recipe.test_size, run.recipe.crop_mode
        )
        self.weights_path = run_folder.path / WEIGHTS
        self.backbone_sha256 = store_backbone(self.finetune_model, run.recipe, self.weights_path)
        self.started = False
        self.total_steps = run.recipe.total_steps(len(photos.train))
        # Sums over the finished stages.
        self.num_stages, self.step, self.epoch, self.seconds = 0, 0, 0.0, 0.0
        self.selected: _SelectedStage | None = None

    def run(self) -> Result | None:
        """Train the stages and return the result, or None after a stop."""
        try:
            callbacks = StageCallbacks(self.attempt.should_stop, on_event=self._on_event)
            for result, predictions in run_stages(
                self.job, self.finetune_model, self.cache, callbacks=callbacks
            ):
                if not result.complete:
                    return None
                if result.diverged:
                    return self._commit_diverged(result)
                self._log_start()
                self._select_if_best(predictions, self._append_metrics(result))
                self.num_stages += 1
            if self.num_stages < len(self.recipe.stages):
                return None
            assert self.selected, "a recipe has a stage at least"
            self.finetune_model.model.load_state_dict(self.selected.weights)
            return self._finish(self.selected.predictions)
        except NonFiniteOutputsError as error:
            return self._commit("diverged", error.problems[0].message, {})
        except StageLockedError:
            if self.attempt.should_stop():
                return None
            message = "another process computes a stage of this run"
            problem = Problem(str(self.run_folder.path), message, "wait for it")
            raise RunLockedError(problem) from None

    def _commit_diverged(self, result: StageResult) -> Result | None:
        """Write the evaluations before a loss that is not finite, and the result of the run."""
        reason = "at any of its rates"
        if result.epochs:
            self._log_start()
            self._append_metrics(result)
            reason = f"after epoch {result.epochs[-1].epoch} at the learning rate {result.lr:g}"
        return self._commit("diverged", f"{result.stage}: the loss is not finite {reason}", {})

    def _on_event(self, event: TrainEvent) -> None:
        """Report the progress of a stage as progress of the run."""
        self._log_start()
        event = replace(
            event,
            kind="tick",
            step=min(self.total_steps, self.step + event.step),
            epoch=self.epoch + event.epoch,
            total_steps=self.total_steps,
        )
        self.attempt.on_progress(event, ())

    def _select_if_best(self, predictions: SplitPredictions, step: int) -> None:
        """Select the stage that was trained last if its accuracy on validation is the highest."""
        key = accuracy_estimate(predictions).selection_key
        if self.selected and key <= accuracy_estimate(self.selected.predictions).selection_key:
            return
        self.selected = _SelectedStage(predictions, step, self.finetune_model.clone_state())

    def _log_start(self) -> None:
        """Write the start of the session to provenance.jsonl, once this process has work to do.

        A session that only waits for a stage of another process is not recorded.
        """
        if self.started or not self.world.is_main_process:
            return
        self.started = True
        record, run = self.run_folder.record(), self.file.run
        lines = record.provenance if record else ()
        event = "resume" if any(line.get("event") == "start" for line in lines) else "start"
        digest = self.run_folder.run_file_sha256()
        self.run_folder.log_event(
            provenance_event(event, 0, run.numerics, run.data.sha256, run_file_sha256=digest)
        )
        self.run_folder.discard_after(-1)

    def _append_metrics(self, result: StageResult) -> int:
        """Write the evaluations of a stage, and return the step of its best epoch."""
        stage = next(stage for stage in self.recipe.resolved_stages if stage.name == result.stage)
        steps = stage.recipe.steps_per_epoch(len(self.photos.train))
        lines = []
        for epoch in result.epochs:
            evaluation = Evaluation(
                step=self.step + epoch.step,
                epoch=self.epoch + epoch.step / steps,
                split="validation",
                loss_nats=epoch.loss_nats,
                top1_error_pct=100 - epoch.accuracy_pct,
                seconds=round(self.seconds + epoch.seconds, 3),
            )
            loss, error = epoch.train_metrics
            lines += [
                evaluation,
                replace(evaluation, split="train epoch", loss_nats=loss, top1_error_pct=error),
            ]
        best_step = self.step + result.best.step
        self.step, self.epoch = lines[-1].step, lines[-1].epoch
        self.seconds += result.seconds
        if self.world.is_main_process:
            self.run_folder.append_metrics(*lines)
            images = round(self.epoch * len(self.photos.train))
            event = TrainEvent(
                "epoch", self.step, self.total_steps, self.epoch, images, self.seconds
            )
            self.attempt.on_progress(event, tuple(lines))
        return best_step

    def _finish(self, validation: SplitPredictions) -> Result | None:
        """Predict the test images, write the weights and outputs, and commit the result."""
        start = time.monotonic()
        test = predict_photos(
            self.finetune_model.model,
            self.photos.test,
            self.transform,
            self.device,
            self.recipe.crops,
        )
        seconds = time.monotonic() - start
        if not self.world.is_main_process:
            return None
        self._write_outputs(test)
        scored = {"validation": validation, "test": test}
        errors = [
            line.top1_error_pct for line in self.run_folder.metrics() if line.split == "validation"
        ]
        count, best = len(self.photos.validation), 100 - min(errors)
        reached = 100 * float(test.correct.mean())
        share = largest_class_share(self.photos.validation.labels)
        # A small folder has too few validation images to show that a good network is above chance:
        # test decides too.
        chance = compare_with_chance(
            best,
            share,
            count,
            len(errors),
            (test.labels, test.predicted),
            test_class_share=self.file.class_share,
            use_test_split=True,
        )
        numbers = (
            f"at best {best:.1f} % of {count:,} validation images, {reached:.1f} % of "
            f"{format_count(len(self.photos.test), 'test image')}"
        )
        return self._commit(*status_from_chance(chance, numbers), scored, seconds)

    def _write_outputs(self, test: SplitPredictions) -> None:
        """Write the weights and the logits of the test images into the folder of the run."""
        weights_license = self.job.backbone.license
        description: dict[str, object] = {
            "model": encode(self.file.run.identity.model),
            "classes": self.photos.classes,
            "eval_transform": encode(self.transform),
            **_transform_metadata(self.transform),
            "license": weights_license.name,
            "caveats": self.job.caveats,
            "run": self.run_folder.path.name,
        }
        logits = torch.from_numpy(np.log(np.maximum(test.probabilities, 1e-300))).float()
        weights, labels = self.finetune_model.model.state_dict(), torch.from_numpy(test.labels)
        if self.backbone_sha256:
            weights = without_backbone(weights, self.backbone_sha256, self.weights_path)
            description["backbone"] = self.backbone_sha256
        write_outputs(self.run_folder.path, description, weights, logits, labels)

    def _commit(
        self,
        status: Status,
        reason: str,
        predictions: dict[str, SplitPredictions],
        evaluation_seconds: float = 0.0,
    ) -> Result | None:
        """Write the result, which ends the run. Only the main process writes and returns it."""
        if not self.world.is_main_process:
            return None
        return commit_result(
            self.run_folder,
            status,
            reason,
            step=self.step,
            selected_step=self.selected.step if self.selected else self.step,
            scores={name: _to_scores(part) for name, part in predictions.items()},
            train_seconds=self.seconds,
            evaluation_seconds=evaluation_seconds,
            images_processed=self.epoch * len(self.photos.train),
        )


def _transform_metadata(transform: EvalTransform) -> dict[str, object]:
    """Return the evaluation transform in the form of a file from training from scratch."""
    return {
        "channels": transform.channels,
        "side": transform.size,
        "mean": transform.mean,
        "std": transform.std,
    }


def _to_scores(predictions: SplitPredictions) -> Scores:
    estimate = accuracy_estimate(predictions)
    higher = predictions.probabilities > predictions.label_probabilities[:, None]
    beyond = higher.sum(1) >= 5
    return Scores(
        images=estimate.images,
        loss_nats=estimate.loss_nats,
        top1_error_pct=100 - estimate.accuracy_pct,
        top5_error_pct=100 * float(beyond.mean())
        if predictions.probabilities.shape[1] > MAX_CLASSES_WITHOUT_TOP5
        else None,
    )
