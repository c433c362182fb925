"""Evaluation of a model on one split. It leaves the model unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.data.device_images import DeviceImages
from resnetlab.models.preserve_model import preserve_buffers_and_mode
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.rng import make_generator, preserve_random_state

MAX_CLASSES_WITHOUT_TOP5 = 10
"""Largest number of classes for which no top-5 error is computed."""

EVAL_BATCH_SIZE = 500
"""Images in a batch in evaluation mode."""


@dataclass(frozen=True)
class SplitEvaluation:
    """Evaluation result of one split."""

    logits: Tensor
    """fp32 on the CPU, shape (N, K), in the order of the split."""
    loss_nats: float
    """Mean cross-entropy in nats."""
    top1_error_pct: float
    top5_error_pct: float | None = None
    """Top-5 error in percent; None for ten classes or fewer."""

    @property
    def is_finite(self) -> bool:
        """True if every logit and the loss are finite. Otherwise the errors mean nothing."""
        return bool(self.logits.isfinite().all()) and math.isfinite(self.loss_nats)


def evaluate(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    images: DeviceImages,
    world: World = SINGLE_PROCESS,
    batch_size: int = EVAL_BATCH_SIZE,
) -> SplitEvaluation:
    """Evaluate `images` in evaluation mode with `forward`, which maps pixels to logits (B, K).

    The batches are distributed over the processes of `world`, and every process gets all results.
    Batches come in a fixed shuffled order. Every buffer and the mode of `model` are restored.
    """
    batches = torch.split(_shuffled_order(images), batch_size)
    with preserve_buffers_and_mode(model), torch.inference_mode():
        model.eval()
        local_logits = [
            forward(images.pixels[part]).float().cpu() for part in batches[world.rank :: world.size]
        ]
    by_rank = world.all_gather(local_logits)
    # Batch `index` was computed by the process `index % world.size`, see above.
    logits = [by_rank[index % world.size][index // world.size] for index in range(len(batches))]
    return _result(logits, images)


def evaluate_in_train_mode(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    images: DeviceImages,
    batch_size: int,
    seed: int,
    set_train_mode: Callable[[], object],
) -> SplitEvaluation:
    """Evaluate `images` in training mode: batch norm uses each batch's statistics, dropout draws.

    The output for an image depends on its batch. Batches come in the same shuffled order as in
    `evaluate`, so that a batch has images of all classes. A last batch of one image joins the batch
    before it, because batch norm needs several values per channel. Every buffer and the mode of
    `model` and the random state of torch are restored.

    Args:
        model: Model to evaluate.
        forward: Function from pixels to logits (B, K).
        images: Images with their labels.
        batch_size: Number of images in a batch.
        seed: Seed of the random draws of layers.
        set_train_mode: Function that sets the training mode of `model`.
    """
    batches = list(torch.split(_shuffled_order(images), batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    with (
        preserve_buffers_and_mode(model),
        torch.inference_mode(),
        preserve_random_state(images.pixels.device),
    ):
        torch.manual_seed(seed)
        set_train_mode()
        return _result([forward(images.pixels[part]).float().cpu() for part in batches], images)


def _shuffled_order(images: DeviceImages) -> Tensor:
    """Return the indices of the images in the order of their evaluation, (N,) int64."""
    order = torch.randperm(len(images), generator=make_generator(0, "evaluation"))
    return order.to(images.pixels.device)


def _result(logits_by_batch: Sequence[Tensor], images: DeviceImages) -> SplitEvaluation:
    """Return the result for the logits of all batches, which are in the shuffled order."""
    shuffled = torch.cat(list(logits_by_batch))
    order = _shuffled_order(images).cpu()
    logits = torch.empty_like(shuffled).index_copy_(0, order, shuffled)
    labels = images.labels.cpu()
    loss = F.cross_entropy(logits.double(), labels)
    broken = ~logits.isfinite().all(1)  # such an output is never counted as correct
    wrong = (logits.argmax(1) != labels) | broken
    result = SplitEvaluation(logits, float(loss), 100 * int(wrong.sum()) / len(labels))
    if logits.shape[1] <= MAX_CLASSES_WITHOUT_TOP5:
        return result
    outside_top5 = ((logits > logits.gather(1, labels[:, None])).sum(1) >= 5) | broken
    return replace(result, top5_error_pct=100 * int(outside_top5.sum()) / len(labels))
