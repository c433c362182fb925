"""Claims: sentences as estimands that measurements can reproduce or contradict. Free of torch.

This module defines the kinds of a `[[claim]]`. `parsing.claims` looks up the conditions that a file
names, `parsing.power_checks` rejects claims that no plan can answer, and
`resnetlab.analysis.hypotheses` turns a claim and its runs into a hypothesis for the statistics.

Every effect is positive if left is better than right: points of accuracy, or for a loss or an error
the decrease.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, assert_never

from resnetlab.messages import format_count
from resnetlab.schema import NonNegativeFloat, PositiveFloat, discriminated_by, strict_dataclass
from resnetlab.schema_errors import FieldError
from resnetlab.studies.published.bibliography import Citation

Metric = Literal["top1", "error", "loss"]
"""Metric of a claim: accuracy in percent, error in percent or loss in nats. For error and loss,
less is better. A difference in error is also one in accuracy; a percentage of an error is not."""

ClaimSplit = Literal["test", "train"]
"""Images of a comparison: the test images, or the fixed train images that every run evaluates."""


@strict_dataclass
class _ClaimText:
    statement: str
    """Sentence of the claim, as the report prints it."""
    source: Citation = ""
    """Source of the claim: a key of the bibliography with its part, or free words."""


@strict_dataclass
class Better(_ClaimText):
    """Claim that `left` is better than `right`."""

    kind: Literal["greater"] = "greater"
    left: str
    """Label of a condition. A study file gives its axes: `{ model.depth = 56 }`."""
    right: str
    """Label of the condition that `left` is compared with. A study file gives its axes."""
    metric: Metric = "top1"
    """Measured value that is compared: accuracy (`top1`), `error` or `loss`."""
    split: ClaimSplit = "test"
    """Split whose images are evaluated: `test` or `train`."""
    paired: bool = False
    """Compare runs of a seed pair by pair, if both conditions share their whole training."""
    by_more_than: NonNegativeFloat = 0.0
    """Difference in points or nats that `left` exceeds; 0: any difference."""


@strict_dataclass
class About(_ClaimText):
    """Claim that `left` is better by about `size`; its direction gets a verdict of its own."""

    kind: Literal["about"] = "about"
    left: str
    right: str
    size: float
    """Difference in points or nats; negative if `right` is better."""
    margin: PositiveFloat | None = None
    """Allowed deviation from the size. None: half of the size, and at least 0.2."""
    expected_sd: PositiveFloat | None = None
    """Expected standard deviation of a run; a margin too small for it is rejected early."""
    metric: Metric = "top1"
    split: ClaimSplit = "test"
    paired: bool = False

    def __post_init__(self) -> None:
        if self.size == 0 or not math.isfinite(self.size):
            raise FieldError("size", "not a difference", 'size = 2.5, or kind = "equal"')

    @property
    def effective_margin(self) -> float:
        """Margin, or its default if none is given."""
        return self.margin or max(abs(self.size) / 2, 0.2)


@strict_dataclass
class Equivalent(_ClaimText):
    """Claim that `left` and `right` differ by less than `margin` (two one-sided tests)."""

    kind: Literal["equal"] = "equal"
    left: str
    right: str
    margin: PositiveFloat
    expected_sd: PositiveFloat | None = None
    metric: Metric = "top1"
    split: ClaimSplit = "test"
    paired: bool = False

    @property
    def effective_margin(self) -> float:
        """Margin."""
        return self.margin


@strict_dataclass
class FailsAndTrains(_ClaimText):
    """Claim that most runs of `left` end at chance or diverge and most runs of `right` do not."""

    kind: Literal["fails-and-trains"] = "fails-and-trains"
    left: str
    right: str


def _check_pairs(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    """Raise FieldError unless both sides have the same number of conditions, and at least one."""
    if not left:
        raise FieldError("left", "no condition", 'left = ["A"], with a condition for each pair')
    if len(left) != len(right):
        message = f"has {format_count(len(right), 'condition')}, and left has {len(left)}"
        raise FieldError("right", message, "give each condition of left its partner in right")


@strict_dataclass
class Average(_ClaimText):
    """Claim that `left` is better than `right` on average over pairs of conditions."""

    kind: Literal["average"] = "average"
    left: tuple[str, ...]
    right: tuple[str, ...]
    metric: Metric = "top1"
    split: ClaimSplit = "test"

    def __post_init__(self) -> None:
        _check_pairs(self.left, self.right)


@strict_dataclass
class Every(_ClaimText):
    """Claim that `left` is better than `right` in every pair of conditions."""

    kind: Literal["every"] = "every"
    left: tuple[str, ...]
    right: tuple[str, ...]
    metric: Metric = "top1"
    split: ClaimSplit = "test"

    def __post_init__(self) -> None:
        _check_pairs(self.left, self.right)


@strict_dataclass
class Relative(_ClaimText):
    """Claim that `left` is better by about `size` percent of right, on average over pairs."""

    kind: Literal["relative"] = "relative"
    left: tuple[str, ...]
    right: tuple[str, ...]
    size: float
    """Difference in percent: 28 for 28 % less error."""
    margin: PositiveFloat
    expected_sd: PositiveFloat | None = None
    """Expected standard deviation of a run, in percent of right, as size and margin."""
    metric: Metric = "error"
    split: ClaimSplit = "test"

    def __post_init__(self) -> None:
        if self.size == 0 or not math.isfinite(self.size):
            raise FieldError("size", "not a difference", "size = 28.0")
        _check_pairs(self.left, self.right)

    @property
    def effective_margin(self) -> float:
        """Margin."""
        return self.margin


@strict_dataclass
class Monotone(_ClaimText):
    """Claim that the metric improves, or worsens, with every step along an axis."""

    kind: Literal["monotone"] = "monotone"
    along: str
    """Axis of the grid. In a study file, `where` fixes the other axes."""
    change: Literal["improves", "worsens"] = "improves"
    """Expected change of the metric with each step along the axis."""
    order: tuple[str, ...]
    """Labels of the conditions along the axis."""
    metric: Metric = "top1"
    split: ClaimSplit = "test"


@strict_dataclass
class Best(_ClaimText):
    """Claim that `left` is better than each rival."""

    kind: Literal["best"] = "best"
    left: str
    rivals: tuple[str, ...]
    """Labels of the rivals; in a file `among` picks them, and without it all others."""
    metric: Metric = "top1"
    split: ClaimSplit = "test"


@strict_dataclass
class Faster(_ClaimText):
    """Claim that `left` reaches an accuracy in fewer epochs than `right`.

    A run that never reaches it ranks behind all runs that do.
    """

    kind: Literal["faster"] = "faster"
    left: str
    right: str
    accuracy_pct: Annotated[PositiveFloat, "percent"]
    """Accuracy to reach, on test images if both conditions record them, else on validation."""

    def __post_init__(self) -> None:
        if self.accuracy_pct >= 100:
            raise FieldError("accuracy_pct", "not below 100 %", "accuracy_pct = 90.0")


MetricClaim = Better | About | Equivalent | Average | Every | Relative | Monotone | Best
"""Kinds of claims that compare a metric."""

Claim = Annotated[
    Better
    | About
    | Equivalent
    | FailsAndTrains
    | Average
    | Every
    | Relative
    | Monotone
    | Best
    | Faster,
    discriminated_by("kind"),
]
AnyClaim = MetricClaim | FailsAndTrains | Faster


def condition_labels(claim: AnyClaim) -> tuple[str, ...]:
    """Return the labels of the conditions of a claim, in the order of its hypothesis's arms."""
    match claim:
        case Average() | Every() | Relative():
            return tuple(
                label for pair in zip(claim.left, claim.right, strict=True) for label in pair
            )
        case Monotone():
            return claim.order
        case Best():
            return (claim.left, *claim.rivals)
        case _:
            return (claim.left, claim.right)


def claim_split(claim: AnyClaim) -> ClaimSplit:
    """Return the images of a claim. A kind that compares no metric uses the test images."""
    return claim.split if isinstance(claim, MetricClaim) else "test"


def describe_claim(claim: AnyClaim) -> str:
    """Describe a comparison in a line: `residual 56 (A) above plain 56`."""
    return _describe_comparison(claim) + (
        ", on the train images" if claim_split(claim) == "train" else ""
    )


def _describe_comparison(claim: AnyClaim) -> str:
    match claim:
        case Better():
            more = f" by more than {claim.by_more_than:g}" if claim.by_more_than else ""
            return f"{claim.left} above {claim.right}{more}"
        case About():
            return (
                f"{claim.left} above {claim.right} by {claim.size:g} ± {claim.effective_margin:g}"
            )
        case Equivalent():
            return f"{claim.left} and {claim.right} within ± {claim.margin:g}"
        case FailsAndTrains():
            return f"{claim.left} fails, {claim.right} trains"
        case Average():
            return f"{', '.join(claim.left)} above {', '.join(claim.right)} on average"
        case Every():
            return f"{', '.join(claim.left)} above {', '.join(claim.right)}, pair by pair"
        case Relative():
            return (
                f"{', '.join(claim.left)} above {', '.join(claim.right)} by {claim.size:g} % ± "
                f"{claim.margin:g}"
            )
        case Monotone():
            return f"{', '.join(claim.order)}: {claim.change} along {claim.along}"
        case Best():
            return f"{claim.left} above {', '.join(claim.rivals)}"
        case Faster():
            return f"{claim.left} at {claim.accuracy_pct:g} % before {claim.right}"
        case _:
            assert_never(claim)
