"""Cross-validation of a fine-tuning: one model for each fold, trained without its photographs.

Imports torch only after all checks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from resnetlab.checksums import write_checksums
from resnetlab.files import write_json
from resnetlab.finetuning.finetune_photos import FinetunedModel, finetune
from resnetlab.finetuning.request import FinetuneRequest, check_folds
from resnetlab.finetuning.results import CrossValidation, StoppedError
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.recipes.numerics import torchrun_env
from resnetlab.schema import encode
from resnetlab.stats.intervals import UNBOUNDED, Interval, clip, corrected_resampled_interval, mean


@dataclass(frozen=True)
class FinetunedFolds:
    """Finished cross-validation: its record, the model of each fold, and its report folder."""

    result: CrossValidation
    models: tuple[FinetunedModel, ...]
    report_folder: Path


def cross_validate(
    request: FinetuneRequest,
    folds: int,
    *,
    time_limit_seconds: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> FinetunedFolds:
    """Fine-tune a network once for each of `folds` parts of the images, which is its test split.

    The time limit is for all folds together, and folds after a stop are left out: a fold that was
    stopped before its first epoch, too. Each fold has its model folder, `NAME-fold0` and so on.

    Raises InputError if the request is invalid, StoppedError if no fold has a result, and
    ResourceError if the disk is full.
    """
    is_first_process = torchrun_env().rank == 0
    if not is_first_process:
        notify = on_item = silent
    check_folds(request, folds, notify)
    models: list[FinetunedModel] = []
    for fold in range(folds):
        notify(f"fold {fold} of {folds}, counted from 0")
        limit = None if time_limit_seconds is None else time_limit_seconds / folds
        try:
            model = finetune(
                replace(request, folds=folds, fold=fold),
                time_limit_seconds=limit,
                should_stop=should_stop,
                notify=notify,
                on_item=on_item,
            )
        except StoppedError:
            if not models:
                raise
            notify(f"fold {fold} was stopped before its first epoch and is left out")
            break
        models.append(_without_decoded_photographs(model))
        if should_stop():
            break
    table = _summarize(models, folds)
    first = models[0].report_folder
    report = first.with_name(first.name.rpartition("-fold0")[0] + "-folds")
    if is_first_process:
        report.mkdir(parents=True, exist_ok=True)
        write_json(report / "folds.json", encode(table))
        write_checksums(report, ("folds.json",))
    return FinetunedFolds(table, tuple(models), report)


def _without_decoded_photographs(model: FinetunedModel) -> FinetunedModel:
    """Return the model without the cache of its train photographs, which may take a gigabyte."""
    train = replace(model.photos.train)  # a new object has an empty cache
    return replace(model, photos=replace(model.photos, train=train))


def _summarize(models: list[FinetunedModel], planned_folds: int) -> CrossValidation:
    results = tuple(model.result for model in models)
    accuracies = [result.test.accuracy_pct for result in results]
    num_test, num_train = results[0].test.images, results[0].train_images
    interval = corrected_resampled_interval(accuracies, num_test, num_train) or UNBOUNDED
    low, high = clip(interval, Interval(0, 100))
    return CrossValidation(
        planned_folds=planned_folds,
        folds=results,
        mean_pct=mean(accuracies),
        low_pct=low,
        high_pct=high,
    )
