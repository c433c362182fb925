"""Writer of a run's result. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping

from resnetlab.files import sha256
from resnetlab.runs.paths import WEIGHTS
from resnetlab.runs.records import Result, Scores, Status
from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import SCHEMA


def commit_result(
    run_folder: RunFolder,
    status: Status,
    reason: str = "",
    *,
    step: int = 0,
    selected_step: int | None = None,
    scores: Mapping[str, Scores] | None = None,
    train_seconds: float = 0.0,
    evaluation_seconds: float = 0.0,
    images_processed: float = 0.0,
) -> Result:
    """Write result.json, after which the run is finished, and return its content.

    A result that is there already stays, and is returned.

    Args:
        run_folder: Folder of the run.
        status: Status of the run.
        reason: Explanation of a status other than "trained".
        step: Number of optimizer steps.
        selected_step: Step whose weights were saved and tested; None for `step`.
        scores: Scores by split. A run that has them has a file of weights too.
        train_seconds: Time of the training steps.
        evaluation_seconds: Time of the evaluations.
        images_processed: Number of images in the training steps.
    """
    scores = scores or {}
    result = Result(
        schema=SCHEMA,
        status=status,
        reason=reason,
        step=step,
        selected_step=step if selected_step is None else selected_step,
        train=scores.get("train"),
        validation=scores.get("validation"),
        test=scores.get("test"),
        train_seconds=round(train_seconds, 3),
        evaluation_seconds=round(evaluation_seconds, 3),
        images_per_second=round(images_processed / train_seconds, 1) if train_seconds else 0.0,
        weights_sha256=sha256(run_folder.path / WEIGHTS) if scores else "",
    )
    written = run_folder.commit(result)
    return result if written else run_folder.result() or result
