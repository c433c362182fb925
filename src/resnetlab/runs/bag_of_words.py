"""Run of a bag of visual words: no steps and no checkpoints, but the same folder and record as any
run.
"""

from __future__ import annotations

import json
import time

import numpy as np
import torch

from resnetlab.baselines.bag_of_words import Learned, learn
from resnetlab.data.config import Dataset, Images
from resnetlab.files import sha256
from resnetlab.models.configs.bag_of_words import BagOfWords
from resnetlab.runs.checkpoint import write_tensors
from resnetlab.runs.config import SCHEMA
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.provenance import provenance
from resnetlab.runs.records import Evaluation, Result, RunFile, Scores
from resnetlab.schema import encode
from resnetlab.stats.outcomes import is_dead


def execute_words(
    model: BagOfWords, directory: RunDirectory, file: RunFile, dataset: Dataset
) -> Result:
    """Fit the model, evaluate it and write the result.

    The result has no loss, because the outputs of an SVM are not probabilities.
    """
    run = file.run
    directory.note(provenance("start", 0, run.numerics, run.data.sha256))
    start = time.monotonic()
    learned = learn(model, dataset.train, run.seed)
    train_seconds = time.monotonic() - start
    start = time.monotonic()
    images = {"train": dataset.train, "test": dataset.test}
    images |= {"validation": dataset.validation} if dataset.validation is not None else {}
    outputs = learned.scores(dataset.test.pixels)
    scores = {
        name: _scores(learned, part, outputs if name == "test" else None)
        for name, part in images.items()
    }
    directory.rewind(-1)
    directory.append(
        Evaluation(
            step=0,
            epoch=0.0,
            split="train",
            loss_nats=None,
            top1_error_pct=scores["train"].top1_error_pct,
            seconds=round(train_seconds, 3),
        )
    )
    _write(directory, file, learned, outputs, dataset.test)
    accuracy, count = 100 - scores["test"].top1_error_pct, len(dataset.test)
    dead = is_dead(accuracy, file.class_share, count, 1)
    result = Result(
        schema=SCHEMA,
        status="dead" if dead else "converged",
        step=0,
        chosen_step=0,
        reason=f"never above chance: {accuracy:.1f} % of {count:,} test images" if dead else "",
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


def _scores(learned: Learned, images: Images, outputs: np.ndarray | None) -> Scores:
    scores = learned.scores(images.pixels) if outputs is None else outputs
    error = 100 * float((scores.argmax(axis=1) != images.labels).mean())
    return Scores(images=len(images), loss_nats=None, top1_error_pct=error)


def _write(
    directory: RunDirectory, file: RunFile, learned: Learned, outputs: np.ndarray, test: Images
) -> None:
    parts = ("mean", "whitening", "dictionary", "weights", "bias")
    metadata = {"resnetlab": json.dumps({"model": encode(file.run.model), "classes": file.classes})}
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(getattr(learned, name))) for name in parts
    }
    write_tensors(directory.path / "weights.safetensors", tensors, metadata)
    test_outputs = {
        "logits": torch.from_numpy(outputs).float(),
        "labels": torch.from_numpy(test.labels),
    }
    write_tensors(directory.path / "logits-test.safetensors", test_outputs)
