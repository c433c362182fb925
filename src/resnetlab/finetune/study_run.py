"""Fine-tuning run of a study: train the stages, then test the weights of the best one once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from resnetlab.bundle.licences import licence_of
from resnetlab.data.device_images import Residents
from resnetlab.data.transforms.eval_transform import View
from resnetlab.errors import mistake
from resnetlab.files import sha256
from resnetlab.finetune.backbones import Backbone
from resnetlab.finetune.dataset import Photographs
from resnetlab.finetune.model import Subject
from resnetlab.finetune.pipeline import Job, caveats, look_of, merit, score, staged
from resnetlab.finetune.pipeline import Scores as Probabilities
from resnetlab.finetune.stage import Fitted
from resnetlab.finetune.stage_cache import Kept, TakenError
from resnetlab.recipes.finetune import Tuning
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.checkpoint import write_tensors
from resnetlab.runs.config import SCHEMA
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.lifecycle import BusyError, carried_out, same_processes
from resnetlab.runs.provenance import provenance
from resnetlab.runs.records import Evaluation, Result, RunFile, Scores, Status
from resnetlab.runs.session import Say
from resnetlab.schema import encode
from resnetlab.stats.outcomes import is_dead
from resnetlab.training.device import prepare
from resnetlab.training.distributed import ALONE, Team
from resnetlab.training.evaluate import FEW
from resnetlab.training.loop import Progress

WAIT_SECONDS = 20.0
"""Time to wait for a stage that another worker trains before this worker does another run first."""


def attempt_tuning(
    run_id: str,
    file: RunFile,
    photos: Photographs,
    root: Path,
    placement: Placement,
    stop: Callable[[], bool],
    say: Say,
    from_step: int | None = None,
    team: Team = ALONE,
    beside: Residents | None = None,
) -> Generator[None, None, Result | None]:
    """Train the fine-tuning run under `root`/runs and return its result, or None if `stop()` ended
    it before.

    The run continues after its last finished stage. Finished stages are cached under
    `root`/cache/stages and shared by all runs. A finished run is read, not run again. The arguments
    and errors are those of `attempt`, with two
    differences: BusyError is also raised while another process trains a stage of the run, and the
    generator does not yield to other runs `beside` it before it is finished.
    """
    directory = RunDirectory.of(root, run_id)
    same_processes(file, team, directory)
    if from_step:
        what = "a run of fine-tuning goes on from its stages, not from a step"
        raise mistake(str(directory.path), what, "leave --from out", got=from_step)
    if placement.profile:
        raise mistake(
            str(directory.path), "a run of fine-tuning is not profiled", "leave --profile out"
        )

    def fitting() -> Generator[None, None, Result | None]:
        yield from ()
        return _Session(directory, file, photos, root, placement, team).run(stop, say)

    return (
        yield from carried_out(
            directory, file, photos.identity, fitting, team, beside=beside is not None
        )
    )


class _Session:
    """Session of a fine-tuning run in this process."""

    def __init__(
        self,
        directory: RunDirectory,
        file: RunFile,
        photos: Photographs,
        root: Path,
        placement: Placement,
        team: Team,
    ) -> None:
        run = file.run
        assert isinstance(run.recipe, Tuning), run.recipe
        self.directory, self.file, self.photos, self.team, self.tuning = (
            directory,
            file,
            photos,
            team,
            run.recipe,
        )
        self.device = prepare(run.numerics, placement.device_index)
        self.subject = Subject(
            run.model, None, photos.classes, run.seed, run.numerics, self.device, team
        )
        backbone = Backbone(run.model, None, licence_of(run.model), "")
        self.job = Job(photos, backbone, run.recipe, run.seed, run.numerics)
        self.cache = Kept(root / "cache" / "stages", WAIT_SECONDS)
        self.view = self.subject.view(run.recipe.test_size, run.recipe.view)
        self.begun = False
        self.step, self.epoch, self.seconds = 0, 0.0, 0.0  # sums over the finished stages
        # Predictions of the best stage, and the step of its best epoch.
        self.chosen: tuple[Probabilities, int] | None = None

    def run(self, stop: Callable[[], bool], say: Say) -> Result | None:
        best: dict[str, torch.Tensor] = {}
        total, done = self.tuning.total_steps(len(self.photos.train)), 0

        def watch(progress: Progress) -> None:
            self._record_start()
            say(
                replace(
                    progress,
                    moment="pulse",
                    step=min(total, self.step + progress.step),
                    total=total,
                ),
                (),
            )

        try:
            for fitted, predictions in staged(
                self.job, self.subject, self.cache, stop=stop, watch=watch
            ):
                if not fitted.whole:
                    return None
                if fitted.diverged:
                    return self._commit(
                        "diverged",
                        f"{fitted.stage}: the loss is not finite at any of its rates",
                        {},
                    )
                self._record_start()
                step = self._record_stage(fitted, say, total)
                if self.chosen is None or merit(look_of(predictions)) > merit(
                    look_of(self.chosen[0])
                ):
                    self.chosen = predictions, step
                    best = {
                        name: tensor.detach().clone()
                        for name, tensor in self.subject.model.state_dict().items()
                    }
                done += 1
        except TakenError:
            if stop():
                return None
            what, fix = "another process computes a stage of this run", "wait for it"
            raise BusyError(mistake(str(self.directory.path), what, fix).problems[0]) from None
        if done < len(self.tuning.stages):
            return None
        self.subject.model.load_state_dict(best)
        assert self.chosen, "a recipe has a stage at least"
        return self._finish(self.chosen[0])

    def _record_start(self) -> None:
        """Write the start of the session to provenance.jsonl, once this process has work to do.

        A session that only waits for a stage of another process is not recorded.
        """
        if self.begun or not self.team.first:
            return
        self.begun = True
        record, run = self.directory.record(), self.file.run
        event = (
            "resume"
            if record and any(line.get("event") == "start" for line in record.provenance)
            else "start"
        )
        self.directory.note(provenance(event, 0, run.numerics, run.data.sha256))
        self.directory.rewind(-1)

    def _record_stage(self, fitted: Fitted, say: Say, total: int) -> int:
        """Write the evaluations of a stage, and return the step of its best epoch."""
        stage = next(stage for stage in self.tuning.due if stage.name == fitted.stage)
        steps = stage.recipe.steps_per_epoch(len(self.photos.train))
        total_steps = stage.recipe.total_steps(len(self.photos.train))
        lines, best_step = [], self.step
        for epoch in fitted.epochs:
            evaluation = Evaluation(
                step=self.step + min(total_steps, epoch.epoch * steps),
                epoch=self.epoch + epoch.epoch,
                split="validation",
                loss_nats=epoch.loss_nats,
                top1_error_pct=100 - epoch.accuracy_pct,
                seconds=round(self.seconds + epoch.seconds, 3),
            )
            loss, error = epoch.running
            lines += [
                evaluation,
                replace(evaluation, split="running", loss_nats=loss, top1_error_pct=error),
            ]
            best_step = evaluation.step if epoch.epoch == fitted.best.epoch else best_step
        self.step, self.epoch = lines[-1].step, lines[-1].epoch
        self.seconds += fitted.seconds
        if self.team.first:
            self.directory.append(*lines)
            images = round(self.epoch * len(self.photos.train))
            progress = Progress("epoch", self.step, total, self.epoch, images, self.seconds)
            say(progress, tuple(lines))
        return best_step

    def _finish(self, validation: Probabilities) -> Result | None:
        start = time.monotonic()
        test = score(
            self.subject.model, self.photos.test, self.view, self.device, self.tuning.crops
        )
        seconds = time.monotonic() - start
        if not self.team.first:
            return None
        self._write_outputs(test)
        scored = {"validation": validation, "test": test}
        errors = [
            line.top1_error_pct for line in self.directory.metrics() if line.split == "validation"
        ]
        count, best = len(self.photos.validation), 100 - min(errors)
        reached, share = 100 * float(test.right.mean()), self.file.class_share
        # A small folder has too few validation images to show that a good network is above chance:
        # test decides too.
        if is_dead(best, share, count, len(errors)) and is_dead(
            reached, share, len(self.photos.test), 1
        ):
            reason = (
                f"never above chance: at best {best:.1f} % of {count:,} validation images, "
                f"{reached:.1f} % of "
                f"{len(self.photos.test):,} test images"
            )
            return self._commit("dead", reason, scored, seconds)
        return self._commit("converged", "", scored, seconds)

    def _write_outputs(self, test: Probabilities) -> None:
        licence = self.job.backbone.licence
        description = {
            "model": encode(self.file.run.identity.model),
            "classes": self.photos.classes,
            "view": encode(self.view),
            **_sides(self.view),
            "licence": licence.name,
            "caveats": caveats(self.job),
            "run": self.directory.path.name,
        }
        metadata = {"resnetlab": json.dumps(description)}
        write_tensors(
            self.directory.path / "weights.safetensors", self.subject.model.state_dict(), metadata
        )
        logits = torch.from_numpy(np.log(np.maximum(test.probabilities, 1e-300))).float()
        outputs = {"logits": logits, "labels": torch.from_numpy(test.labels)}
        write_tensors(self.directory.path / "logits-test.safetensors", outputs)

    def _commit(
        self,
        status: Status,
        reason: str,
        scored: dict[str, Probabilities],
        evaluation_seconds: float = 0.0,
    ) -> Result:
        split_scores = {name: _scores(part) for name, part in scored.items()}
        images = self.epoch * len(self.photos.train)
        result = Result(
            schema=SCHEMA,
            status=status,
            reason=reason,
            step=self.step,
            chosen_step=self.chosen[1] if self.chosen else self.step,
            validation=split_scores.get("validation"),
            test=split_scores.get("test"),
            train_seconds=round(self.seconds, 3),
            evaluation_seconds=round(evaluation_seconds, 3),
            images_per_second=round(images / self.seconds, 1) if self.seconds else 0.0,
            weights_sha256=sha256(self.directory.path / "weights.safetensors") if scored else "",
        )
        if self.team.first:
            self.directory.commit(result)
        return result


def _sides(view: View) -> dict[str, object]:
    """Return the evaluation transform in the form of a file from training from scratch."""
    return {
        "channels": view.channels,
        "side": view.size,
        "mean": view.mean,
        "deviation": view.deviation,
    }


def _scores(scored: Probabilities) -> Scores:
    estimate = look_of(scored)
    picked = scored.probabilities[np.arange(len(scored.labels)), scored.labels]
    beyond = (scored.probabilities > picked[:, None]).sum(1) >= 5
    return Scores(
        images=estimate.images,
        loss_nats=estimate.loss_nats,
        top1_error_pct=100 - estimate.accuracy_pct,
        top5_error_pct=100 * float(beyond.mean()) if scored.probabilities.shape[1] > FEW else None,
    )
