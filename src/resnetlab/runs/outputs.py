"""Outputs of a run: the evaluated weights, and the logits of the test images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from resnetlab.models.weights import write_tensors, write_weights
from resnetlab.runs.paths import LOGITS, WEIGHTS


def write_outputs(
    folder: Path,
    description: dict[str, Any],
    tensors: dict[str, Tensor],
    logits: Tensor,
    labels: Tensor,
) -> None:
    """Write the evaluated weights of a run and its outputs for the test images.

    Args:
        folder: Folder of the run.
        description: Description of the model and its inputs, for the metadata of the weights.
        tensors: Weights.
        logits: Outputs for the test images (N, K) fp32, in the order of the split.
        labels: Labels of the test images (N,) int64.
    """
    write_weights(folder / WEIGHTS, tensors, description)
    write_tensors(folder / LOGITS, {"logits": logits, "labels": labels})
