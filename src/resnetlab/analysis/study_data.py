"""Data of a study as plain values, from which alone a report is built.

`collect.py` gathers them from runs, `data_files.py` writes and reads them.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from resnetlab.analysis.ensembles import EnsembleRow
from resnetlab.inspection.diagnostics_records import BlockAblation, LayerNorms
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.records import EvaluationMode
from resnetlab.schema import SCHEMA, strict_dataclass
from resnetlab.stats.outcomes import Outcome
from resnetlab.studies.claims import ClaimSplit, Metric
from resnetlab.studies.study import Study


@strict_dataclass
class RunRow:
    """Planned run, a line of results.csv: error in percent, loss in nats; empty if not measured."""

    condition: str
    """Label of the condition."""
    seed: int
    """Seed of the run."""
    status: Outcome
    """Outcome of the run; `missing` if it has no result."""
    test_error_pct: float | None = None
    """Test error in percent."""
    test_loss_nats: float | None = None
    """Mean test loss in nats."""
    validation_error_pct: float | None = None
    """Validation error in percent."""
    validation_loss_nats: float | None = None
    """Mean validation loss in nats."""
    train_error_pct: float | None = None
    """Error on the fixed train subset in percent."""
    train_loss_nats: float | None = None
    """Mean loss on the fixed train subset in nats."""
    test_top5_error_pct: float | None = None
    """Top-5 error, for data with more than ten classes."""
    validation_top5_error_pct: float | None = None
    """Top-5 error on the validation split."""
    train_top5_error_pct: float | None = None
    """Top-5 error on the fixed train subset."""
    steps: int = 0
    """Number of optimizer steps."""
    epochs: float = 0.0
    """Number of epochs."""
    train_seconds: float = 0.0
    """Time of the training steps in seconds."""
    evaluation_seconds: float = 0.0
    """Time of the evaluations in seconds."""
    images_per_second: float = 0.0
    """Throughput of the training steps."""
    parameters: int | None = None
    """Number of parameters of the network; empty in older reports, which did not count them."""
    attempts: int = 0
    """Number of times that the run was started or resumed."""
    run: str
    """Id of the run."""
    reason: str = ""
    """Explanation of the status, and the failures of earlier attempts."""
    evaluation_mode: EvaluationMode = "eval"
    """Mode of the network in its evaluations."""
    value: float | None = None
    """Measured value of an imported run, in the unit of its measure."""

    @property
    def measured(self) -> float | None:
        """Value of the report's measure: the test accuracy in percent, or `value`."""
        if self.value is not None or self.test_error_pct is None:
            return self.value
        return 100 - self.test_error_pct

    def metric(self, metric: Metric, split: ClaimSplit) -> float | None:
        """Return a metric on a split: accuracy (`top1`) and `error` in percent, `loss` in nats."""
        is_train = split == "train"
        if metric == "loss":
            return self.train_loss_nats if is_train else self.test_loss_nats
        error = self.train_error_pct if is_train else self.test_error_pct
        return 100 - error if metric == "top1" and error is not None else error


@strict_dataclass
class CurvePoint:
    """Evaluation of a run: a line of curves.csv."""

    condition: str
    seed: int
    split: str
    """Split that was evaluated."""
    step: int
    """Number of optimizer steps before the evaluation."""
    epoch: float
    """Number of epochs before the evaluation."""
    loss_nats: float | None = None
    """Mean loss in nats; empty if it is not finite."""
    top1_error_pct: float | None = None
    """Error in percent; empty for imported runs alone."""
    evaluation_mode: EvaluationMode = "eval"
    value: float | None = None
    """Measured value of an imported run, in the unit of its measure."""

    @property
    def accuracy_pct(self) -> float:
        """Accuracy in percent, of a run of resnetlab."""
        assert self.top1_error_pct is not None, "an imported run has no error in percent"
        return 100 - self.top1_error_pct


@strict_dataclass
class _RunKey:
    condition: str
    seed: int


@strict_dataclass
class _EpochKey(_RunKey):
    epoch: float
    images: int
    """Number of images of the batch."""


@strict_dataclass
class GradientNormRow(LayerNorms, _EpochKey):
    """Gradient norms of a layer after an epoch: a line of layers.csv."""


@strict_dataclass
class BlockRow(BlockAblation, _RunKey):
    """Block ablation of a run: a line of blocks.csv, if the study asks for it."""


@strict_dataclass
class LandscapePoint(_RunKey):
    """Loss at a point of a plane through the weights of a run: a line of landscape.csv."""

    images: int
    """Number of train images whose mean loss was measured."""
    batch_norm: Literal["running", "batch"]
    """Statistics of batch norm: those of the trained weights, or of the images at each point."""
    plane: int
    """Number of the plane, from 0."""
    x: float
    """Steps along the first direction; at 1 each filter has moved by its norm."""
    y: float
    """Steps along the second direction."""
    loss_nats: float | None
    """Mean loss in nats; empty if it is not finite."""


@strict_dataclass
class DatasetInfo:
    """Data that some conditions share. Numbers of images are None until a run has recorded them."""

    conditions: tuple[str, ...]
    name: str
    about: str = ""
    """Remark about the images, for the report."""
    sha256: str
    classes: tuple[str, ...]
    class_share: float
    train_images: int
    available_train_images: int | None = None
    """Number of train images before `data.train_images` takes a part; None in older reports."""
    train_subset_images: int | None = None
    """Number of images of the fixed train subset whose loss is plotted."""
    validation_images: int | None = None
    test_images: int | None = None


@strict_dataclass
class Machine:
    """Hardware and software of runs."""

    version: str = ""
    commit: str = ""
    dirty: bool = False
    python: str = ""
    platform: str = ""
    processor: str = ""
    instruction_set: str = ""
    """Vector instructions that torch used; empty if an older version made the run."""
    device: str = ""
    packages: dict[str, str]
    runs: int
    """Number of planned runs that used this machine; a run that moved counts for both machines."""


@strict_dataclass
class ClaimVerdict:
    """Verdict on a claim in report.json, for other programs. A report computes it from the runs."""

    claim: str
    verdict: str
    """Verdict with its protocol: `at 4 % of the training: contradicted`."""
    direction: str = ""
    """Verdict on the direction, for a claim about a size."""
    training_share_low: float | None = None
    """Lowest share of its training, 0 to 1, of a condition of the claim; None: all or unknown."""
    training_share_high: float | None = None


@strict_dataclass
class QuestionAnswer:
    """Answer to a question of a source, in English (`en`) and in French (`fr`).

    A report writes it from the runs.
    """

    number: dict[str, str]
    """Number or place of the question in its source, by language."""
    source: str
    mark: str = ""
    """Mark that the source gives to the question: `star`, `bonus` or nothing."""
    statuses: tuple[str, ...] = ()
    """Result of each piece of evidence: `supported`, `not run`, `at 4 % of the training:
    inconclusive`; empty if the explanation alone answers the question.
    """
    question: dict[str, str]
    """Question by language."""
    measured: dict[str, str]
    """Sentences about the runs by language; empty if the question asks for none."""
    explanation: dict[str, str]
    """General explanation by language. It states no result of the runs."""
    values: dict[str, float] = field(default_factory=dict)
    """All numbers of the sentences about the runs, by name."""

    def text(self, language: str) -> str:
        """Return the answer in a language: what the runs show, and then the explanation."""
        return " ".join(filter(None, (self.measured[language], self.explanation[language])))


@strict_dataclass
class StudyData:
    """Evidence of a study: a report is built from it alone."""

    schema: int = SCHEMA
    study: Study
    data: tuple[DatasetInfo, ...]
    machines: tuple[Machine, ...] = ()
    numerics: tuple[Numerics, ...] = ()
    """Resolved numerics of the runs; there is one entry unless the runs used different ones."""
    began: str = ""
    """Start time of the first run, ISO 8601, UTC."""
    ended: str = ""
    command: str = ""
    """Command that repeats the study."""
    verdicts: tuple[ClaimVerdict, ...] = ()
    """Verdicts on the claims, in their order."""
    answers: tuple[QuestionAnswer, ...] = ()
    """Answers to the questions of the study's sources."""
    rows: tuple[RunRow, ...] = ()
    curve_points: tuple[CurvePoint, ...] = ()
    gradient_norms: tuple[GradientNormRow, ...] = ()
    blocks: tuple[BlockRow, ...] = ()
    landscape_points: tuple[LandscapePoint, ...] = ()
    ensembles: tuple[EnsembleRow, ...] = ()
