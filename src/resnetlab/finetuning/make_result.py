"""Record of a fine-tuning: its stages, accuracies, comparison and most confident mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from resnetlab.finetuning.dataset import PhotoDataset
from resnetlab.finetuning.evaluation import accuracy_estimate, compare
from resnetlab.finetuning.job import FinetuneJob
from resnetlab.finetuning.results import (
    AccuracyEstimate,
    ConfidentMistake,
    FinetuneResult,
    StageRecord,
)
from resnetlab.finetuning.stage.train_stage import StageResult
from resnetlab.finetuning.time_limit.time_limit import TimeLimit
from resnetlab.models.photo_predictions import SplitPredictions

MAX_MISCLASSIFIED = 12
"""Number of mistakes in the record, the most confident first."""


def make_result(
    job: FinetuneJob,
    folder: Path,
    stage_results: list[tuple[StageResult, AccuracyEstimate]],
    predictions: SplitPredictions,
    baseline: tuple[str, SplitPredictions] | None,
    limit: TimeLimit,
    caveats: tuple[str, ...],
) -> FinetuneResult:
    """Return the record of a fine-tuning.

    Args:
        job: Fine-tuning job.
        folder: Folder of the model.
        stage_results: Results of the stages, each with its accuracy on validation.
        predictions: Predictions on the test images (without a test split, on validation).
        baseline: Name and predictions of an earlier model on the same images.
        limit: Time limit, with the cuts that it made.
        caveats: Sentences that limit what the accuracy means.
    """
    photos = job.photos
    best = max(range(len(stage_results)), key=lambda k: stage_results[k][1].selection_key)
    stages = tuple(
        StageRecord(
            name=result.stage,
            lr=result.lr,
            trainable_parameters=result.trainable_parameters,
            epochs=len(result.epochs),
            best_epoch=result.best.epoch,
            validation=estimate,
            seconds=round(result.seconds, 1),
            diverged=result.diverged,
            selected=index == best,
            complete=result.complete,
        )
        for index, (result, estimate) in enumerate(stage_results)
    )
    comparison = (
        replace(compare(predictions, baseline[1]), baseline=baseline[0]) if baseline else None
    )
    return FinetuneResult(
        model=job.backbone.config.slug,
        data=photos.name,
        classes=len(photos.classes),
        folder=folder.name,
        train_images=len(photos.train),
        stages=stages,
        validation=stage_results[best][1],
        test=accuracy_estimate(predictions),
        worst=find_confident_mistakes(photos, predictions),
        example=photos.test.rows[0].path,
        caveats=caveats,
        comparison=comparison,
        seconds=round(limit.elapsed, 1),
        train_size=job.recipe.train_size,
        test_size=job.recipe.test_size,
        seed=job.seed,
        recipe=job.recipe.name,
        chance_pct=100 * photos.class_share,
        has_test=photos.has_test,
        time_limit_seconds=limit.seconds,
        time_limit_cuts=tuple(limit.cuts),
        untested_classes=photos.untested_classes,
        balance=job.recipe.balance,
    )


def find_confident_mistakes(
    photos: PhotoDataset, predictions: SplitPredictions
) -> tuple[ConfidentMistake, ...]:
    """Return the mistakes on the test images, the most confident first."""
    confidence = predictions.probabilities.max(1)
    mistakes = sorted(
        np.flatnonzero(~predictions.correct), key=lambda index: (-confidence[index], index)
    )
    return tuple(
        ConfidentMistake(
            path=photos.test.rows[index].path,
            label=photos.classes[predictions.labels[index]],
            predicted=photos.classes[predictions.predicted[index]],
            probability=float(confidence[index]),
        )
        for index in mistakes[:MAX_MISCLASSIFIED]
    )
