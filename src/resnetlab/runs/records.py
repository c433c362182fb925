"""Records of a run as dataclasses. Free of torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from resnetlab.data.config import SPLITS, DataConfig, Split
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.inspection.diagnostics_records import BlockAblations, GradientNorms, LossLandscape
from resnetlab.notebook import ObjectSummary, with_summary
from resnetlab.runs.config import RunConfig
from resnetlab.schema import strict_dataclass
from resnetlab.table import Table

EvaluationMode = Literal["eval", "train"]
"""Mode of a model in its evaluation, as in `model.eval()` and `model.train()`."""

Status = Literal["trained", "at chance", "diverged", "out of memory"]
"""Status of a finished run.

A run that crashed or was killed has no result and counts as missing.
"""


@strict_dataclass
class Scores:
    """Loss and errors on one split."""

    images: int
    """Number of evaluated images."""
    loss_nats: float | None
    """Mean cross-entropy; None if it is not finite."""
    top1_error_pct: float
    """Share of misclassified images in percent."""
    top5_error_pct: float | None = None
    """Top-5 error; None for data with at most ten classes."""

    @property
    def top1_accuracy_pct(self) -> float:
        """Share of correctly classified images in percent."""
        return 100 - self.top1_error_pct


@strict_dataclass
class Evaluation:
    """Line of metrics.jsonl.

    The split `train epoch` is the mean over the batches of an epoch, in training mode; at step 0 it
    is that of the train subset before the first step, also in training mode.
    """

    step: int
    """Number of optimizer steps before the evaluation."""
    epoch: float
    """Number of epochs before the evaluation."""
    split: Split | Literal["train epoch"]
    """Split that was evaluated; `train epoch` is described above."""
    loss_nats: float | None
    top1_error_pct: float
    seconds: float
    """Training time so far. No other field depends on a clock."""


@strict_dataclass
class Result:
    """Content of result.json, whose presence means that the run is finished."""

    schema: int
    """Version of the names in the file."""
    status: Status
    """Status of the run."""
    reason: str = ""
    """Explanation of a status other than trained, or a remark that trained cannot be told from
    chance."""
    step: int
    """Number of optimizer steps."""
    selected_step: int
    """Step whose weights were saved and tested."""
    train: Scores | None = None
    """Scores on a fixed subset of the train split."""
    validation: Scores | None = None
    """Scores on the validation split; None without one."""
    test: Scores | None = None
    """Scores on the test split; None for a run that diverged or ran out of memory."""
    train_seconds: float = 0.0
    """Time of the training steps in seconds."""
    evaluation_seconds: float = 0.0
    """Time of the evaluations in seconds."""
    images_per_second: float = 0.0
    """Throughput of the training steps, without evaluations."""
    weights_sha256: str = ""
    """SHA-256 of the saved weights."""


@strict_dataclass
class TrainModeEvaluation:
    """Evaluation of a run in training mode, the file diagnostics/train-mode.json.

    Batch norm uses the statistics of each batch of `recipe.batch_size` images, and dropout draws
    from a random stream of its own.
    """

    curve: tuple[Evaluation, ...] = ()
    """Evaluations during training. Those before it was requested are missing."""
    status: Literal["trained", "at chance"] | None = None
    """Status of the run by these evaluations; None before the end of the run."""
    reason: str = ""
    """Explanation of the status, as in result.json."""
    train: Scores | None = None
    """Scores of the selected weights on the train subset; None before the end of the run."""
    validation: Scores | None = None
    test: Scores | None = None


@strict_dataclass
class RunFile:
    """Content of run.json: the configuration of the run and metadata about its data and network."""

    schema: int
    run: RunConfig
    """Resolved configuration, from which the id of the run follows."""
    data_name: str
    """Name of the data set."""
    data_about: str = ""
    """Remark on the images for the reader of a report."""
    data: DataConfig
    """Data config as given by the user, with the path that a resumed run uses."""
    classes: tuple[str, ...]
    """Class names in the order of the outputs."""
    train_images: int
    """Number of images of the train split."""
    available_train_images: int = 0
    """Number of train images before `data.train_images` takes a part; 0 in old files."""
    parameters: int = 0
    """Number of parameters of the network; 0 in old files without this count."""
    macs: int = 0
    """Multiply-adds of the forward pass for one image."""
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    """Measurements during and after training. They are not part of the run's identity."""
    class_share: float
    """Largest share of one class among the test images: the accuracy of a network that learned
    nothing.
    """


@with_summary
@strict_dataclass
class RunRecord:
    """Record of a run: the content of all files of its folder."""

    id: str
    """Id of the run, which is the name of its folder."""
    file: RunFile
    """Content of run.json."""
    metrics: tuple[Evaluation, ...] = ()
    """Lines of metrics.jsonl."""
    provenance: tuple[dict[str, Any], ...] = ()
    """Lines of provenance.jsonl."""
    result: Result | None = None
    """Content of result.json; None before the end of the run."""
    gradient_norms: tuple[GradientNorms, ...] = ()
    """Gradient norms by epoch, if they were requested."""
    block_ablation: BlockAblations | None = None
    """Block ablation, if it was requested."""
    loss_landscape: LossLandscape | None = None
    """Loss landscapes, if they were requested."""
    train_mode: TrainModeEvaluation | None = None
    """Evaluation in training mode, if it was requested."""
    folder: str = ""
    """Path of the run's folder."""

    @property
    def config(self) -> RunConfig:
        """Resolved configuration of the run."""
        return self.file.run

    def curves(self) -> Table:
        """Return the evaluations of the run as a table, a row for each."""
        return Table.from_rows(map(vars, self.metrics), f"Curves of {self.id}")

    @property
    def is_missing(self) -> bool:
        """True if the last attempt failed and no other one follows."""
        last = self.provenance[-1] if self.provenance else {}
        return self.result is None and last.get("event") == "gave up"

    def _summary(self) -> ObjectSummary:
        result, run = self.result, self.file.run
        metadata: dict[str, object] = {"status": result.status if result else "unfinished"}
        metadata |= {"model": run.model.title, "data": self.file.data_name, "seed": run.seed}
        metadata |= {"parameters": self.file.parameters or None, "folder": self.folder}
        rows = [
            (split, scores.images, scores.top1_accuracy_pct, scores.loss_nats)
            for split in SPLITS
            if (scores := getattr(result, split, None)) is not None
        ]
        header = ("split", "images", "accuracy, %", "loss, nats")
        return ObjectSummary(self.id, metadata, header, rows)

    def evaluated_in(self, mode: EvaluationMode) -> RunRecord:
        """Return the record with the curve, the status and the scores of one mode of evaluation.

        A run that still has to be evaluated in training mode has no result in that mode. Gradient
        norms, block ablations and loss landscapes belong to the evaluation mode.
        """
        if mode == "eval":
            return self
        evaluation, result = self.train_mode or TrainModeEvaluation(), self.result
        if result is not None and result.test is not None:
            names = ("status", "reason", "train", "validation", "test")
            values: dict[str, Any] = {name: getattr(evaluation, name) for name in names}
            result = replace(result, **values) if evaluation.status is not None else None
        epochs = [line for line in self.metrics if line.split == "train epoch"]
        metrics = sorted((*evaluation.curve, *epochs), key=lambda line: line.step)
        return replace(
            self,
            metrics=tuple(metrics),
            result=result,
            gradient_norms=(),
            block_ablation=None,
            loss_landscape=None,
        )


def to_dict(record: RunRecord) -> dict[str, Any]:
    """Return the outcome of a run as plain values, for `--json`.

    Accuracies are in percent and times in seconds; an absent value is None.
    """
    result, file = record.result, record.file
    by_split: dict[str, Any] = {}
    for split in SPLITS:
        scores: Scores | None = getattr(result, split, None)
        by_split[f"{split}_images"] = scores.images if scores else None
        by_split[f"{split}_accuracy_pct"] = scores.top1_accuracy_pct if scores else None
        by_split[f"{split}_loss_nats"] = scores.loss_nats if scores else None
    return {
        "run": record.id,
        "folder": record.folder,
        "model": file.run.model.title,
        "data": file.data_name,
        "seed": file.run.seed,
        "parameters": file.parameters,
        "macs": file.macs,
        "status": result.status if result else None,
        "reason": result.reason if result else "",
        "steps": result.step if result else None,
        "selected_step": result.selected_step if result else None,
        **by_split,
        "train_seconds": result.train_seconds if result else None,
        "evaluation_seconds": result.evaluation_seconds if result else None,
        "images_per_second": result.images_per_second if result else None,
    }
