"""Scores of a split. Leaves the network as it found it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.data.device_images import Resident
from resnetlab.training.distributed import ALONE, Team
from resnetlab.training.preserve import unchanged
from resnetlab.training.rng import stream

FEW = 10
"""Classes of which the five most probable say little: no top-5 error is taken."""

BATCH = 500
"""Images at a time, unless the network declares its own number as `stateful_evaluation`."""


@dataclass(frozen=True)
class Scored:
    """Of one split in evaluation mode."""

    logits: Tensor  # (N, K) fp32 on the processor, in the split's order
    loss_nats: float
    """Mean cross-entropy; not finite where a logit is not."""
    top1_error_pct: float
    top5_error_pct: float | None = None
    """None of ten classes or fewer."""

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss_nats)


def evaluate(
    model: nn.Module, forward: Callable[[Tensor], Tensor], images: Resident, team: Team = ALONE, batch: int = BATCH
) -> Scored:
    """Score `images` with `forward`, which takes `batch` of their pixels and gives logits (B, K).

    The batches are dealt out to the processes of `team`, and each has all scores.

    Batches come in a fixed shuffled order, so that a network which looks at its batch meets all classes; one that does
    declares how many images a batch has, as `stateful_evaluation`. Every buffer and the mode of `model` are put back.
    """
    order = torch.randperm(len(images), generator=stream(0, "evaluation")).to(images.pixels.device)
    size: int = getattr(model, "stateful_evaluation", batch)
    with unchanged(model), torch.inference_mode():
        model.eval()
        batches = torch.split(order, size)
        mine = [forward(images.pixels[part]).float().cpu() for part in batches[team.rank :: team.size]]
    dealt = team.gathered(mine)
    shuffled = torch.cat([dealt[index % team.size][index // team.size] for index in range(len(batches))])
    logits = torch.empty_like(shuffled).index_copy_(0, order.cpu(), shuffled)
    labels = images.labels.cpu()
    loss = F.cross_entropy(logits.double(), labels)
    wrong = logits.argmax(1) != labels
    scored = Scored(logits, float(loss), 100 * int(wrong.sum()) / len(labels))
    if logits.shape[1] <= FEW:
        return scored
    beyond = (logits > logits.gather(1, labels[:, None])).sum(1) >= 5
    return replace(scored, top5_error_pct=100 * int(beyond.sum()) / len(labels))
