"""Evaluation of a model on one split. It leaves the model unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.data.device_images import DeviceImages
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.preserve import preserve_buffers_and_mode
from resnetlab.training.rng import make_generator

MAX_CLASSES_WITHOUT_TOP5 = 10
"""Largest number of classes for which no top-5 error is computed."""

EVAL_BATCH_SIZE = 500
"""Images in a batch, unless the model declares its own number as `stateful_evaluation`."""


@dataclass(frozen=True)
class EvalResult:
    """Result of one split, computed in evaluation mode if nothing else is said."""

    logits: Tensor
    """fp32 on the CPU, shape (N, K), in the order of the split."""
    loss_nats: float
    """Mean cross-entropy in nats."""
    top1_error_pct: float
    top5_error_pct: float | None = None
    """Top-5 error in per cent; None for ten classes or fewer."""

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
    *,
    set_train_mode: Callable[[], None] | None = None,
) -> EvalResult:
    """Evaluate `images` with `forward`, which maps pixels to logits (B, K).

    The batches are distributed over the processes of `world`, and every process gets all results.

    Batches come in a fixed shuffled order, so that a model whose outputs depend on the batch sees
    all classes; such a model declares its batch size as `stateful_evaluation`. Every buffer and the
    mode of `model` are restored.

    With `set_train_mode`, which sets the mode of a training step, batch normalization uses the
    statistics of each batch and dropout draws. A batch then has `batch_size` images or more, so
    that none is too small for statistics.
    """
    order = torch.randperm(len(images), generator=make_generator(0, "evaluation")).to(
        images.pixels.device
    )
    size: int = getattr(model, "stateful_evaluation", batch_size)
    with preserve_buffers_and_mode(model), torch.inference_mode():
        if set_train_mode is None:
            model.eval()
            batches = torch.split(order, size)
        else:
            set_train_mode()
            batches = order.tensor_split(max(1, len(order) // size))
        local_logits = [
            forward(images.pixels[part]).float().cpu() for part in batches[world.rank :: world.size]
        ]
    by_rank = world.all_gather(local_logits)
    shuffled = torch.cat(
        [by_rank[index % world.size][index // world.size] for index in range(len(batches))]
    )
    logits = torch.empty_like(shuffled).index_copy_(0, order.cpu(), shuffled)
    labels = images.labels.cpu()
    loss = F.cross_entropy(logits.double(), labels)
    broken = ~logits.isfinite().all(1)  # such an output is never counted as correct
    wrong = (logits.argmax(1) != labels) | broken
    result = EvalResult(logits, float(loss), 100 * int(wrong.sum()) / len(labels))
    if logits.shape[1] <= MAX_CLASSES_WITHOUT_TOP5:
        return result
    outside_top5 = ((logits > logits.gather(1, labels[:, None])).sum(1) >= 5) | broken
    return replace(result, top5_error_pct=100 * int(outside_top5.sum()) / len(labels))
