"""Predictions on photographs: the evaluator of fine-tuning, evaluation and prediction.

Probabilities are the softmax in float64 of fp32 logits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnetlab.data.photo_loader import (
    LOADER_BATCH_SIZE,
    LazyImage,
    Tta,
    augmented_views,
    load_batches,
)
from resnetlab.data.transforms.augment import normalize
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.errors import InputError, Problem, input_error
from resnetlab.models.transfer import forward_in_eval_mode

PredictProba = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""Function from the V views of each image (N, V, H, W, C) to probabilities (N, K)."""


@dataclass(frozen=True)
class ImagePrediction:
    """Image with the probability of each class (K,), or the reason why it cannot be decoded."""

    image: LazyImage
    probabilities: NDArray[np.float64] | None
    reason: str = ""


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network on a split: probabilities (N, K) and labels (N,)."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Return the most probable class of each image (N,)."""
        classes: NDArray[np.int64] = self.probabilities.argmax(1)
        return classes

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Return True for each image whose most probable class is its label (N,)."""
        correct: NDArray[np.bool_] = self.predicted == self.labels
        return correct

    @property
    def label_probabilities(self) -> NDArray[np.float64]:
        """Return the probability of each image's label (N,)."""
        return self.probabilities[np.arange(len(self.labels)), self.labels]

    @property
    def loss_nats(self) -> float:
        """Return the mean cross-entropy in nats."""
        return float(-np.log(np.maximum(self.label_probabilities, 1e-300)).mean())


def predict_images(
    predict_proba: PredictProba,
    images: Iterable[LazyImage],
    transform: EvalTransform,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
) -> Iterator[ImagePrediction]:
    """Yield the probabilities of each image, or the reason why it cannot be decoded, in order.

    Images of different shapes (the rule `whole`) go through the network shape by shape.
    """
    for batch in load_batches(
        images, lambda image: augmented_views(image, transform, tta), batch_size
    ):
        by_shape = defaultdict(list)
        for index, loaded in enumerate(batch):
            if loaded.pixels is not None:
                by_shape[loaded.pixels.shape].append((index, loaded.pixels))
        probabilities: dict[int, NDArray[np.float64]] = {}
        for group in by_shape.values():
            indices, views = zip(*group, strict=True)
            probabilities |= zip(indices, predict_proba(np.stack(views)), strict=True)
        for index, loaded in enumerate(batch):
            yield ImagePrediction(loaded.image, probabilities.get(index), loaded.reason)


class NonFiniteOutputsError(InputError):
    """Error of a network whose outputs are NaN or infinite, from which nothing can be predicted."""


def check_outputs(logits: Tensor, where: str) -> None:
    """Raise NonFiniteOutputsError unless all logits (N, K) are finite. `where` names the model.

    Raises InputError if the outputs are not one row of logits per image.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        kind = (
            f"a tensor of {logits.ndim} axes"
            if isinstance(logits, Tensor)
            else f"a {type(logits).__name__}"
        )
        fix = "choose a classifier of images, which gives logits (N, K)"
        raise input_error(where, f"the network's output is {kind}, not one logit per class", fix)
    bad = int((~logits.isfinite().all(1)).sum())
    if bad:
        message = f"the outputs for {bad:,} of {len(logits):,} images are not finite"
        fix = "use weights from before the training diverged, and check mean and std"
        raise NonFiniteOutputsError(Problem(where, message, fix))


def make_predict_proba(
    model: nn.Module, transform: EvalTransform, device: torch.device, where: str
) -> PredictProba:
    """Return a function from the views of images to class probabilities.

    Args:
        model: Network on `device` that maps images (N, C, H, W) to logits (N, K).
        transform: Evaluation transform, whose mean and standard deviation normalize the pixels.
        device: Device of the network.
        where: Name of the network for errors.
    """
    mean, std = (torch.tensor(values, device=device) for values in (transform.mean, transform.std))
    return partial(_predict_proba, model, mean, std, where)


def _predict_proba(
    model: nn.Module, mean: Tensor, std: Tensor, where: str, views: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return probabilities (N, K), averaged over V views of images (N, V, H, W, C) uint8."""
    count, num_views = views.shape[:2]
    pixels = torch.from_numpy(views.reshape(-1, *views.shape[2:])).to(mean.device)
    logits = forward_in_eval_mode(model, normalize(pixels, mean, std))
    check_outputs(logits, where)
    proba = torch.softmax(logits.double(), 1).view(count, num_views, -1).mean(1)
    return proba.cpu().numpy()
