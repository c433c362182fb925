"""Results of the commands on labels, learning curves and extensions as dataclasses.

Free of torch.
"""

from __future__ import annotations

from resnetlab.finetuning.results import AccuracyEstimate
from resnetlab.schema import NonNegativeInt, PositiveInt, strict_dataclass


@strict_dataclass
class Suspect:
    """Photograph whose label is probably wrong, with out-of-fold probabilities from 0 to 1."""

    path: str
    split: str
    label: str
    suggested: str
    """Class with the highest probability."""
    label_probability: float
    suggested_probability: float


@strict_dataclass
class SuspectReport:
    """Labels of a folder that are probably wrong."""

    data: str
    model: str
    images: PositiveInt
    classes: tuple[str, ...]
    suspects: tuple[Suspect, ...]
    """Photographs that get another class than their label, the most suspicious first."""
    agreement_pct: float
    """Percentage of the photographs whose most probable class is their label."""
    wrong_pct: float
    """Estimated percentage of wrong labels."""
    wrong_low_pct: float
    wrong_high_pct: float
    """Ends of its 95 % interval."""
    unjudged: tuple[str, ...] = ()
    """Photographs that are not ranked, because their class has no other photograph or group."""
    notes: tuple[str, ...] = ()


@strict_dataclass
class AppliedDecisions:
    """Decisions of a user on suspects, and the precision that they measure."""

    data: str
    labels: str
    """Path of the new table of labels."""
    accepted: NonNegativeInt
    rejected: NonNegativeInt
    precision_pct: float
    """Percentage of the judged suspects whose label is wrong."""
    precision_low_pct: float
    precision_high_pct: float
    """Ends of its exact 95 % interval."""


@strict_dataclass
class ClassCurve:
    """Learning curve of a class, and the effect of more photographs of it.

    Errors are percentages of the photographs of the class that are not recognized.
    """

    name: str
    images: NonNegativeInt
    """Number of photographs of the class."""
    sizes: tuple[PositiveInt, ...]
    """Numbers of train photographs of the class at which the error was measured."""
    errors_pct: tuple[float, ...]
    """Mean error at each of them."""
    error_pct: float | None = None
    """Error with all photographs of the class for training, by the fitted curve."""
    more_error_pct: float | None = None
    """Error with `LearningCurveReport.more` more photographs."""
    gain_points: float | None = None
    """Difference of the two, in percentage points."""
    gain_low_points: float | None = None
    gain_high_points: float | None = None
    """Ends of its 95 % interval."""
    answer: str
    """Sentence: the gain, or the reason why it cannot be estimated."""


@strict_dataclass
class LearningCurveReport:
    """Learning curves by class, and which class gains most by more photographs."""

    data: str
    model: str
    images: PositiveInt
    more: PositiveInt
    """Number of additional photographs of each class."""
    draws: PositiveInt
    """Number of repeated draws of the train photographs."""
    answer: str
    overall: ClassCurve
    """Curve of the error over all photographs; its sizes are means over the classes."""
    classes: tuple[ClassCurve, ...]
    notes: tuple[str, ...] = ()


@strict_dataclass
class ClassAccuracy:
    """Accuracy on the added test photographs of one class, with its exact 95 % interval."""

    name: str
    is_new: bool
    images: PositiveInt
    correct: NonNegativeInt
    accuracy_pct: float
    low_pct: float
    high_pct: float


@strict_dataclass
class ExtendResult:
    """Result of an extension of a model by photographs or classes."""

    model: str
    """Name of the extended model."""
    base: str
    """Name of the model before."""
    base_sha256: str
    """SHA-256 of its weights."""
    new_classes: tuple[str, ...]
    old_images: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]
    """Numbers of old train, validation and test photographs."""
    added_images: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]
    """Numbers of added train, validation and test photographs."""
    dropped: tuple[str, ...] = ()
    """Added photographs that are near copies of old validation or test photographs; they are
    left out."""
    penalty: float
    """Chosen strength of the penalty on the change of the classifier."""
    before: AccuracyEstimate
    """Accuracy of the model before on the old test photographs."""
    after: AccuracyEstimate
    """Accuracy of the extended model on the same photographs."""
    change_points: float
    """Difference of the two accuracies in percentage points; negative: forgotten."""
    change_low_points: float
    change_high_points: float
    """Ends of its 95 % interval over the photographs, paired."""
    p: float
    """P-value of McNemar's exact test of the difference."""
    added: AccuracyEstimate | None = None
    """Accuracy of the extended model on the added test photographs; None without any."""
    by_class: tuple[ClassAccuracy, ...] = ()
    """Accuracy of the extended model for each class with an added test photograph."""
    test: AccuracyEstimate
    """Accuracy of the extended model on all test photographs, old and added."""
    seconds: float
    """Time of the whole command."""
    feature_seconds: float
    """The part of it in which features were computed or read."""
    notes: tuple[str, ...] = ()
