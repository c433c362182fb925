"""Published numbers as data, each with the condition of a study that it belongs to. Free of torch.

This module defines the files of `catalog/references`. `resnetlab.stats.prediction` decides
whether a number is compatible with runs; `resnetlab.reports.study.references` decides whether the
two can be compared at all.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import field, replace
from typing import Any, Literal

from resnetlab.schema import (
    HttpsUrl,
    Name,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    strict_dataclass,
)
from resnetlab.schema_errors import FieldError
from resnetlab.stats.prediction import ReportedResult
from resnetlab.studies.published.bibliography import Citation, format_citation

Quantity = Literal["accuracy", "error", "loss", "top-5 error", "multiply-adds"]
"""Quantity in percent (top-1 accuracy, errors), nats (loss) or 10^9 (multiply-adds)."""


@strict_dataclass
class ReferenceValue:
    """Published value: a number of a source, or the reason that there is none."""

    label: str
    """Name that the source gives to the value."""
    model: Any = None
    """Network as a name or a table of resnetlab, or a list of them if it can be built in several
    ways. None: resnetlab cannot build it, so the number is only printed."""
    at: dict[str, Any] = field(default_factory=dict)
    """Fields that a condition must also have, if one network has several numbers: `{
    "recipe.epochs" = 50 }`, or `{ rung = "baseline" }` for a ladder."""
    quantity: Quantity
    """Measured quantity, which fixes the unit."""
    value: float | None = None
    """Published number; None if `status` gives the reason that there is none."""
    status: str = ""
    """Reason that there is no value: `out of memory`, `not trained`, `above 60`."""
    decimals: NonNegativeInt = 2
    """Number of printed decimals; the rounding half-width is half a unit of the last one."""
    half_width: PositiveFloat | None = None
    """Half-width of a value read from a figure or approximate; None for a printed value."""
    sd: PositiveFloat | None = None
    """Standard deviation of the runs, if the source gives it."""
    run_values: tuple[float, ...] = ()
    """Values of all runs, if the source gives them."""
    runs_of: str = ""
    """Name of the network in the `runs_file` of the source; empty if the file does not have it."""
    run_curves: tuple[tuple[float, ...], ...] = ()
    """Value of each run after each epoch, the first epoch first; read from the `runs_file`."""
    num_runs: PositiveInt = 1
    """Number of runs behind the value; 1 if the source does not say."""
    statistic: Literal["mean", "best"] = "mean"
    """Statistic of the m runs. For one run the two are equal."""
    independent: bool = True
    """False if its runs share initial weights or optimizer states; such a value is not tested."""
    split: Literal["train", "validation", "test"] = "test"
    """Split on which the value was measured."""
    selected_on: Literal["", "validation", "test"] = ""
    """Split that selected the epoch. Empty: the last epoch, or the source does not say."""
    epochs: PositiveFloat | None = None
    """Number of epochs of training, if the numbers of the file differ; else see the protocol."""
    epoch: PositiveFloat | None = None
    """Epoch of the value, if it was measured before the end of training."""
    parameters: PositiveInt | None = None
    """Number of parameters of the network, from the source."""
    note: str = ""
    """Remark for the reader of the report."""

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.status):
            raise FieldError(
                "value",
                "neither or both of value and status",
                'value = 8.75, or status = "not trained"',
            )
        if self.value is not None and not math.isfinite(self.value):
            raise FieldError("value", "not finite", 'status = "diverged"')
        if self.run_values and len(self.run_values) != self.num_runs:
            raise FieldError(
                "num_runs",
                f"{self.num_runs} for {len(self.run_values)} runs",
                f"num_runs = {len(self.run_values)}",
            )
        if self.run_curves and len(self.run_curves) != self.num_runs:
            runs = f"{self.num_runs} for {len(self.run_curves)} runs in the file of runs"
            raise FieldError("num_runs", runs, f"num_runs = {len(self.run_curves)}")
        if self.run_values and self.value is not None:
            lower = self.quantity not in ("accuracy", "multiply-adds")
            best = min(self.run_values) if lower else max(self.run_values)
            expected = statistics.mean(self.run_values) if self.statistic == "mean" else best
            if abs(expected - self.value) > 1.01 * self.rounding_half_width:
                message = f"the {self.statistic} of the runs is {expected:.{self.decimals + 1}f}"
                raise FieldError("value", message, f"value = {expected:.{self.decimals}f}")

    @property
    def models(self) -> tuple[Any, ...]:
        """Networks of the value."""
        if isinstance(self.model, list):
            return tuple(self.model)
        if self.model is None:
            return ()
        return (self.model,)

    @property
    def mean_curve(self) -> tuple[float, ...]:
        """Mean over the runs after each epoch; empty without curves of the runs."""
        return tuple(statistics.mean(values) for values in zip(*self.run_curves, strict=True))

    @property
    def rounding_half_width(self) -> float:
        """Largest distance between the printed and the measured value."""
        return self.half_width or 0.5 * 10.0**-self.decimals

    @property
    def run_sd(self) -> float | None:
        """Standard deviation of a run, from the source or from its runs."""
        return (
            self.sd
            or (statistics.stdev(self.run_values) if len(self.run_values) > 1 else None)
            or None
        )

    @property
    def accuracy_pct(self) -> float | None:
        """Top-1 value as accuracy in percent; None without one."""
        if self.value is None or self.quantity not in ("accuracy", "error"):
            return None
        return self.value if self.quantity == "accuracy" else 100 - self.value

    def as_reported_result(self) -> ReportedResult:
        """Return the value for the statistics: a top-1 value as accuracy, others unchanged."""
        value = self.value if self.accuracy_pct is None else self.accuracy_pct
        assert value is not None, self.label
        runs = (
            tuple(100 - run for run in self.run_values)
            if self.quantity == "error"
            else self.run_values
        )
        return ReportedResult(
            value=value,
            runs=self.num_runs,
            is_best=self.statistic == "best" and self.num_runs > 1,
            half_width=self.rounding_half_width,
            values=runs,
            independent=self.independent,
        )


@strict_dataclass
class ProtocolDifference:
    """Difference between a source's protocol and this one that no config field describes."""

    reference: str
    """Protocol of the source, as a clause: `evaluated by the statistics of each batch`."""
    here: str
    """Protocol of this study, as a clause."""
    unless: dict[str, Any] = field(default_factory=dict)
    """Fields of a condition that does the same as the source."""


@strict_dataclass
class Protocol:
    """Protocol behind the numbers of a file, as far as the source describes it."""

    summary: str
    """Protocol in a sentence."""
    data: str = ""
    """Name of the data, resnetlab's own if it has one."""
    classes: PositiveInt | None = None
    """Number of classes. A study whose data have another number cannot be compared with it."""
    train_images: PositiveInt | None = None
    """Number of train images in the source."""
    epochs: PositiveFloat | None = None
    """Number of epochs in the source; None if it counts in steps."""
    steps: PositiveInt | None = None
    """Number of optimizer steps in the source; None if it counts in epochs."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Fields of a condition that the source specifies: `"recipe.batch_size" = 128`."""
    differences: tuple[ProtocolDifference, ...] = ()
    """Differences in words, for what no field can express."""

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise FieldError("epochs", "given together with steps", "keep one of the two")


@strict_dataclass
class ReferenceSource:
    """Source of published numbers: a file of the catalog."""

    name: Name
    """Name of the file in the catalog."""
    source: Citation
    """Citation: a key of the bibliography with the part of the work, or free words."""
    url: HttpsUrl = ""
    """Address of a work that the bibliography does not have."""
    errata: tuple[str, ...] = ()
    """Statements of the source that are wrong or easily misread, each corrected in a sentence."""
    runs_file: str = ""
    """Name of a CSV file beside this one with the values of every run after every epoch."""
    protocol: Protocol
    """Protocol of the training behind the numbers."""
    value: tuple[ReferenceValue, ...]

    def __post_init__(self) -> None:
        if not self.value:
            raise FieldError("value", "no number", "add [[value]]")
        labels = [value.label for value in self.value]
        duplicate = next((label for label in labels if labels.count(label) > 1), None)
        if duplicate:
            raise FieldError(
                "value", f'"{duplicate}" is given twice', "give each value a label of its own"
            )
        if self.protocol.steps is not None and any(value.epochs for value in self.value):
            raise FieldError(
                "protocol.steps", "given together with a value's epochs", "keep one of the two"
            )

    def match(self, value: ReferenceValue, condition: str) -> MatchedReference:
        """Return a value of the source with its condition's label, empty for no condition."""
        protocol = replace(self.protocol, epochs=value.epochs) if value.epochs else self.protocol
        return MatchedReference(
            condition=condition,
            source=self.source,
            url=self.url,
            errata=self.errata,
            runs_file=self.runs_file,
            protocol=protocol,
            value=value,
        )


@strict_dataclass
class MatchedReference:
    """Published number with its condition. It is self-contained, so a report needs no catalog."""

    condition: str
    """Label of the condition; empty for a number without one."""
    source: Citation
    url: HttpsUrl = ""
    errata: tuple[str, ...] = ()
    runs_file: str = ""
    """Name of the CSV file with the values of every run after every epoch; empty without one."""
    protocol: Protocol
    value: ReferenceValue

    @property
    def title(self) -> str:
        """Source as a report prints it: `He et al. 2016, table 6`."""
        return format_citation(self.source)
