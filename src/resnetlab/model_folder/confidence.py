"""File `confidence.safetensors` of a model folder: the values with which a model can abstain.

It contains a temperature, the probabilities of the validation images from which prediction sets of
any coverage follow, and features of training images for the novelty of a photograph. Its arrays are
tensors, and everything else is JSON in the metadata of the file. Free of torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnetlab.errors import InputError, input_error
from resnetlab.files import atomic_write, disk_errors_as_resource_error
from resnetlab.model_folder.model_file import ModelFile
from resnetlab.model_folder.read import description_sha256
from resnetlab.models.tensorfile import open_safetensors
from resnetlab.schema import PositiveFloat, PositiveInt, decode, encode, strict_dataclass
from resnetlab.stats.conformal import (
    conformal_quantile,
    highest_coverage,
    needed_images,
    set_thresholds,
)
from resnetlab.stats.novelty import (
    MEASURE_WEIGHTS,
    NoveltyScale,
    class_distances,
    fit_novelty_scale,
    normalize_rows,
    novelty_scores,
)
from resnetlab.stats.temperature import fit_temperature, scale_probabilities

CONFIDENCE_FILE = "confidence.safetensors"
"""Name of the file in a model folder."""

CONFIDENCE_SCHEMA = 1

KNOWN_SHARE = 0.95
"""Share of the photographs of known classes that are not to be called none of these."""

MIN_VALIDATION_IMAGES = needed_images(KNOWN_SHARE)
"""Smallest number of validation images from which the file is made."""

_ARRAYS = {
    "reference": (np.dtype(np.float16), 2),
    "reference_labels": (np.dtype(np.int64), 1),
    "label_probabilities": (np.dtype(np.float64), 1),
    "labels": (np.dtype(np.int64), 1),
}
"""Type and number of axes of each array."""


@strict_dataclass
class ConfidenceMetadata:
    """Content of the metadata: everything but the arrays."""

    schema: int = CONFIDENCE_SCHEMA
    weights_sha256: str
    """SHA-256 of the weights of the model that the file belongs to."""
    arrays_sha256: str
    """SHA-256 of the arrays: names, types, shapes and bytes."""
    classes: PositiveInt
    temperature: PositiveFloat
    measure_medians: tuple[float, ...]
    """Median of each measure of the novelty over the validation images."""
    measure_stds: tuple[PositiveFloat, ...]
    known_share: float
    """Share of known photographs that the threshold was chosen for."""
    novelty_threshold: float
    """Novelty above which a photograph is called none of these."""
    sha256: str = ""
    """SHA-256 of the other fields as JSON."""


@dataclass(frozen=True)
class Confidence:
    """Temperature, prediction sets and novelty of a model."""

    metadata: ConfidenceMetadata
    reference: NDArray[np.float16]
    """Features (R, F) of training images, of length 1."""
    reference_labels: NDArray[np.int64]
    """Classes (R,) of these images."""
    label_probabilities: NDArray[np.float64]
    """Probability (n,) that each validation image gets for its class, after the temperature."""
    labels: NDArray[np.int64]
    """Classes (n,) of the validation images."""

    @property
    def temperature(self) -> float:
        """Number that divides the logits, so that probabilities agree with the accuracy."""
        return self.metadata.temperature

    def calibrate(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities (N, K) after the temperature."""
        return scale_probabilities(probabilities, self.temperature)

    def thresholds(self, coverage: float) -> NDArray[np.float64]:
        """Return the lowest calibrated probability (K,) with which a class belongs to a set.

        Raises InputError if there are too few validation images for the coverage.
        """
        count = len(self.labels)
        if count < needed_images(coverage):
            raise input_error(
                "--coverage",
                f"needs {needed_images(coverage):,} validation photographs, and the model has "
                f"{count:,}",
                f"at most {np.floor(1000 * highest_coverage(count)) / 1000:g}, or fine-tune with "
                "more validation photographs",
                got=f"{coverage:g}",
            )
        return set_thresholds(
            self.label_probabilities, self.labels, self.metadata.classes, coverage
        )

    @cached_property
    def _reference(self) -> NDArray[np.float32]:
        return self.reference.astype(np.float32)

    def novelty(
        self, logits: NDArray[np.float64], features: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return the novelty (N,) of images from their logits (N, K) and features (N, F)."""
        distances = class_distances(
            features, self._reference, self.reference_labels, self.metadata.classes
        )
        scale = NoveltyScale(self.metadata.measure_medians, self.metadata.measure_stds)
        return novelty_scores(logits, distances, scale)

    def is_novel(self, novelty: float) -> bool:
        """Return True if a photograph of this novelty is called none of these."""
        return novelty > self.metadata.novelty_threshold


@dataclass(frozen=True)
class SplitOutputs:
    """Outputs of a network for a split: probabilities and logits (N, K), features (N, F) and
    classes (N,).
    """

    probabilities: NDArray[np.float64]
    logits: NDArray[np.float64]
    features: NDArray[np.floating]
    labels: NDArray[np.int64]


def fit_confidence(
    validation: SplitOutputs,
    reference: NDArray[np.floating],
    reference_labels: NDArray[np.int64],
    weights_sha256: str,
) -> Confidence:
    """Fit the temperature, the sets and the novelty of a model.

    Args:
        validation: Outputs for the validation images, at least `MIN_VALIDATION_IMAGES`.
        reference: Features (R, F) of training images.
        reference_labels: Classes (R,) of these images, each class at least once.
        weights_sha256: SHA-256 of the weights of the model.
    """
    stored = normalize_rows(reference).astype(np.float16)
    num_classes = validation.probabilities.shape[1]
    temperature = fit_temperature(validation.probabilities, validation.labels)
    calibrated = scale_probabilities(validation.probabilities, temperature)
    distances = class_distances(validation.features, stored, reference_labels, num_classes)
    scale = fit_novelty_scale(validation.logits, distances)
    novelty = novelty_scores(validation.logits, distances, scale)
    arrays: dict[str, NDArray[Any]] = {
        "reference": stored,
        "reference_labels": reference_labels,
        "label_probabilities": calibrated[np.arange(len(calibrated)), validation.labels],
        "labels": validation.labels,
    }
    metadata = ConfidenceMetadata(
        weights_sha256=weights_sha256,
        arrays_sha256=_arrays_sha256(arrays),
        classes=num_classes,
        temperature=temperature,
        measure_medians=scale.medians,
        measure_stds=scale.stds,
        known_share=KNOWN_SHARE,
        novelty_threshold=conformal_quantile(novelty, KNOWN_SHARE),
    )
    metadata = dataclasses.replace(metadata, sha256=description_sha256(encode(metadata)))
    return Confidence(metadata, **arrays)


def write_confidence(folder: Path, confidence: Confidence) -> None:
    """Write the file into a model folder, atomically. Raises ResourceError if the disk is full."""
    import safetensors.numpy

    arrays = {name: getattr(confidence, name) for name in _ARRAYS}
    metadata = {"resnetlab": json.dumps(encode(confidence.metadata), allow_nan=False)}
    path = folder / CONFIDENCE_FILE
    with disk_errors_as_resource_error(path), atomic_write(path, "wb") as file:
        file.write(safetensors.numpy.save(arrays, metadata))


def read_confidence(folder: Path, file: ModelFile) -> Confidence | None:
    """Read the file of the model in `folder`; None if there is none for its weights.

    Raises InputError if the file is damaged.
    """
    path = folder / CONFIDENCE_FILE
    if not path.is_file():
        return None
    with open_safetensors(path, "np") as tensors:
        table = json.loads((tensors.metadata() or {}).get("resnetlab", "{}"))
        names = set(tensors.keys())
        arrays = {name: tensors.get_tensor(name) for name in _ARRAYS if name in names}
    if not isinstance(table, dict) or names != set(_ARRAYS):
        raise _damaged(path, "is not a file of resnetlab's fine-tuning")
    if table.get("sha256") != description_sha256(table) or table.get(
        "arrays_sha256"
    ) != _arrays_sha256(arrays):
        raise _damaged(path, "differs from its SHA-256")
    metadata: ConfidenceMetadata = decode(ConfidenceMetadata, table, str(path))
    if metadata.schema != CONFIDENCE_SCHEMA:
        fix = "read it with the resnetlab that wrote it, or fine-tune again"
        message = "has another schema version"
        raise input_error(
            str(path), message, fix, got=metadata.schema, allowed=str(CONFIDENCE_SCHEMA)
        )
    if metadata.weights_sha256 != file.weights_sha256:
        return None  # a fine-tuning was interrupted after it had replaced the weights
    confidence = Confidence(metadata, **arrays)
    if not _is_consistent(confidence, len(file.classes)):
        raise _damaged(path, "has arrays that do not fit each other or the model")
    return confidence


def describe_missing(folder: Path) -> str:
    """Return a sentence about a model without the file: it has no confidence values, and why."""
    reason = (
        f"`resnetlab finetune` and `resnetlab extend` write {CONFIDENCE_FILE} from at least "
        f"{MIN_VALIDATION_IMAGES} validation photographs"
    )
    if (folder / CONFIDENCE_FILE).is_file():
        reason = f"{CONFIDENCE_FILE} belongs to other weights"
    return (
        "the model has no stored confidence values (temperature, prediction sets, novelty): "
        f"{reason}"
    )


def _is_consistent(confidence: Confidence, num_classes: int) -> bool:
    metadata, n = confidence.metadata, len(confidence.labels)
    shapes = [
        (array := getattr(confidence, name)).dtype == dtype and array.ndim == axes
        for name, (dtype, axes) in _ARRAYS.items()
    ]
    measures = (metadata.measure_medians, metadata.measure_stds)
    return (
        all(shapes)
        and metadata.classes == num_classes
        and n >= 1
        and confidence.label_probabilities.shape == (n,)
        and confidence.reference_labels.shape == (len(confidence.reference),)
        and all(len(values) == len(MEASURE_WEIGHTS) for values in measures)
        and 0 <= confidence.labels.min() <= confidence.labels.max() < num_classes
        and set(confidence.reference_labels.tolist()) == set(range(num_classes))
        and bool(np.isfinite(confidence.reference).all())
    )


def _damaged(path: Path, message: str) -> InputError:
    fix = "restore it from a copy; or remove it, and the model works without it"
    return input_error(str(path), message, fix)


def _arrays_sha256(arrays: dict[str, NDArray[Any]]) -> str:
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
