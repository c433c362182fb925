"""Published numbers as data, and which condition of a study each stands beside. Free of torch.

Owns the files of `catalog/published`. Judges nothing: whether a number is compatible with runs is said by
`resnetlab.stats.prediction`, and whether it may be asked at all by `resnetlab.reports.study.references`.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import field, replace
from typing import Any, Literal

from resnetlab.schema import FieldError, Link, Name, Positive, PositiveAmount, Whole, spec
from resnetlab.stats.prediction import Published

Quantity = Literal["accuracy", "error", "loss", "top-5 error", "multiply-adds"]
"""In percent (accuracy, error, top-5 error), nats (loss) or 10^9 (multiply-adds); accuracy and error are top-1."""


@spec
class Value:
    """A number of a source, or why there is none."""

    label: str
    """What the source calls it."""
    model: Any = None
    """The network, by a name or a table of resnetlab, or a list of such where it is built in several ways. None: one
    that it does not build, so the number is read only."""
    at: dict[str, Any] = field(default_factory=dict)
    """Fields that a condition must have besides, where one network has several numbers: `{ "recipe.epochs" = 50 }`, or
    `{ rung = "baseline" }` of a ladder."""
    quantity: Quantity
    value: float | None = None
    status: str = ""
    """Why there is no value: `out of memory`, `not trained`, `above 60`."""
    decimals: Whole = 2
    """As printed: the rounding half-width is half of the last one."""
    half_width: PositiveAmount | None = None
    """Where the value is not printed but read from a figure, or said to be about so much."""
    sd: PositiveAmount | None = None
    runs: tuple[float, ...] = ()
    """Every run behind the value, where the source gives them."""
    m: Positive = 1
    """Runs behind the value; 1 if the source does not say."""
    statistic: Literal["mean", "best"] = "mean"
    """Of those m runs. Of one run both are the run."""
    independent: bool = True
    """False where its runs share initial weights or optimiser states: no test of it is made."""
    split: Literal["train", "validation", "test"] = "test"
    """The images on which it was measured."""
    chosen: Literal["", "validation", "test"] = ""
    """The split that chose the epoch; empty: the last one, or not said."""
    epochs: PositiveAmount | None = None
    """That it was trained for, where the file's numbers differ in that; else its protocol says so."""
    epoch: PositiveAmount | None = None
    """Where it was read before the end of training."""
    parameters: Positive | None = None
    """Of the network, as the source says it."""
    note: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.status):
            raise FieldError("value", "neither or both of value and status", 'value = 8.75, or status = "not trained"')
        if self.value is not None and not math.isfinite(self.value):
            raise FieldError("value", "not finite", 'status = "diverged"')
        if self.runs and len(self.runs) != self.m:
            raise FieldError("m", f"{self.m} for {len(self.runs)} runs", f"m = {len(self.runs)}")
        if self.runs and self.value is not None:
            lower = self.quantity not in ("accuracy", "multiply-adds")
            best = min(self.runs) if lower else max(self.runs)
            held = statistics.mean(self.runs) if self.statistic == "mean" else best
            if abs(held - self.value) > 1.01 * self.rounding:
                what = f"the {self.statistic} of the runs is {held:.{self.decimals + 1}f}"
                raise FieldError("value", what, f"value = {held:.{self.decimals}f}")

    @property
    def models(self) -> tuple[Any, ...]:
        """The networks that it is of."""
        return tuple(self.model) if isinstance(self.model, list) else () if self.model is None else (self.model,)

    @property
    def rounding(self) -> float:
        """How far the printed value may be from the one that was measured."""
        return self.half_width or 0.5 * 10.0**-self.decimals

    @property
    def spread(self) -> float | None:
        """The standard deviation of a run, as the source says it or as its runs give it."""
        return self.sd or (statistics.stdev(self.runs) if len(self.runs) > 1 else None) or None

    @property
    def accuracy_pct(self) -> float | None:
        """A top-1 value as accuracy; None for another quantity, and where there is none."""
        if self.value is None or self.quantity not in ("accuracy", "error"):
            return None
        return self.value if self.quantity == "accuracy" else 100 - self.value

    def source(self) -> Published:
        """A top-1 value for the statistics: as accuracy, in percent; of another quantity, as it is."""
        value = self.value if self.accuracy_pct is None else self.accuracy_pct
        assert value is not None, self.label
        runs = tuple(100 - run for run in self.runs) if self.quantity == "error" else self.runs
        return Published(
            value=value, runs=self.m, best=self.statistic == "best" and self.m > 1, half_width=self.rounding,
            values=runs, independent=self.independent,
        )  # fmt: skip


@spec
class Differs:
    """What a source did otherwise than it is done here, where no field of a condition says it."""

    published: str
    """In a clause: `evaluated by the statistics of each batch`."""
    here: str
    unless: dict[str, Any] = field(default_factory=dict)
    """Fields of a condition that does it as the source did."""


@spec
class Protocol:
    """How the numbers of a file were made, as far as the source says."""

    said: str
    """In a sentence."""
    data: str = ""
    """The data, by resnetlab's name where it has one."""
    classes: Positive | None = None
    """Of the data: a study of data with others cannot stand beside it."""
    train_images: Positive | None = None
    epochs: PositiveAmount | None = None
    steps: Positive | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    """Fields of a condition that the source settles: `"recipe.batch_size" = 128`."""
    differs: tuple[Differs, ...] = ()
    """In words, what such fields cannot say."""

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise FieldError("epochs", "given beside steps", "keep one of the two")


@spec
class Source:
    """A file of published numbers."""

    name: Name
    title: str
    """Short, as a column names it: `He et al. 2016, table 6`."""
    citation: str
    url: Link = ""
    """Where the work is, if that is public."""
    protocol: Protocol
    value: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.value:
            raise FieldError("value", "no number", "add [[value]]")
        told = [value.label for value in self.value]
        twice = next((label for label in told if told.count(label) > 1), None)
        if twice:
            raise FieldError("value", f'"{twice}" stands twice', "give each value a label of its own")
        if self.protocol.steps is not None and any(value.epochs for value in self.value):
            raise FieldError("protocol.steps", "given beside a value's epochs", "keep one of the two")

    def beside(self, value: Value, condition: str) -> Beside:
        """One of its numbers beside the condition of that label; an empty one: beside none."""
        protocol = replace(self.protocol, epochs=value.epochs) if value.epochs else self.protocol
        return Beside(
            condition=condition, title=self.title, citation=self.citation, url=self.url, protocol=protocol, value=value
        )


@spec
class Beside:
    """A published number and the condition that it stands beside, whole: a report needs no catalog."""

    condition: str
    """Its label; empty for a number that stands beside none."""
    title: str
    citation: str
    url: Link = ""
    protocol: Protocol
    value: Value
