"""Run of a bag of visual words: no steps and no checkpoints, but the same folder and record as any
run.
"""

from __future__ import annotations

import time
from collections.abc import Generator

import numpy as np
import torch

from resnetlab.baselines.bag_of_words import FittedBagOfWords, fit
from resnetlab.data.config import Dataset, LabeledImages
from resnetlab.models.configs.bag_of_words import BagOfWordsConfig
from resnetlab.runs.attempt import RunAttempt
from resnetlab.runs.lifecycle import check_world_size, locked_run
from resnetlab.runs.outputs import write_outputs
from resnetlab.runs.provenance import provenance_event
from resnetlab.runs.records import Evaluation, Result, RunFile, Scores
from resnetlab.runs.run_folder import RunFolder
from resnetlab.runs.writer import commit_result
from resnetlab.schema import encode
from resnetlab.stats.chance import compare_with_chance, status_from_chance


def run_bag_of_words_attempt(
    attempt: RunAttempt, dataset: Dataset
) -> Generator[None, None, Result | None]:
    """Fit the model of a run. A finished run is read, not run again.

    The value of the generator and the errors are those of `runs.session.run_attempt`. The run
    cannot be stopped before its end.
    """
    file, world = attempt.file, attempt.world
    run_folder = RunFolder.find(attempt.root, attempt.run_id)
    check_world_size(file, world, run_folder)
    yield from ()
    with locked_run(run_folder, file, dataset.identity, world, attempt.shares_device) as run:
        if run.result is None:
            result = _fit_and_evaluate(run_folder, file, dataset) if world.is_main_process else None
            run.result = world.broadcast(result)
    return run.result


def _fit_and_evaluate(run_folder: RunFolder, file: RunFile, dataset: Dataset) -> Result:
    """Fit the model, evaluate it and write the result.

    The result has no loss, because the outputs of an SVM are not probabilities.
    """
    run = file.run
    assert isinstance(run.model, BagOfWordsConfig), run.model
    digest = run_folder.run_file_sha256()
    run_folder.log_event(
        provenance_event("start", 0, run.numerics, run.data.sha256, run_file_sha256=digest)
    )
    start = time.monotonic()
    fitted = fit(run.model, dataset.train, len(dataset.classes), run.seed)
    train_seconds = time.monotonic() - start
    start = time.monotonic()
    images = {"train": dataset.train, "test": dataset.test}
    if dataset.validation is not None:
        images["validation"] = dataset.validation
    outputs = fitted.decision_function(dataset.test.pixels)
    scores = {
        name: _scores(fitted, part, outputs if name == "test" else None)
        for name, part in images.items()
    }
    run_folder.discard_after(-1)
    run_folder.append_metrics(
        Evaluation(
            step=0,
            epoch=0.0,
            split="train",
            loss_nats=None,
            top1_error_pct=scores["train"].top1_error_pct,
            seconds=round(train_seconds, 3),
        )
    )
    parts = ("mean", "whitening", "dictionary", "weights", "bias")
    write_outputs(
        run_folder.path,
        {"model": encode(run.model), "classes": file.classes},
        {name: torch.from_numpy(np.ascontiguousarray(getattr(fitted, name))) for name in parts},
        torch.from_numpy(outputs).float(),
        torch.from_numpy(dataset.test.labels),
    )
    accuracy, count = scores["test"].top1_accuracy_pct, len(dataset.test)
    predictions = dataset.test.labels, outputs.argmax(axis=1)
    decision = compare_with_chance(accuracy, file.class_share, count, 1, predictions)
    status, reason = status_from_chance(decision, f"{accuracy:.1f} % of {count:,} test images")
    return commit_result(
        run_folder,
        status,
        reason,
        scores=scores,
        train_seconds=train_seconds,
        evaluation_seconds=time.monotonic() - start,
        images_processed=len(dataset.train),
    )


def _scores(fitted: FittedBagOfWords, images: LabeledImages, outputs: np.ndarray | None) -> Scores:
    scores = fitted.decision_function(images.pixels) if outputs is None else outputs
    error = 100 * float((scores.argmax(axis=1) != images.labels).mean())
    return Scores(images=len(images), loss_nats=None, top1_error_pct=error)
