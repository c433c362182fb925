"""Claims: sentences as estimands that measurements can reproduce or contradict. Free of torch.

Owns the kinds of a `[[claim]]`. How a file names their conditions is in `picking`, what no plan can answer in
`refusals`, and how a claim and its runs become a question of the statistics in `questions`.

Every effect says how much better left is than right: points of accuracy, or for a loss or an error how much lower.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, assert_never

from resnetlab.schema import FieldError, PositiveAmount, spec, tagged

Metric = Literal["top1", "error", "loss"]
"""What is compared: accuracy in percent, or error in percent or loss in nats, of which less is better. A difference in
error is one in accuracy; a percentage of it is not."""

Images = Literal["test", "train"]
"""On which it is compared: the test images, or the fixed train images that every run evaluates in evaluation mode."""


@spec
class _Said:
    says: str
    source: str = ""


@spec
class Greater(_Said):
    """`left` is better than `right`."""

    kind: Literal["greater"] = "greater"
    left: str
    """Label of a condition; in a file, its axes: `{ model.depth = 56 }`."""
    right: str
    metric: Metric = "top1"
    split: Images = "test"
    paired: bool = False
    """Compare run by run of one seed: only where the two share their training, and not a seed alone."""


@spec
class About(_Said):
    """`left` is better than `right` by about `size`. Its direction is judged on a line of its own."""

    kind: Literal["about"] = "about"
    left: str
    right: str
    size: float
    """In points, or nats; negative where `right` is better."""
    margin: PositiveAmount | None = None
    """How far off it may be. None: half of the size, and at least 0.2."""
    expected_sd: PositiveAmount | None = None
    """Of a run, by which a margin that the seeds cannot reach is refused before anything is run."""
    metric: Metric = "top1"
    split: Images = "test"
    paired: bool = False

    def __post_init__(self) -> None:
        if self.size == 0 or not math.isfinite(self.size):
            raise FieldError("size", "not a difference", 'size = 2.5, or kind = "equal"')

    @property
    def allowed(self) -> float:
        """The margin, given or not."""
        return self.margin or max(abs(self.size) / 2, 0.2)


@spec
class Equal(_Said):
    """`left` and `right` differ by less than `margin`, either way (two one-sided tests)."""

    kind: Literal["equal"] = "equal"
    left: str
    right: str
    margin: PositiveAmount
    expected_sd: PositiveAmount | None = None
    metric: Metric = "top1"
    split: Images = "test"
    paired: bool = False

    @property
    def allowed(self) -> float:
        """The margin."""
        return self.margin


@spec
class FailsAndTrains(_Said):
    """`left` dies or diverges in most runs and `right` does not."""

    kind: Literal["fails-and-trains"] = "fails-and-trains"
    left: str
    right: str


@spec
class Average(_Said):
    """`left` is better than `right` on average over the conditions that each picks, pair by pair."""

    kind: Literal["average"] = "average"
    left: tuple[str, ...]
    right: tuple[str, ...]
    metric: Metric = "top1"
    split: Images = "test"


@spec
class Relative(_Said):
    """`left` is better than `right` by about `size` percent of it, on average over the pairs of conditions."""

    kind: Literal["relative"] = "relative"
    left: tuple[str, ...]
    right: tuple[str, ...]
    size: float
    """In percent: 28 for 28 % less error."""
    margin: PositiveAmount
    expected_sd: PositiveAmount | None = None
    """Of a run, in percent of right as size and margin are."""
    metric: Metric = "error"
    split: Images = "test"

    def __post_init__(self) -> None:
        if self.size == 0 or not math.isfinite(self.size):
            raise FieldError("size", "not a difference", "size = 28.0")

    @property
    def allowed(self) -> float:
        """The margin."""
        return self.margin


@spec
class Monotone(_Said):
    """The metric rises, or falls, with every step along an axis."""

    kind: Literal["monotone"] = "monotone"
    along: str
    """An axis of the grid; in a file, `where` fixes the others."""
    change: Literal["improves", "worsens"] = "improves"
    order: tuple[str, ...]
    """Labels along the axis."""
    metric: Metric = "top1"
    split: Images = "test"


@spec
class Best(_Said):
    """`left` is better than each rival."""

    kind: Literal["best"] = "best"
    left: str
    rivals: tuple[str, ...]
    """In a file, `among` picks them; all other conditions without it."""
    metric: Metric = "top1"
    split: Images = "test"


@spec
class Faster(_Said):
    """`left` reaches an accuracy in fewer epochs than `right`; a run that never does is behind all that do."""

    kind: Literal["faster"] = "faster"
    left: str
    right: str
    accuracy_pct: Annotated[PositiveAmount, "percent"]
    """On the validation images, or on the test images where both conditions record their curve."""

    def __post_init__(self) -> None:
        if self.accuracy_pct >= 100:
            raise FieldError("accuracy_pct", "not below 100 %", "accuracy_pct = 90.0")


Measured = Greater | About | Equal | Average | Relative | Monotone | Best
"""Kinds that compare a metric."""

Claim = Annotated[
    Greater | About | Equal | FailsAndTrains | Average | Relative | Monotone | Best | Faster, tagged("kind")
]
AnyClaim = Measured | FailsAndTrains | Faster


def labels(claim: AnyClaim) -> tuple[str, ...]:
    """The conditions that a claim compares, in the order of its question's arms."""
    match claim:
        case Average() | Relative():
            return tuple(label for pair in zip(claim.left, claim.right, strict=True) for label in pair)
        case Monotone():
            return claim.order
        case Best():
            return (claim.left, *claim.rivals)
        case _:
            return (claim.left, claim.right)


def images(claim: AnyClaim) -> Images:
    """The images on which a claim is judged; a kind that compares no metric has no choice."""
    return claim.split if isinstance(claim, Measured) else "test"


def described(claim: AnyClaim) -> str:
    """What is compared, in a line: `residual 56 (A) above plain 56`."""
    return _said(claim) + (", on the train images" if images(claim) == "train" else "")


def _said(claim: AnyClaim) -> str:
    match claim:
        case Greater():
            return f"{claim.left} above {claim.right}"
        case About():
            return f"{claim.left} above {claim.right} by {claim.size:g} ± {claim.allowed:g}"
        case Equal():
            return f"{claim.left} and {claim.right} within ± {claim.margin:g}"
        case FailsAndTrains():
            return f"{claim.left} fails, {claim.right} trains"
        case Average():
            return f"{', '.join(claim.left)} above {', '.join(claim.right)} on average"
        case Relative():
            return f"{', '.join(claim.left)} above {', '.join(claim.right)} by {claim.size:g} % ± {claim.margin:g}"
        case Monotone():
            return f"{', '.join(claim.order)}: {claim.change} along {claim.along}"
        case Best():
            return f"{claim.left} above {', '.join(claim.rivals)}"
        case Faster():
            return f"{claim.left} at {claim.accuracy_pct:g} % before {claim.right}"
        case _:
            assert_never(claim)
