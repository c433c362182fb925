"""Search for copied runs among the submissions of a class. Free of torch.

Each student has another seed, so two honest runs start from independent weights. Two runs are
copies if their files of weights or of logits are equal, or if their weights are closer to each
other than a tenth of their length: independent weights differ by more than their length.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab.course.findings import CheckFinding, failed, passed
from resnetlab.course.run_checks import is_parameter
from resnetlab.files import sha256
from resnetlab.models.tensorfile import open_safetensors
from resnetlab.runs.paths import LOGITS, WEIGHTS

NEAR_COPY = 0.1
"""Largest relative distance between the weights of two runs that makes them copies."""


def find_copies(folders: Mapping[str, Path]) -> dict[str, CheckFinding]:
    """Compare the runs of one exercise with each other.

    Args:
        folders: Folder of the run of each student, by the student's name.

    Returns:
        A finding for each student.

    Raises:
        InputError: A file of weights is not complete.
    """
    partners: dict[str, dict[str, str]] = {name: {} for name in folders}
    for file in (WEIGHTS, LOGITS):
        digests = {name: sha256(folder / file) for name, folder in folders.items()}
        for left, right in itertools.combinations(folders, 2):
            if digests[left] == digests[right]:
                partners[left].setdefault(right, file)
                partners[right].setdefault(left, file)
    vectors = {name: weights_vector(folder / WEIGHTS) for name, folder in folders.items()}
    for left, right in itertools.combinations(folders, 2):
        if relative_distance(vectors[left], vectors[right]) < NEAR_COPY:
            partners[left].setdefault(right, WEIGHTS)
            partners[right].setdefault(left, WEIGHTS)
    return {name: _finding(copied) for name, copied in partners.items()}


def _finding(partners: Mapping[str, str]) -> CheckFinding:
    if not partners:
        return passed(
            "copies",
            "no other submission has these weights or logits",
            "aucun autre rendu n'a ces poids ni ces logits",
        )
    names = ", ".join(sorted(partners))
    return failed(
        "copies",
        f"the weights or logits are those of: {names}",
        f"les poids ou les logits sont ceux de : {names}",
    )


def weights_vector(path: Path) -> NDArray[np.float32]:
    """Return the matrices and kernels of a file of weights as one vector.

    Raises InputError if it is damaged.
    """
    with open_safetensors(path, "np") as file:
        tensors = [file.get_tensor(name) for name in sorted(file.keys()) if is_parameter(name)]
    kernels = [tensor.ravel() for tensor in tensors if tensor.ndim >= 2]
    return np.concatenate(kernels).astype(np.float32) if kernels else np.zeros(0, np.float32)


def relative_distance(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Return the distance of two vectors, as a share of the length of the shorter one.

    Vectors of different sizes have an infinite distance.
    """
    if left.shape != right.shape or not left.size:
        return float("inf")
    length = min(float(np.linalg.norm(left)), float(np.linalg.norm(right)))
    distance = float(np.linalg.norm(left - right))
    return distance / length if length else float("inf")
