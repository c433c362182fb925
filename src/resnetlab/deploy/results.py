"""Results of an evaluation as dataclasses, the content of evaluation.json.

Free of torch.
"""

from __future__ import annotations

from resnetlab.model_folder.model_file import License
from resnetlab.notebook import ObjectSummary, with_summary
from resnetlab.schema import NonNegativeInt, strict_dataclass
from resnetlab.stats.proportion import Proportion


@strict_dataclass
class ClassScore:
    """Scores of one class of the data."""

    name: str
    recall: Proportion
    """Percentage of the images of the class that are classified correctly."""
    predicted: int
    """Number of images for which the model predicts the class."""
    precision: Proportion | None = None
    """Percentage of these images that belong to the class; None if there are none."""
    f1_pct: float = 0.0
    """Harmonic mean of precision and recall, in percent."""
    roc_auc: float | None = None
    """Area under the ROC curve of the class against the rest; None if the data have one class."""
    average_precision: float | None = None
    """Average precision of the class against the rest; None if the data have one class."""


@strict_dataclass
class CalibrationBin:
    """Calibration bin: images whose highest probability lies within these bounds."""

    low: float
    high: float
    images: int
    confidence_pct: float
    """Mean of the highest probability."""
    accuracy_pct: float


@strict_dataclass
class Confusion:
    """Number of images of class `true` that the model predicts as `predicted`."""

    true: str
    predicted: str
    images: int


@strict_dataclass
class Misclassification:
    """Misclassified image with the probabilities of the predicted and the true class."""

    name: str
    label: str
    predicted: str
    probability: float
    label_probability: float


@strict_dataclass
class Calibration:
    """Calibration before and after the temperature of the model."""

    temperature: float
    ece_before_pct: float
    ece_after_pct: float
    loss_before_nats: float
    loss_after_nats: float
    bins_before: tuple[CalibrationBin, ...] = ()


@strict_dataclass
class SetScores:
    """Scores of the prediction sets for a coverage."""

    coverage_pct: float
    """Stated coverage."""
    covered: Proportion
    """Percentage of the images whose set contains the right class: the measured coverage."""
    mean_size: float
    """Mean number of classes in a set."""
    mean_size_low: float | None = None
    """Lower end of the 95 % interval of the mean (Student's t); None for one image."""
    mean_size_high: float | None = None
    single: Proportion
    """Percentage of the sets with one class."""
    empty: Proportion
    """Percentage of the sets without a class: no class is probable enough."""
    class_thresholds: NonNegativeInt
    """Number of classes with enough validation images for a threshold of their own."""
    classes: tuple[tuple[str, Proportion], ...] = ()
    """Measured coverage of each class of the data."""


@strict_dataclass
class AnsweredShare:
    """Accuracy on the images with the highest confidence, if the others get no answer."""

    answered_pct: float
    min_probability: float
    """Lowest probability of a predicted class among them."""
    accuracy: Proportion


@strict_dataclass
class OodScores:
    """Scores on images of other things than the classes of the model."""

    name: str
    """Name of their folder."""
    rejected: Proportion
    """Percentage of them that are called none of these."""
    roc_auc: float
    """Probability that an image of other things has a higher novelty than one of the data."""
    bad_files: tuple[tuple[str, str], ...] = ()
    """Unreadable files and the reason."""


@strict_dataclass
class NoveltyScores:
    """Scores of the answer none of these."""

    known_share_pct: float
    """Share of known images that the threshold is to keep."""
    known_rejected: Proportion
    """Percentage of the images of the data that are called none of these, which is wrong."""
    ood: OodScores | None = None


@with_summary
@strict_dataclass
class ModelEvaluation:
    """Content of evaluation.json: the evaluation of a model on one split."""

    schema: int = 1
    model: str
    model_sha256: str
    license: License
    caveats: tuple[str, ...] = ()
    data: str
    split: str
    tta: str
    top1: Proportion
    top5: Proportion
    balanced_accuracy_pct: float
    """Mean recall of the classes of the data, each with the same weight."""
    macro_f1_pct: float
    """Mean F1 of these classes, each with the same weight."""
    weighted_f1_pct: float
    """Mean F1 of these classes, weighted by their images."""
    loss_nats: float
    ece_pct: float
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017, sec. 2), after the
    temperature if the model has one.
    """
    outputs: int
    """Number of classes of the model; the data may have fewer."""
    classes: tuple[ClassScore, ...]
    confusions: tuple[Confusion, ...]
    """All pairs of true and predicted class that occur, the most frequent first."""
    bins: tuple[CalibrationBin, ...]
    mistakes: tuple[Misclassification, ...]
    """All misclassified images, the most confident first."""
    calibration: Calibration | None = None
    """Calibration before and after the temperature; None for a model without one."""
    sets: SetScores | None = None
    """Scores of the prediction sets; None for a model without them."""
    answered: tuple[AnsweredShare, ...] = ()
    """Accuracy on the most confident images, by their share, the largest first."""
    novelty: NoveltyScores | None = None
    """Scores of the answer none of these; None for a model without a novelty detector."""
    bad_files: tuple[tuple[str, str], ...] = ()
    """Unreadable files and the reason. No number above includes them."""
    notes: tuple[str, ...] = ()

    def _summary(self) -> ObjectSummary:
        top1 = f"{self.top1.pct:.1f} % [{self.top1.low:.1f}, {self.top1.high:.1f}]"
        details = {
            "images": self.top1.images,
            "accuracy": top1,
            "balanced accuracy": f"{self.balanced_accuracy_pct:.1f} %",
            "misclassified": len(self.mistakes),
        }
        rows = [(c.name, c.recall.images, c.recall.pct, c.f1_pct) for c in self.classes]
        header = ("class", "images", "recall, %", "F1, %")
        return ObjectSummary(f"{self.model} on {self.data}, {self.split}", details, header, rows)
