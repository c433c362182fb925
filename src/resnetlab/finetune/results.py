"""What a fine-tuning found, as data. Free of torch."""

from __future__ import annotations

from typing import Any, Literal

from resnetlab.schema import Positive, Whole, spec


@spec
class Look:
    """Of one split: the share of images that are right, its exact 95 % interval over the images, and the loss."""

    images: Positive
    right: Whole
    accuracy_pct: float
    low_pct: float
    high_pct: float
    loss_nats: float


@spec
class StageRecord:
    """One stage; `validation` is at the test size, with the weights of its best epoch."""

    name: str
    rate: float
    trained: Whole
    """Parameters that learned."""
    epochs: Whole
    best_epoch: Whole
    validation: Look
    seconds: float
    diverged: bool = False
    chosen: bool = False


@spec
class Mistake:
    """A test image that is taken for another class."""

    path: str
    label: str
    said: str
    probability: float


@spec
class Comparison:
    """With an earlier model on the same test images: McNemar's exact test."""

    baseline: str = ""
    baseline_accuracy_pct: float
    only_this: Whole
    """Images that this model alone gets right."""
    only_baseline: Whole
    p: float


@spec
class Record:
    """A fine-tuning, from beginning to end."""

    model: str
    recipe: str
    data: str
    folder: str
    """Name of the model's folder."""
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
    """A test image."""
    worst: tuple[Mistake, ...] = ()
    caveats: tuple[str, ...] = ()
    comparison: Comparison | None = None
    seconds: float


@spec
class Cell:
    """A train size and a test size: what stage one gives there, and what stage two makes of it."""

    train_size: Positive
    test_size: Positive
    status: Literal["done", "out of memory", "not evaluated"] = "not evaluated"
    one: tuple[Look, Look] | None = None
    """Stage one, on validation and on test."""
    two: tuple[Look, Look] | None = None
    """Stage two, on validation and on test; None where the recipe has no such stage."""
    paired: Comparison | None = None
    """Stage two with stage one, on the same test images."""
    seconds: float = 0.0
    peak_bytes: Whole = 0


@spec
class Row:
    """Stage one at a train size."""

    train_size: Positive
    status: Literal["done", "out of memory", "not evaluated"] = "not evaluated"
    epochs: Whole = 0
    best_epoch: Whole = 0
    seconds: float = 0.0
    peak_bytes: Whole = 0


@spec
class Sizes:
    """A table of train and test sizes."""

    model: str
    recipe: str
    data: str
    classes: Positive
    images: tuple[Positive, Positive, Positive]
    """Train, validation and test."""
    seed: Whole
    chance_pct: float
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    best: tuple[Positive, Positive] | None = None
    """The pair with the highest validation accuracy, then the lowest loss."""
    best_paired: Comparison | None = None
    """The best pair with stage one where both sizes are its train size, on the same test images."""
    trainable: Whole
    parameters: Positive
    precision: str
    machine: str
    licence: str
    caveats: tuple[str, ...] = ()
    command: str
    seconds: float
    provenance: dict[str, Any]
    """Commit, packages, processor, threads and the SHA-256 of the photographs, as a run's provenance has them."""
