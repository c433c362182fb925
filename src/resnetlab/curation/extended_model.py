"""Extended model: features of its photographs, and its folder with the new classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resnetlab.curation.added_photos import AddedPhotos
from resnetlab.curation.features import FeatureNetwork, compute_features
from resnetlab.curation.results import ExtendResult
from resnetlab.data.class_names import class_indices
from resnetlab.deploy.checks import read_accepted_model
from resnetlab.errors import input_error
from resnetlab.files import json_sha256, short_hash
from resnetlab.finetuning.confidence import (
    describe_too_few,
    fit_and_write,
    outputs_of,
    reference_counts,
)
from resnetlab.finetuning.dataset import evenly_spaced_indices
from resnetlab.finetuning.evaluation import accuracy_metric
from resnetlab.finetuning.photo_record import LabeledSplit
from resnetlab.messages import ItemCallback, Notify
from resnetlab.model_folder.model_file import Metric, ModelFile
from resnetlab.model_folder.store import save_model_folder
from resnetlab.models.configs.external import with_num_classes
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.provenance import provenance_event
from resnetlab.stats.softmax_head import LinearHead


@dataclass(frozen=True)
class SplitFeatures:
    """Features (N, F) and labels (N,) of the photographs of one split."""

    rows: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def join(self, other: SplitFeatures) -> SplitFeatures:
        """Return the features of both."""
        return SplitFeatures(
            np.concatenate([self.rows, other.rows]), np.concatenate([self.labels, other.labels])
        )


@dataclass(frozen=True)
class ExtensionFeatures:
    """Features of the train, validation and test photographs."""

    train: SplitFeatures
    validation: SplitFeatures
    test: SplitFeatures

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of photographs of each split."""
        return len(self.train), len(self.validation), len(self.test)

    def join(self, other: ExtensionFeatures) -> ExtensionFeatures:
        """Return the features of both, split by split."""
        return ExtensionFeatures(
            self.train.join(other.train),
            self.validation.join(other.validation),
            self.test.join(other.test),
        )


def compute_split_features(
    network: FeatureNetwork,
    parts: Sequence[LabeledSplit],
    classes: tuple[str, ...],
    cache: Path,
    on_item: ItemCallback,
) -> SplitFeatures:
    """Return the features and labels of the photographs of one split in all folders."""
    index_of = class_indices(classes)
    rows = [compute_features(network, part.photo_split, cache, on_item) for part in parts]
    labels = [index_of[name] for part in parts for name in part.names]
    empty = np.empty((0, network.head.in_features), np.float32)
    return SplitFeatures(np.concatenate([empty, *rows]), np.array(labels, np.int64))


def classifier_as_arrays(network: FeatureNetwork) -> LinearHead:
    """Return the classifier as arrays. Raises InputError if it has no bias."""
    weight, bias = network.head.weight, getattr(network.head, "bias", None)
    if bias is None:
        message = "its classifier has no bias, and an extension needs one"
        raise input_error(network.name, message, "choose a network whose classifier has a bias")
    return LinearHead(*(tensor.detach().double().cpu().numpy() for tensor in (weight, bias)))


def save_extended_model(
    models: Path,
    name: str,
    file: ModelFile,
    network: FeatureNetwork,
    numerics: Numerics,
    added: AddedPhotos,
    head: LinearHead,
    result: ExtendResult,
) -> Path:
    """Write the extended model to a new folder, and return it.

    Args:
        models: Folder of the models.
        name: Name of the new folder; empty for one from the base and a hash.
        file: Description of the model that was extended.
        network: Network, which gets the new classifier.
        numerics: Numerics of this process.
        added: Added photographs.
        head: New classifier.
        result: Record of the extension.

    Raises:
        InputError: The folder has another model.
    """
    hashes = sorted(
        f"{row.sha256} {label} {row.split}"
        for part in added.splits
        for row, label in zip(part.photo_split.rows, part.names, strict=True)
    )
    data_sha256 = json_sha256([file.provenance.get("data_sha256"), hashes])
    identity = short_hash(file.weights_sha256, data_sha256, f"{result.penalty:g}")
    folder = models / (name or f"{file.name}-extended-{identity}")
    if folder.exists() and read_accepted_model(folder, True).provenance.get("identity") != identity:
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
    save_model_folder(folder, network.module, extended)
    return folder


def fit_extended_confidence(
    network: FeatureNetwork,
    features: ExtensionFeatures,
    folder: Path,
    num_classes: int,
    notify: Notify,
) -> None:
    """Fit the confidence of the extended network, and write it into its folder."""
    train, validation = features.train, features.validation
    if too_few := describe_too_few(len(validation)):
        notify(f"note: {too_few}")
        return
    with torch.inference_mode():
        logits = network.head(torch.from_numpy(validation.rows).to(network.device))
    chosen = evenly_spaced_indices(train.labels, reference_counts(num_classes))
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
