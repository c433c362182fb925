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
from resnetlab.models.transfer import find_head, forward_in_eval_mode


@dataclass(frozen=True)
class PhotoOutputs:
    """Outputs of a network for N photographs, each averaged over the views of the photograph."""

    probabilities: NDArray[np.float64]
    """Probabilities (N, K)."""
    logits: NDArray[np.float64]
    """Logits (N, K)."""
    features: NDArray[np.float32] | None = None
    """Inputs (N, F) of the classifier; None unless they were asked for."""


PredictOutputs = Callable[[NDArray[np.uint8]], PhotoOutputs]
"""Function from the V views of each image (N, V, H, W, C) to the network's outputs."""


@dataclass(frozen=True)
class ImagePrediction:
    """Image with the probability of each class (K,), or the reason why it cannot be decoded."""

    image: LazyImage
    probabilities: NDArray[np.float64] | None
    reason: str = ""
    logits: NDArray[np.float64] | None = None
    """Logits (K,)."""
    features: NDArray[np.float32] | None = None
    """Input (F,) of the classifier, if the network's outputs have it."""


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions of a network on a split: probabilities (N, K) and labels (N,)."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class of each image (N,)."""
        classes: NDArray[np.int64] = self.probabilities.argmax(1)
        return classes

    @property
    def correct(self) -> NDArray[np.bool_]:
        """True for each image whose most probable class is its label (N,)."""
        correct: NDArray[np.bool_] = self.predicted == self.labels
        return correct

    @property
    def label_probabilities(self) -> NDArray[np.float64]:
        """Probability of each image's label (N,)."""
        return self.probabilities[np.arange(len(self.labels)), self.labels]

    @property
    def loss_nats(self) -> float:
        """Mean cross-entropy in nats."""
        return float(-np.log(np.maximum(self.label_probabilities, 1e-300)).mean())


def predict_images(
    predict_outputs: PredictOutputs,
    images: Iterable[LazyImage],
    transform: EvalTransform,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
) -> Iterator[ImagePrediction]:
    """Yield the outputs for each image, or the reason why it cannot be decoded, in order.

    Images of different shapes (the crop mode `whole`) go through the network shape by shape.
    """
    for batch in load_batches(
        images, lambda image: augmented_views(image, transform, tta), batch_size
    ):
        by_shape = defaultdict(list)
        for index, loaded in enumerate(batch):
            if loaded.pixels is not None:
                by_shape[loaded.pixels.shape].append((index, loaded.pixels))
        predictions: dict[int, ImagePrediction] = {}
        for group in by_shape.values():
            indices, views = zip(*group, strict=True)
            outputs = predict_outputs(np.stack(views))
            for row, index in enumerate(indices):
                predictions[index] = image_prediction(batch[index].image, outputs, row)
        for index, loaded in enumerate(batch):
            yield predictions.get(index) or ImagePrediction(loaded.image, None, loaded.reason)


def image_prediction(image: LazyImage, outputs: PhotoOutputs, row: int) -> ImagePrediction:
    """Return the prediction for the image in a row of the outputs."""
    features = None if outputs.features is None else outputs.features[row]
    return ImagePrediction(image, outputs.probabilities[row], "", outputs.logits[row], features)


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


def make_predict_outputs(
    model: nn.Module,
    transform: EvalTransform,
    device: torch.device,
    where: str,
    *,
    with_features: bool = False,
) -> PredictOutputs:
    """Return a function from the views of images to the network's outputs.

    Args:
        model: Network on `device` that maps images (N, C, H, W) to logits (N, K).
        transform: Evaluation transform, whose mean and standard deviation normalize the pixels.
        device: Device of the network.
        where: Name of the network for errors.
        with_features: True to return the inputs of the classifier too.

    Raises:
        InputError: `with_features` is set, and the network has no linear layer.
    """
    mean, std = (torch.tensor(values, device=device) for values in (transform.mean, transform.std))
    head = find_head(model, where)[1] if with_features else None
    return partial(_predict_outputs, model, head, mean, std, where)


def _predict_outputs(
    model: nn.Module,
    head: nn.Linear | None,
    mean: Tensor,
    std: Tensor,
    where: str,
    views: NDArray[np.uint8],
) -> PhotoOutputs:
    """Return the outputs, averaged over V views of images (N, V, H, W, C) uint8."""
    count, num_views = views.shape[:2]
    pixels = torch.from_numpy(views.reshape(-1, *views.shape[2:])).to(mean.device)
    images = normalize(pixels, mean, std)
    if head is None:
        features, logits = None, forward_in_eval_mode(model, images)
    else:
        features, logits = _forward_with_head_input(model, head, images)
    check_outputs(logits, where)
    double = logits.double()

    def average(values: Tensor) -> Tensor:
        return values.reshape(count, num_views, -1).mean(1).cpu()

    return PhotoOutputs(
        average(torch.softmax(double, 1)).numpy(),
        average(double).numpy(),
        None if features is None else average(features.float()).numpy(),
    )


def _forward_with_head_input(
    model: nn.Module, head: nn.Linear, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the input (B, F) of the classifier `head` and the logits (B, K)."""
    inputs: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        logits = forward_in_eval_mode(model, images)
    finally:
        hook.remove()
    return inputs[-1].flatten(1), logits
