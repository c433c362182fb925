"""Records of a fine-tuning as dataclasses. Does not import torch."""

from __future__ import annotations

from typing import Any, Literal

from resnetlab.schema import Positive, Whole, spec


@spec
class Look:
    """Accuracy estimate on one split, with its exact 95 % interval over images, and the loss."""

    images: Positive
    right: Whole
    accuracy_pct: float
    low_pct: float
    high_pct: float
    loss_nats: float


@spec
class StageRecord:
    """Record of a stage. `validation` is at the test size, with the weights of the best epoch."""

    name: str
    rate: float
    trained: Whole
    """Number of trained parameters."""
    epochs: Whole
    best_epoch: Whole
    validation: Look
    seconds: float
    diverged: bool = False
    chosen: bool = False


@spec
class Mistake:
    """Misclassified test image."""

    path: str
    label: str
    said: str
    probability: float


@spec
class Comparison:
    """Comparison with an earlier model on the same test images, by McNemar's exact test."""

    baseline: str = ""
    baseline_accuracy_pct: float
    only_this: Whole
    """Number of images that only this model classifies correctly."""
    only_baseline: Whole
    p: float


@spec
class Record:
    """Record of an entire fine-tuning."""

    model: str
    recipe: str
    data: str
    folder: str
    """Name of the model folder."""
    classes: Positive
    train_images: Positive
    train_size: Positive
    test_size: Positive
    seed: Whole
    chance_pct: float
    stages: tuple[StageRecord, ...]
    validation: Look
    test: Look
    example: str
    """Path of a test image."""
    worst: tuple[Mistake, ...] = ()
    caveats: tuple[str, ...] = ()
    comparison: Comparison | None = None
    seconds: float


@spec
class Cell:
    """Cell of the table: the results of stages one and two at a train size and a test size."""

    train_size: Positive
    test_size: Positive
    status: Literal["done", "out of memory", "not evaluated"] = "not evaluated"
    one: tuple[Look, Look] | None = None
    """Accuracy after stage one on validation and on test."""
    two: tuple[Look, Look] | None = None
    """Accuracy after stage two on validation and on test; None if the recipe has no stage two."""
    paired: Comparison | None = None
    """Comparison of stage two with stage one on the same test images."""
    seconds: float = 0.0
    peak_bytes: Whole = 0


@spec
class Row:
    """Row of the table: stage one at a train size."""

    train_size: Positive
    status: Literal["done", "out of memory", "not evaluated"] = "not evaluated"
    epochs: Whole = 0
    best_epoch: Whole = 0
    seconds: float = 0.0
    peak_bytes: Whole = 0


@spec
class Sizes:
    """Table of accuracies by train size and test size."""

    model: str
    recipe: str
    data: str
    classes: Positive
    images: tuple[Positive, Positive, Positive]
    """Number of train, validation and test images."""
    seed: Whole
    chance_pct: float
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    best: tuple[Positive, Positive] | None = None
    """Pair of sizes with the highest validation accuracy, then the lowest loss."""
    best_paired: Comparison | None = None
    """Comparison of the best pair with stage one at its train size for both, on the same test
    images.
    """
    trainable: Whole
    parameters: Positive
    precision: str
    machine: str
    licence: str
    caveats: tuple[str, ...] = ()
    command: str
    seconds: float
    provenance: dict[str, Any]
    """Commit, packages, processor, threads and SHA-256 of the photographs, as in the provenance of
    a run.
    """
