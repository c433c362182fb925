"""What an evaluation found, as data: evaluation.json, and what its page is made of. Free of torch."""

from __future__ import annotations

from resnetlab.bundle.spec import Licence
from resnetlab.schema import spec
from resnetlab.stats.intervals import wilson


@spec
class Share:
    """Images that have a property: per cent of `images`, with Wilson's 95 % interval over images."""

    count: int
    images: int
    pct: float
    low: float
    high: float


def share(count: int, images: int) -> Share:
    """In per cent, with Wilson's interval."""
    low, high = wilson(count, images)
    return Share(count=count, images=images, pct=100 * count / images, low=100 * low, high=100 * high)


@spec
class ClassScore:
    """One class of the data."""

    name: str
    recall: Share
    """Of its images, those that are told right."""
    named: int
    """Images of the data that the model calls so, rightly or not."""


@spec
class Bin:
    """Images whose most probable class has a probability within these bounds."""

    low: float
    high: float
    images: int
    confidence_pct: float
    """Their mean probability."""
    accuracy_pct: float


@spec
class Confusion:
    """Images of `true` that the model calls `said`."""

    true: str
    said: str
    images: int


@spec
class Mistake:
    """A picture that is told wrong, and how sure the model was."""

    name: str
    true: str
    said: str
    probability: float
    true_probability: float


@spec
class Evaluated:
    """evaluation.json: a model against the pictures of one split."""

    schema: int = 1
    model: str
    model_sha256: str
    licence: Licence
    caveats: tuple[str, ...] = ()
    data: str
    split: str
    tta: str
    top1: Share
    top5: Share
    loss_nats: float
    ece_pct: float
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017, sec. 2)."""
    outputs: int
    """Classes that the model can name; the data may have fewer."""
    classes: tuple[ClassScore, ...]
    confusions: tuple[Confusion, ...]
    """Every pair that occurs, the most frequent first."""
    bins: tuple[Bin, ...]
    mistakes: tuple[Mistake, ...]
    """Every one, the surest first."""
    bad: tuple[tuple[str, str], ...] = ()
    """Files that could not be read, and why: they count nowhere above."""
    notes: tuple[str, ...] = ()
