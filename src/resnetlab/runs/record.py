"""What a run leaves behind, as data. Free of torch."""

from __future__ import annotations

from typing import Any, Literal

from resnetlab.codec import spec
from resnetlab.data.spec import Data, Split
from resnetlab.inspection.measured import DroppedBlocks, Gradients, Instruments
from resnetlab.runs.spec import RunSpec

Status = Literal["converged", "dead", "diverged", "out of memory"]
"""How a finished run ended. A run that infrastructure broke has no result: it is missing."""


@spec
class Scores:
    """Of one split, in evaluation mode."""

    images: int
    loss_nats: float | None
    """None where it is not finite."""
    top1_error_pct: float
    top5_error_pct: float | None = None
    """Of data of more than ten classes."""


@spec
class Evaluation:
    """A line of metrics.jsonl. `running` is the loop's own mean over the epoch, in training mode."""

    step: int
    epoch: float
    split: Split | Literal["running"]
    loss_nats: float | None
    top1_error_pct: float
    seconds: float
    """Spent training so far: the one clock field."""


@spec
class Result:
    """result.json: its presence means that the run is finished."""

    schema: int
    status: Status
    reason: str = ""
    """Of a status that is not converged."""
    step: int
    """Steps taken."""
    chosen_step: int
    """Whose weights were kept and tested."""
    train: Scores | None = None
    """A fixed subset of the train split."""
    validation: Scores | None = None
    test: Scores | None = None
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    images_per_second: float = 0.0
    """Of training steps alone."""
    weights_sha256: str = ""


@spec
class RunFile:
    """run.json."""

    schema: int
    run: RunSpec
    data_name: str
    data_about: str = ""
    """What a reader of a report must know of the images."""
    data: Data
    """As it was given: where to look for the data when the run is resumed."""
    classes: tuple[str, ...]
    train_images: int
    """Images of the train split."""
    parameters: int = 0
    """Of the network; 0 in files of before they were counted."""
    macs: int = 0
    """Multiply-adds of the network for one image, forward."""
    instruments: Instruments = Instruments()
    """What is measured on the way: asked for, and no part of what the run is."""
    class_share: float
    """Largest share of one class among the test images: the accuracy of a network that learned nothing."""


@spec
class RunRecord:
    """A run's folder, read."""

    id: str
    file: RunFile
    metrics: tuple[Evaluation, ...] = ()
    provenance: tuple[dict[str, Any], ...] = ()
    result: Result | None = None
    gradients: tuple[Gradients, ...] = ()
    """By epoch, where the run was asked for them."""
    dropped: DroppedBlocks | None = None
    """Likewise."""
    folder: str = ""
    """Where it lies."""


def facts(record: RunRecord) -> dict[str, Any]:
    """What came of a run as plain values, for `--json`: accuracies in percent, times in seconds, None where absent."""
    result, file = record.result, record.file
    by_split: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        scores: Scores | None = getattr(result, split, None)
        by_split[f"{split}_images"] = scores.images if scores else None
        by_split[f"{split}_accuracy_pct"] = 100 - scores.top1_error_pct if scores else None
        by_split[f"{split}_loss_nats"] = scores.loss_nats if scores else None
    return {
        "run": record.id, "folder": record.folder, "model": file.run.model.title, "data": file.data_name,
        "seed": file.run.seed, "parameters": file.parameters, "macs": file.macs,
        "status": result.status if result else None, "reason": result.reason if result else "",
        "steps": result.step if result else None, "chosen_step": result.chosen_step if result else None, **by_split,
        "train_seconds": result.train_seconds if result else None,
        "evaluation_seconds": result.evaluation_seconds if result else None,
        "images_per_second": result.images_per_second if result else None,
    }  # fmt: skip
