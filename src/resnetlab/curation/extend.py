"""Extension of a model by photographs or classes: a new classifier on frozen features.

The layers before the classifier stay as they are, so only the features of the added photographs
are computed; those of the old ones come from the cache.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resnetlab.bundle.spec import Metric, ModelFile
from resnetlab.bundle.store import save_bundle
from resnetlab.checksums import write_checksums
from resnetlab.curation.added_photos import AddedPhotos, open_added_photos
from resnetlab.curation.features import (
    FeatureNetwork,
    compute_features,
    open_model_folder,
    setup_features,
)
from resnetlab.curation.results import ClassAccuracy, ExtendResult
from resnetlab.data.config import DEFAULT_READING, FolderReading
from resnetlab.data.sources.manifest import SplitSpec
from resnetlab.deploy.request import check_model
from resnetlab.errors import input_error
from resnetlab.files import json_sha256, short_hash, write_json
from resnetlab.finetune.confidence import (
    describe_too_few,
    fit_and_write,
    outputs_of,
    reference_counts,
)
from resnetlab.finetune.dataset import open_photographs, spaced_indices
from resnetlab.finetune.evaluation import accuracy_estimate, accuracy_metric, compare
from resnetlab.finetune.results import AccuracyEstimate
from resnetlab.finetune.training_record import (
    LabeledSplit,
    PhotoRecord,
    read_record,
    record_dataset,
    record_folder,
    splits_of_record,
    write_record,
)
from resnetlab.messages import ItemCallback, Notify, format_count, silent
from resnetlab.models.configs.external import with_num_classes
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.provenance import provenance_event
from resnetlab.schema import encode
from resnetlab.stats.exact import paired_interval
from resnetlab.stats.intervals import clopper_pearson
from resnetlab.stats.softmax_head import LinearHead, fit_near
from resnetlab.training.photo_predictions import SplitPredictions

PENALTIES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Penalties on the change of the classifier. The one with the lowest cross-entropy on the
validation photographs, old and added, is taken."""


@dataclass(frozen=True, kw_only=True)
class ExtendRequest:
    """Request of a user."""

    model: Path
    """Folder of the model. It is never changed."""
    add: Path
    """Folder of the photographs to add."""
    data: Path | None = None
    """Folder of the model's own photographs; None to find it in the record of the fine-tuning."""
    split_spec: SplitSpec | Path | None = None
    """Splits of `data`, as in the fine-tuning."""
    reading: FolderReading = DEFAULT_READING
    skip_bad: bool = False
    accept_license: bool = False
    device: str = "auto"
    output: Path = Path()
    name: str = ""
    """Name of the folder of the extended model."""


@dataclass(frozen=True)
class _Features:
    """Features (N, F) and labels (N,) of the photographs of one split."""

    rows: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


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
    cache = request.output / "cache"
    file = check_model(request.model, request.accept_license)
    old = _old_photographs(request, file, cache, notify)
    added = open_added_photos(
        request.add,
        file.classes,
        old,
        cache=cache,
        reading=request.reading,
        skip_bad=request.skip_bad,
        notify=notify,
    )
    for note in added.notes:
        notify(f"note: {note}")
    numerics, device = setup_features(request.device)
    network = open_model_folder(
        request.model, numerics, device, accept_license=request.accept_license
    )
    begin = time.monotonic()
    old_parts = [
        _features(network, splits_of_record(old, split), added.classes, cache, on_item)
        for split in ("train", "validation", "test")
    ]
    added_parts = [
        _features(network, [part] if part.names else [], added.classes, cache, on_item)
        for part in added.splits
    ]
    feature_seconds = time.monotonic() - begin
    before = _head_of(network)
    head, penalty = _fit(before.with_outputs(len(added.classes)), old_parts, added_parts, notify)
    result = _measure(request, file, added, before, head, penalty, old_parts, added_parts)
    folder = _save(request, file, network, numerics, added, head, result)
    train, validation = (_join(old_parts[k], added_parts[k]) for k in (0, 1))
    _write_confidence(network, train, validation, folder, len(added.classes), notify)
    record = PhotoRecord(
        folders=(*old.folders, record_folder([part.photos for part in added.splits]))
    )
    weights = check_model(folder, accept_license=True).weights_sha256
    write_record(cache, weights, record)
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


def _old_photographs(
    request: ExtendRequest, file: ModelFile, cache: Path, notify: Notify
) -> PhotoRecord:
    """Return the photographs of a model, by the record of its fine-tuning or from `data`.

    Raises InputError if there is no record, or if `data` is not what the model was trained on.
    """
    if request.data is None:
        record = read_record(cache, file.weights_sha256)
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
        reading=request.reading,
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


def _features(
    network: FeatureNetwork,
    parts: Sequence[LabeledSplit],
    classes: tuple[str, ...],
    cache: Path,
    on_item: ItemCallback,
) -> _Features:
    """Return the features and labels of the photographs of one split in all folders."""
    number = {name: k for k, name in enumerate(classes)}
    rows = [compute_features(network, part.photos, cache, on_item) for part in parts]
    labels = [number[name] for part in parts for name in part.names]
    empty = np.empty((0, network.head.in_features), np.float32)
    return _Features(np.concatenate([empty, *rows]), np.array(labels, np.int64))


def _head_of(network: FeatureNetwork) -> LinearHead:
    """Return the classifier as arrays. Raises InputError if it has no bias."""
    weight, bias = network.head.weight, getattr(network.head, "bias", None)
    if bias is None:
        message = "its classifier has no bias, and an extension needs one"
        raise input_error(network.name, message, "choose a network whose classifier has a bias")
    return LinearHead(*(tensor.detach().double().cpu().numpy() for tensor in (weight, bias)))


def _join(*parts: _Features) -> _Features:
    return _Features(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _fit(
    start: LinearHead, old: Sequence[_Features], added: Sequence[_Features], notify: Notify
) -> tuple[LinearHead, float]:
    """Fit the classifier with each penalty; return that with the lowest validation loss."""
    train, validation = (_join(old[k], added[k]) for k in (0, 1))
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


def _measure(
    request: ExtendRequest,
    file: ModelFile,
    added: AddedPhotos,
    before: LinearHead,
    head: LinearHead,
    penalty: float,
    old_parts: Sequence[_Features],
    added_parts: Sequence[_Features],
) -> ExtendResult:
    """Return the record, without the name of the model and the times."""
    old_test, added_test = old_parts[2], added_parts[2]
    if not len(old_test):
        message = "has no test photograph, so that nothing measures what an extension forgets"
        raise input_error(str(request.model), message, "fine-tune it without --no-test")
    earlier = SplitPredictions(before.probabilities(old_test.rows), old_test.labels)
    later = SplitPredictions(head.probabilities(old_test.rows), old_test.labels)
    comparison = compare(later, earlier)
    interval = paired_interval(comparison.only_this, comparison.only_baseline, len(old_test))
    both = _join(old_test, added_test)
    on_added = _estimate(head, added_test) if len(added_test) else None
    return ExtendResult(
        model=file.name,
        base=file.name,
        base_sha256=file.weights_sha256,
        new_classes=added.new_classes,
        old_images=(len(old_parts[0]), len(old_parts[1]), len(old_parts[2])),
        added_images=(len(added_parts[0]), len(added_parts[1]), len(added_parts[2])),
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


def _estimate(head: LinearHead, part: _Features) -> AccuracyEstimate:
    return accuracy_estimate(SplitPredictions(head.probabilities(part.rows), part.labels))


def _class_accuracies(
    head: LinearHead, part: _Features, added: AddedPhotos
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


def _save(
    request: ExtendRequest,
    file: ModelFile,
    network: FeatureNetwork,
    numerics: Numerics,
    added: AddedPhotos,
    head: LinearHead,
    result: ExtendResult,
) -> Path:
    """Write the extended model to a new folder, and return it. Raises InputError."""
    hashes = sorted(
        f"{row.sha256} {name} {row.split}"
        for part in added.splits
        for row, name in zip(part.photos.rows, part.names, strict=True)
    )
    data_sha256 = json_sha256([file.provenance.get("data_sha256"), hashes])
    identity = short_hash(file.weights_sha256, data_sha256, f"{result.penalty:g}")
    folder = request.output / "models" / (request.name or f"{file.name}-extended-{identity}")
    if folder.resolve() == request.model.resolve():
        message = "the model itself, which is never overwritten"
        raise input_error("--name", message, "--name another-name", got=folder.name)
    if folder.exists() and check_model(folder, True).provenance.get("identity") != identity:
        message = "has another model"
        raise input_error(str(folder), message, "--name another-name, or remove the folder")
    _replace_head(network, head)
    data = f"{file.provenance.get('data', file.name)} and {added.name}"
    metrics: tuple[Metric, ...] = (accuracy_metric("test", result.test, data),)
    provenance = provenance_event("extend", 0, numerics, data_sha256)
    extended = replace(
        file,
        name=folder.name,
        model=with_num_classes(file.model, len(added.classes)),
        classes=added.classes,
        metrics=metrics,
        caveats=(*file.caveats, *result.notes),
        provenance={
            **provenance,
            "data": data,
            "identity": identity,
            "penalty": result.penalty,
            "extends": {"name": file.name, "weights_sha256": file.weights_sha256},
            "recipe": file.provenance.get("recipe"),
        },
    )
    save_bundle(folder, network.module, extended)
    return folder


def _write_confidence(
    network: FeatureNetwork,
    train: _Features,
    validation: _Features,
    folder: Path,
    num_classes: int,
    notify: Notify,
) -> None:
    """Fit the confidence of the extended network, and write it into its folder."""
    if too_few := describe_too_few(len(validation)):
        notify(f"note: {too_few}")
        return
    with torch.inference_mode():
        logits = network.head(torch.from_numpy(validation.rows).to(network.device))
    chosen = spaced_indices(train.labels, reference_counts(num_classes))
    outputs = outputs_of(validation.rows, logits, validation.labels)
    fit_and_write(outputs, train.rows[chosen], train.labels[chosen], folder, notify)


def _replace_head(network: FeatureNetwork, head: LinearHead) -> None:
    """Put the classifier into the network."""
    old = network.head
    linear = nn.Linear(old.in_features, len(head.bias), bias=True)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(head.weight))
        linear.bias.copy_(torch.from_numpy(head.bias))
    parent, _, child = network.head_name.rpartition(".")
    owner = network.module.get_submodule(parent) if parent else network.module
    setattr(owner, child, linear.to(old.weight.device))
