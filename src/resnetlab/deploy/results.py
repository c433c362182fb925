"""Results of an evaluation as dataclasses, the content of evaluation.json.

Does not import torch.
"""

from __future__ import annotations

from resnetlab.bundle.spec import Licence
from resnetlab.schema import spec
from resnetlab.stats.intervals import wilson


@spec
class Share:
    """Percentage of `images` with a property, with Wilson's 95 % interval over the images."""

    count: int
    images: int
    pct: float
    low: float
    high: float


def share(count: int, images: int) -> Share:
    """Return a percentage with Wilson's 95 % interval."""
    low, high = wilson(count, images)
    return Share(
        count=count, images=images, pct=100 * count / images, low=100 * low, high=100 * high
    )


@spec
class ClassScore:
    """Scores of one class of the data."""

    name: str
    recall: Share
    """Percentage of the images of the class that are classified correctly."""
    named: int
    """Number of images for which the model predicts the class."""


@spec
class Bin:
    """Calibration bin: images whose highest probability lies within these bounds."""

    low: float
    high: float
    images: int
    confidence_pct: float
    """Mean of the highest probability."""
    accuracy_pct: float


@spec
class Confusion:
    """Number of images of class `true` that the model predicts as `said`."""

    true: str
    said: str
    images: int


@spec
class Mistake:
    """Misclassified image with the probabilities of the predicted and the true class."""

    name: str
    true: str
    said: str
    probability: float
    true_probability: float


@spec
class Evaluated:
    """Content of evaluation.json: the evaluation of a model on one split."""

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
    """Number of classes of the model; the data may have fewer."""
    classes: tuple[ClassScore, ...]
    confusions: tuple[Confusion, ...]
    """All pairs of true and predicted class that occur, the most frequent first."""
    bins: tuple[Bin, ...]
    mistakes: tuple[Mistake, ...]
    """All misclassified images, the most confident first."""
    bad: tuple[tuple[str, str], ...] = ()
    """Unreadable files and the reason. No number above includes them."""
    notes: tuple[str, ...] = ()
