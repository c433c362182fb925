"""Extension of a model by photographs or classes: a new classifier on frozen features.

The layers before the classifier stay as they are, so only the features of the added photographs
are computed; those of the old ones come from the cache.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from resnetlab.checksums import write_checksums
from resnetlab.curation.added_photos import AddedPhotos, open_added_photos
from resnetlab.curation.extended_model import (
    ExtensionFeatures,
    SplitFeatures,
    classifier_as_arrays,
    compute_split_features,
    fit_extended_confidence,
    save_extended_model,
)
from resnetlab.curation.features import FeatureNetwork, open_model_folder, setup_features
from resnetlab.curation.results import ClassAccuracy, ExtendResult
from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, FolderChoices
from resnetlab.data.sources.folder.manifest import SplitSpec
from resnetlab.deploy.checks import read_accepted_model
from resnetlab.errors import input_error
from resnetlab.files import write_json
from resnetlab.finetuning.dataset import open_photographs
from resnetlab.finetuning.evaluation import accuracy_estimate, compare
from resnetlab.finetuning.photo_record import make_folder_record, record_dataset, splits_of_record
from resnetlab.finetuning.request import check_folder_name
from resnetlab.finetuning.results import AccuracyEstimate
from resnetlab.messages import ItemCallback, Notify, format_count, silent
from resnetlab.model_folder.model_file import ModelFile
from resnetlab.model_folder.photo_record import PhotoRecord, read_photo_record, save_photo_record
from resnetlab.models.photo_predictions import SplitPredictions
from resnetlab.schema import encode
from resnetlab.stats.exact import paired_interval
from resnetlab.stats.intervals import clopper_pearson
from resnetlab.stats.softmax_head import LinearHead, fit_near

PENALTIES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Penalties on the change of the classifier. The one with the lowest cross-entropy on the
validation photographs, old and added, is taken."""


@dataclass(frozen=True, kw_only=True)
class ExtendRequest:
    """Request to extend a model by photographs: the arguments of `resnetlab extend`."""

    model: Path
    """Folder of the model. It is never changed."""
    add: Path
    """Folder of the photographs to add."""
    data: Path | None = None
    """Folder of the model's own photographs; None to find it in the record of the fine-tuning."""
    split_spec: SplitSpec | Path | None = None
    """Splits of `data`, as in the fine-tuning."""
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES
    skip_bad: bool = False
    accept_license: bool = False
    device: str = "auto"
    output: Path = Path()
    name: str = ""
    """Name of the folder of the extended model."""


def extend(
    request: ExtendRequest, *, notify: Notify = silent, on_item: ItemCallback = silent
) -> tuple[ExtendResult, Path]:
    """Add photographs or classes to a model, and write the extended model to a new folder.

    The classifier is fitted again on the features of all train photographs, near its old weights.
    The old test photographs measure what was forgotten, before and after on the same photographs.

    Args:
        request: Request of the user.
        notify: Function that gets a line about each step.
        on_item: Callback for the progress of long steps.

    Returns:
        The record, and the folder of the extended model.

    Raises:
        InputError: The model, its photographs or the added ones are invalid.
        ResourceError: The disk is full.
    """
    start = time.monotonic()
    check_folder_name(request.name)
    cache = request.output / "cache"
    file = read_accepted_model(request.model, request.accept_license)
    models = request.output / "models"
    if request.name and (models / request.name).resolve() == request.model.resolve():
        message = "the model itself, which is never overwritten"
        raise input_error("--name", message, "--name another-name", got=request.name)
    old = _old_photographs(request, file, cache, notify)
    if not splits_of_record(old, "test"):
        message = "has no test photograph, so that nothing measures what an extension forgets"
        raise input_error(str(request.model), message, "fine-tune it without --no-test")
    added = open_added_photos(
        request.add,
        file.classes,
        old,
        cache=cache,
        folder_choices=request.folder_choices,
        skip_bad=request.skip_bad,
        notify=notify,
    )
    for note in added.notes:
        notify(f"note: {note}")
    numerics, device = setup_features(request.device)
    network = open_model_folder(
        request.model, numerics, device, accept_license=request.accept_license
    )
    before = classifier_as_arrays(network)
    features_start = time.monotonic()
    old_features, added_features = _compute_features(network, old, added, cache, on_item)
    features = old_features.join(added_features)
    feature_seconds = time.monotonic() - features_start
    head, penalty = _fit_classifier(before.with_outputs(len(added.classes)), features, notify)
    result = _evaluate(file, added, before, head, penalty, old_features, added_features)
    folder = save_extended_model(
        models,
        request.name,
        file,
        network,
        numerics,
        added,
        head,
        result,
    )
    fit_extended_confidence(network, features, folder, len(added.classes), notify)
    _record_photographs(folder, old, added, cache)
    result = replace(
        result,
        model=folder.name,
        seconds=round(time.monotonic() - start, 2),
        feature_seconds=round(feature_seconds, 2),
    )
    report = request.output / "reports" / folder.name
    report.mkdir(parents=True, exist_ok=True)
    write_json(report / "extend.json", encode(result))
    write_checksums(report, ("extend.json",))
    return result, folder


def _compute_features(
    network: FeatureNetwork,
    old: PhotoRecord,
    added: AddedPhotos,
    cache: Path,
    on_item: ItemCallback,
) -> tuple[ExtensionFeatures, ExtensionFeatures]:
    """Return the features of the model's own photographs, and those of the added ones."""
    compute = partial(
        compute_split_features, network, classes=added.classes, cache=cache, on_item=on_item
    )
    old_features = ExtensionFeatures(
        compute(splits_of_record(old, "train")),
        compute(splits_of_record(old, "validation")),
        compute(splits_of_record(old, "test")),
    )
    added_features = ExtensionFeatures(
        *(compute([part] if part.names else []) for part in added.splits)
    )
    return old_features, added_features


def _record_photographs(folder: Path, old: PhotoRecord, added: AddedPhotos, cache: Path) -> None:
    """Record the photographs of the extended model in `folder`: it can be extended again."""
    added_folder = make_folder_record([part.photo_split for part in added.splits])
    weights = read_accepted_model(folder, accept_license=True).weights_sha256
    save_photo_record(cache, weights, PhotoRecord(folders=(*old.folders, added_folder)))


def _old_photographs(
    request: ExtendRequest, file: ModelFile, cache: Path, notify: Notify
) -> PhotoRecord:
    """Return the photographs of a model, by the record of its fine-tuning or from `data`.

    Raises InputError if there is no record, or if `data` is not what the model was trained on.
    """
    if request.data is None:
        record = read_photo_record(cache, file.weights_sha256)
        if record is None:
            message = "nothing here records the photographs of this model"
            fix = "name the folder that it was fine-tuned on: --data DIR (and its --split)"
            raise input_error(str(request.model), message, fix)
        return record
    photos = open_photographs(
        request.data,
        cache=cache,
        split_spec=request.split_spec,
        skip_bad=request.skip_bad,
        folder_choices=request.folder_choices,
        notify=notify,
    )
    trained_on = file.provenance.get("data_sha256")
    if trained_on != photos.sha256:
        message = "not the photographs, labels and splits that the model was fine-tuned on"
        fix = (
            "restore them (with the --split and --group of the fine-tuning), and give other "
            "photographs in a folder of their own: --add DIR"
        )
        raise input_error("--data", message, fix, got=str(request.data))
    return record_dataset(photos)


def _fit_classifier(
    start: LinearHead, features: ExtensionFeatures, notify: Notify
) -> tuple[LinearHead, float]:
    """Fit the classifier with each penalty; return that with the lowest validation loss."""
    train, validation = features.train, features.validation
    if not len(validation):
        validation = train
        notify("note: there is no validation photograph: the train photographs choose the penalty")
    best, best_loss, best_penalty = start, np.inf, PENALTIES[-1]
    penalties = PENALTIES[::-1]
    heads = fit_near(train.rows, train.labels, start, penalties)
    for penalty, head in zip(penalties, heads, strict=True):
        loss = SplitPredictions(head.probabilities(validation.rows), validation.labels).loss_nats
        if loss < best_loss:
            best, best_loss, best_penalty = head, loss, penalty
    return best, best_penalty


def _evaluate(
    file: ModelFile,
    added: AddedPhotos,
    before: LinearHead,
    head: LinearHead,
    penalty: float,
    old: ExtensionFeatures,
    new: ExtensionFeatures,
) -> ExtendResult:
    """Return the record, without the name of the model and the times."""
    old_test, added_test = old.test, new.test
    earlier = SplitPredictions(before.probabilities(old_test.rows), old_test.labels)
    later = SplitPredictions(head.probabilities(old_test.rows), old_test.labels)
    comparison = compare(later, earlier)
    interval = paired_interval(comparison.only_this, comparison.only_baseline, len(old_test))
    both = old_test.join(added_test)
    on_added = _estimate(head, added_test) if len(added_test) else None
    return ExtendResult(
        model=file.name,
        base=file.name,
        base_sha256=file.weights_sha256,
        new_classes=added.new_classes,
        old_images=old.counts,
        added_images=new.counts,
        dropped=added.dropped,
        penalty=penalty,
        before=accuracy_estimate(earlier),
        after=accuracy_estimate(later),
        change_points=100 * float(later.correct.mean() - earlier.correct.mean()),
        change_low_points=interval.low,
        change_high_points=interval.high,
        p=comparison.p,
        added=on_added,
        by_class=tuple(_class_accuracies(head, added_test, added)),
        test=_estimate(head, both),
        seconds=0.0,
        feature_seconds=0.0,
        notes=_notes(added),
    )


def _estimate(head: LinearHead, part: SplitFeatures) -> AccuracyEstimate:
    return accuracy_estimate(SplitPredictions(head.probabilities(part.rows), part.labels))


def _class_accuracies(
    head: LinearHead, part: SplitFeatures, added: AddedPhotos
) -> Sequence[ClassAccuracy]:
    """Return the accuracy for each class with an added test photograph."""
    if not len(part):
        return ()
    correct = head.logits(part.rows).argmax(1) == part.labels
    rows = []
    for k in np.unique(part.labels).tolist():
        of_class = part.labels == k
        images, right = int(of_class.sum()), int(correct[of_class].sum())
        low, high = clopper_pearson(right, images)
        rows.append(
            ClassAccuracy(
                name=added.classes[k],
                is_new=added.classes[k] in added.new_classes,
                images=images,
                correct=right,
                accuracy_pct=100 * right / images,
                low_pct=100 * low,
                high_pct=100 * high,
            )
        )
    return rows


def _notes(added: AddedPhotos) -> tuple[str, ...]:
    """Return a sentence on new classes whose accuracy nothing measures."""
    untested = [name for name in added.new_classes if name not in added.test.names]
    if not untested:
        return ()
    count = format_count(len(untested), "new class")
    return (f"no test photograph of {count}, whose accuracy is unknown: {', '.join(untested)}",)
