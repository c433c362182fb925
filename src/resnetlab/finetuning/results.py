"""Records of a fine-tuning as dataclasses. Free of torch."""

from __future__ import annotations

from typing import Any, Literal

from resnetlab.errors import ResnetlabError
from resnetlab.messages import format_duration
from resnetlab.recipes.finetune import BalanceMethod
from resnetlab.schema import NonNegativeInt, PositiveInt, strict_dataclass


class StoppedError(ResnetlabError):
    """Error of a fine-tuning that was stopped before it had any result."""

    exit_code = 130


@strict_dataclass
class AccuracyEstimate:
    """Accuracy estimate on one split, with its exact 95 % interval over images, and the loss."""

    images: PositiveInt
    correct: NonNegativeInt
    accuracy_pct: float
    low_pct: float
    high_pct: float
    loss_nats: float

    @property
    def selection_key(self) -> tuple[float, float]:
        """Sort key of models: a higher accuracy is better, then a lower loss."""
        return self.accuracy_pct, -self.loss_nats


@strict_dataclass
class StageRecord:
    """Record of a stage. `validation` is at the test size, with the weights of the best epoch."""

    name: str
    lr: float
    trainable_parameters: NonNegativeInt
    """Number of trained parameters."""
    epochs: NonNegativeInt
    best_epoch: NonNegativeInt
    validation: AccuracyEstimate
    seconds: float
    diverged: bool = False
    selected: bool = False
    complete: bool = True
    """False if the stage was stopped before its end."""


@strict_dataclass
class TimeLimitCut:
    """Stage that the time limit left out, stopped, or gave less than its recipe."""

    stage: str
    kind: Literal["left out", "stopped", "shortened", "fewer photographs"]
    epochs: NonNegativeInt = 0
    """Epochs that were trained, or that the limit allows."""
    planned_epochs: NonNegativeInt = 0
    """Epochs of the recipe; 0 if it counts steps."""
    photographs: NonNegativeInt = 0
    """Train photographs whose features were computed in time; 0 if all were."""
    planned_photographs: NonNegativeInt = 0
    """All train photographs, if some were left out."""
    epoch_seconds: float = 0.0
    """Seconds of an epoch, measured here; 0 if unknown."""
    elapsed_seconds: float
    """Seconds since the start of the fine-tuning."""
    needed: str
    """Value of --time-limit with which the stage would most likely be complete."""

    def __str__(self) -> str:
        after = f"after {format_duration(self.elapsed_seconds)}"
        planned = f" of {self.planned_epochs}" if self.planned_epochs else ""
        match self.kind:
            case "left out":
                text = f'the time limit left stage "{self.stage}" out {after}'
            case "stopped":
                count = ", before its end"
                if planned:
                    count = f", in epoch {self.epochs + 1}{planned}"
                text = f'the time limit stopped stage "{self.stage}" {after}{count}'
            case "shortened":
                text = f'the time limit gave stage "{self.stage}" {self.epochs}{planned} epochs'
            case "fewer photographs":
                text = f'the time limit reduced stage "{self.stage}"'
        if self.planned_photographs:
            count = f"{self.photographs:,} of {self.planned_photographs:,} train photographs"
            text += f" to {count}" if self.kind == "fewer photographs" else f"; it had {count}"
        if self.epoch_seconds:
            text += f"; an epoch takes about {format_duration(self.epoch_seconds)} here"
        return f"{text}; --time-limit {self.needed} would do"


@strict_dataclass
class ConfidentMistake:
    """Misclassified test image."""

    path: str
    label: str
    predicted: str
    probability: float


@strict_dataclass
class PairedComparison:
    """Comparison with an earlier model on the same test images, by McNemar's exact test."""

    baseline: str = ""
    baseline_accuracy_pct: float
    only_this: NonNegativeInt
    """Number of images that only this model classifies correctly."""
    only_baseline: NonNegativeInt
    p: float


@strict_dataclass
class BackboneTrial:
    """Trial of a pre-trained network: a linear probe on its features, which stay constant."""

    model: str
    origin: str = ""
    """Origin of the network in words; empty if the user named it."""
    license: str = ""
    """License of the weights; empty if it was not read."""
    parameters: NonNegativeInt = 0
    lr: float = 0.0
    """Learning rate of the probe, of those that it tries."""
    seconds: float = 0.0
    """Seconds to build the network, compute its features and train the probe."""
    validation: AccuracyEstimate | None = None
    """Accuracy on validation; None if the network was left out."""
    selected: bool = False
    paired: PairedComparison | None = None
    """Comparison with the selected network on the same validation images; None for itself."""
    left_out: str = ""
    """Reason why there is no accuracy; empty if there is one."""


@strict_dataclass
class BalanceTrial:
    """Trial of a method for uneven classes: a linear probe on the features of the network."""

    method: BalanceMethod
    validation: AccuracyEstimate
    balanced_pct: float
    """Balanced accuracy on validation: the mean of the accuracies of the classes."""
    balanced_low_pct: float
    balanced_high_pct: float
    """Interval of the balanced accuracy, 95 %, from a beta distribution for each class."""
    lr: float
    seconds: float
    selected: bool = False
    p: float | None = None
    """Two-sided p of the difference from the selected method, by flips of signs; None for itself.
    """


@strict_dataclass
class FinetuneResult:
    """Record of an entire fine-tuning."""

    model: str
    recipe: str
    data: str
    folder: str
    """Name of the model folder."""
    classes: PositiveInt
    train_images: PositiveInt
    train_size: PositiveInt
    test_size: PositiveInt
    seed: NonNegativeInt
    chance_pct: float
    stages: tuple[StageRecord, ...]
    validation: AccuracyEstimate
    test: AccuracyEstimate
    """Accuracy on test; without a test split that of validation."""
    has_test: bool = True
    example: str
    """Path of a test image."""
    worst: tuple[ConfidentMistake, ...] = ()
    caveats: tuple[str, ...] = ()
    comparison: PairedComparison | None = None
    seconds: float
    time_limit_seconds: float | None = None
    """Time limit; None for none."""
    time_limit_cuts: tuple[TimeLimitCut, ...] = ()
    """Stages that the time limit changed."""
    untested_classes: tuple[str, ...] = ()
    """Classes without a test image, whose accuracy is unknown."""
    balance: BalanceMethod = "none"
    """Method for uneven classes in training."""
    backbone_trials: tuple[BackboneTrial, ...] = ()
    """Networks that were tried before training; empty if there was only one."""
    balance_trials: tuple[BalanceTrial, ...] = ()
    """Methods for uneven classes that were tried before training; empty for even classes."""

    @property
    def is_complete(self) -> bool:
        """True if no stop ended one of its stages early."""
        return all(stage.complete for stage in self.stages)


@strict_dataclass
class CrossValidation:
    """Result of a cross-validation: a fine-tuning for each fold, which is its test split."""

    planned_folds: PositiveInt
    """Number of folds that were asked for."""
    folds: tuple[FinetuneResult, ...]
    """Folds that were trained, in order; fewer than planned after a stop."""
    mean_pct: float
    """Mean test accuracy over the folds."""
    low_pct: float
    high_pct: float
    """Interval of the mean, 95 %, corrected for the train images that folds share."""

    def lines(self) -> list[str]:
        """Return a line for each fold and one for the mean."""
        lines = [
            f"fold {number}: test {fold.test.accuracy_pct:.1f} % of {fold.test.images:,} images, "
            f"model {fold.folder}" + ("" if fold.is_complete else ", stopped before its end")
            for number, fold in enumerate(self.folds)
        ]
        trained = f"{len(self.folds)} folds"
        if len(self.folds) < self.planned_folds:
            trained = f"{len(self.folds)} of {self.planned_folds} folds"
        mean = f"mean of {trained} {self.mean_pct:.1f} %"
        if len(self.folds) > 1:
            mean += (
                f" [{self.low_pct:.1f}, {self.high_pct:.1f}], 95 % interval corrected for shared "
                "train images (Nadeau and Bengio 2003)"
            )
        lines.append(mean)
        return lines


CellStatus = Literal["done", "out of memory", "not evaluated"]
"""Status of a row or a cell of the table."""


@strict_dataclass
class ResolutionCell:
    """Cell of the table: the results of stages one and two at a train size and a test size."""

    train_size: PositiveInt
    test_size: PositiveInt
    status: CellStatus = "not evaluated"
    stage_one: tuple[AccuracyEstimate, AccuracyEstimate] | None = None
    """Accuracy after stage one on validation and on test."""
    stage_two: tuple[AccuracyEstimate, AccuracyEstimate] | None = None
    """Accuracy after stage two on validation and on test; None if the recipe has no stage two."""
    paired: PairedComparison | None = None
    """Comparison of stage two with stage one on the same test images."""
    seconds: float = 0.0
    """Seconds of the cell after the cells before it, with which it shares features: not a cost of
    its sizes alone.
    """
    peak_bytes: NonNegativeInt = 0
    """Peak memory of the process or GPU, with the features of earlier cells that it keeps."""


@strict_dataclass
class TrainResolution:
    """Row of the table: stage one at a train size."""

    train_size: PositiveInt
    status: CellStatus = "not evaluated"
    epochs: NonNegativeInt = 0
    best_epoch: NonNegativeInt = 0
    seconds: float = 0.0
    peak_bytes: NonNegativeInt = 0


@strict_dataclass
class ResolutionTable:
    """Table of accuracies by train size and test size."""

    model: str
    recipe: str
    data: str
    classes: PositiveInt
    images: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Number of train, validation and test images."""
    seed: NonNegativeInt
    chance_pct: float
    rows: tuple[TrainResolution, ...]
    cells: tuple[ResolutionCell, ...]
    best: tuple[PositiveInt, PositiveInt] | None = None
    """Pair of sizes with the highest validation accuracy, then the lowest loss."""
    best_paired: PairedComparison | None = None
    """Comparison of the best pair with stage one at its train size for both, on the same test
    images.
    """
    trainable_parameters: NonNegativeInt
    parameters: PositiveInt
    precision: str
    machine: str
    license: str
    caveats: tuple[str, ...] = ()
    command: str
    seconds: float
    provenance: dict[str, Any]
    """Commit, packages, processor, threads and SHA-256 of the photographs, as in the provenance of
    a run.
    """
