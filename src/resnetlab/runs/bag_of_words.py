"""Run of a bag of visual words: no steps and no checkpoints, but the same folder and record as any
run.
"""

from __future__ import annotations

import json
import time

import numpy as np
import torch

from resnetlab.baselines.bag_of_words import FittedBagOfWords, fit
from resnetlab.data.config import Dataset, LabeledImages
from resnetlab.files import sha256
from resnetlab.models.configs.bag_of_words import BagOfWordsConfig
from resnetlab.runs.checkpoint import write_tensors
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.provenance import provenance_event
from resnetlab.runs.records import Evaluation, Result, RunFile, Scores
from resnetlab.schema import SCHEMA, encode
from resnetlab.stats.outcomes import is_at_chance


def execute_bag_of_words(
    model: BagOfWordsConfig, directory: RunDirectory, file: RunFile, dataset: Dataset
) -> Result:
    """Fit the model, evaluate it and write the result.

    The result has no loss, because the outputs of an SVM are not probabilities.
    """
    run = file.run
    directory.log_event(provenance_event("start", 0, run.numerics, run.data.sha256))
    start = time.monotonic()
    learned = fit(model, dataset.train, run.seed)
    train_seconds = time.monotonic() - start
    start = time.monotonic()
    images = {"train": dataset.train, "test": dataset.test}
    images |= {"validation": dataset.validation} if dataset.validation is not None else {}
    outputs = learned.decision_function(dataset.test.pixels)
    scores = {
        name: _scores(learned, part, outputs if name == "test" else None)
        for name, part in images.items()
    }
    directory.truncate_metrics(-1)
    directory.append_metrics(
        Evaluation(
            step=0,
            epoch=0.0,
            split="train",
            loss_nats=None,
            top1_error_pct=scores["train"].top1_error_pct,
            seconds=round(train_seconds, 3),
        )
    )
    _write_outputs(directory, file, learned, outputs, dataset.test)
    accuracy, count = 100 - scores["test"].top1_error_pct, len(dataset.test)
    at_chance = is_at_chance(accuracy, file.class_share, count, 1)
    result = Result(
        schema=SCHEMA,
        status="at chance" if at_chance else "trained",
        step=0,
        selected_step=0,
        reason=f"never above chance: {accuracy:.1f} % of {count:,} test images"
        if at_chance
        else "",
        train=scores["train"],
        validation=scores.get("validation"),
        test=scores["test"],
        train_seconds=round(train_seconds, 3),
        evaluation_seconds=round(time.monotonic() - start, 3),
        images_per_second=round(len(dataset.train) / train_seconds, 1),
        weights_sha256=sha256(directory.path / "weights.safetensors"),
    )
    directory.commit(result)
    return result


def _scores(fitted: FittedBagOfWords, images: LabeledImages, outputs: np.ndarray | None) -> Scores:
    scores = fitted.decision_function(images.pixels) if outputs is None else outputs
    error = 100 * float((scores.argmax(axis=1) != images.labels).mean())
    return Scores(images=len(images), loss_nats=None, top1_error_pct=error)


def _write_outputs(
    directory: RunDirectory,
    file: RunFile,
    fitted: FittedBagOfWords,
    outputs: np.ndarray,
    test: LabeledImages,
) -> None:
    parts = ("mean", "whitening", "dictionary", "weights", "bias")
    metadata = {"resnetlab": json.dumps({"model": encode(file.run.model), "classes": file.classes})}
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(getattr(fitted, name))) for name in parts
    }
    write_tensors(directory.path / "weights.safetensors", tensors, metadata)
    test_outputs = {
        "logits": torch.from_numpy(outputs).float(),
        "labels": torch.from_numpy(test.labels),
    }
    write_tensors(directory.path / "logits-test.safetensors", test_outputs)
