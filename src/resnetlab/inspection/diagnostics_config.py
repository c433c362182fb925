"""Diagnostics that a study can ask for, as dataclasses. Free of torch."""

from __future__ import annotations

from typing import Literal

from resnetlab.schema import NonNegativeInt, PositiveInt, strict_dataclass
from resnetlab.schema_errors import FieldError

MIN_POINTS = 5
"""Minimum number of grid points on an axis of a loss landscape."""


@strict_dataclass
class LandscapeConfig:
    """Size of a measurement of loss landscapes: its planes, its grid and its images."""

    planes: PositiveInt = 3
    """Number of random planes through the weights."""
    points: PositiveInt = 9
    """Number of grid points on each axis of a plane; odd and at least 5."""
    images: PositiveInt = 128
    """Number of train images whose mean loss is measured; all of them if there are fewer."""
    seeds: PositiveInt = 1
    """Number of seeds of a study, from its first one, whose runs are measured."""
    batch_norm: Literal["running", "batch"] = "running"
    """Statistics of batch norm: the running ones of the trained weights, or those of the images at
    each point.
    """

    def __post_init__(self) -> None:
        if self.points < MIN_POINTS or self.points % 2 == 0:
            message = f"not an odd number of at least {MIN_POINTS} (the center is a grid point)"
            raise FieldError("points", message, "points = 9")

    def losses_per_run(self) -> int:
        """Return the number of times that the loss of a run is measured."""
        return self.planes * self.points**2


@strict_dataclass
class DiagnosticsConfig:
    """Diagnostics that a run records.

    They are no part of the identity of a run: none of them changes a bit of the training. A test
    checks it.
    """

    gradient_norms: tuple[NonNegativeInt, ...] = ()
    """Epochs after which norms are measured layer by layer; 0 is before training."""
    ablate_blocks: bool = False
    """Block ablation at the end of training: accuracy without each block in turn."""
    ablate_sets: bool = False
    """Block ablation of sets too: accuracy without pairs and random sets of blocks, at most 500."""
    loss_landscape: LandscapeConfig | None = None
    """Loss on random planes through the final weights, at the end of training."""
    train_mode: bool = False
    """Evaluation in training mode too, at every evaluation. A study requests it for conditions with
    `evaluation_mode = "train"`."""

    @property
    def measures_blocks(self) -> bool:
        """True if a block ablation is requested, with sets of blocks or without."""
        return self.ablate_blocks or self.ablate_sets

    @property
    def uses_batch_statistics(self) -> bool:
        """True if a measurement normalizes by the statistics of its own batches."""
        landscape = self.loss_landscape
        return bool(
            self.gradient_norms
            or self.train_mode
            or (landscape and landscape.batch_norm == "batch")
        )

    def __post_init__(self) -> None:
        if len(set(self.gradient_norms)) < len(self.gradient_norms):
            raise FieldError(
                "gradient_norms", "an epoch is given twice", "gradient_norms = [0, 1, 5]"
            )
