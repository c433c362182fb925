"""Training step, for example of SGD: forward, loss, backward, clip, update, EMA.

Start reading here and go on with loop.py. training_step.py loads the batches. Every faster way to
take a step (cuda_graphs.py) must give the same bits as this one.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from resnetlab.training.device import autocast, to_memory_format
from resnetlab.training.state import TrainState


def train_step(
    state: TrainState, images: Tensor, labels: Tensor, batch_size: int | None = None
) -> Tensor:
    """Take one step of the optimizer (SGD, Adam, ...) on a batch.

    The function never waits for the device, so that a CUDA graph can capture it.

    Args:
        state: Training state. Its model, optimizer and EMA change.
        images: Images of this process (B, C, H, W).
        labels: Labels of these images, (B,) int64 or class probabilities (B, K).
        batch_size: Size of the batch over all processes; None if `images` is the whole batch.

    Returns:
        The loss in nats and the number of errors, (2,) fp32. Over all processes they add up to the
        mean loss and the errors of the batch.
    """
    state.set_train_mode()
    state.optimizer.zero_grad()
    loss, logits = forward_backward(state, images, labels, batch_size or len(images))
    if state.recipe.clip_norm:
        nn.utils.clip_grad_norm_(state.trainable.values(), state.recipe.clip_norm)
    state.optimizer.step()
    if state.ema:
        state.ema.update(state.trainable.values())
    return torch.stack([loss, count_errors(logits, labels)])


def forward_backward(
    state: TrainState, images: Tensor, labels: Tensor, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Add the gradients of a batch to the parameters, one microbatch after another.

    The arguments are those of `train_step`. Returns this process's part of the batch's mean loss,
    and its logits (B, K).
    """
    losses, all_logits = [], []
    slices = state.world.microbatch_slices(batch_size, state.numerics.grad_accum_steps)
    sizes = [part.stop - part.start for part in slices]
    microbatches = zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)
    for index, (x, y) in enumerate(microbatches):
        is_last = index == len(sizes) - 1
        # Processes average their gradients once, in the backward pass of the last microbatch.
        with nullcontext() if is_last else state.no_sync():
            with autocast(state.numerics):
                logits = state.wrapped_model(to_memory_format(x, state.numerics))
            loss = state.loss(logits, y) * (len(x) / batch_size)  # its part of the batch's mean
            # The average divides by the number of processes; the gradients must add up instead.
            (loss * state.world.size).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        all_logits.append(logits.detach())
    return torch.stack(losses).sum(), torch.cat(all_logits)


def count_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the number of images whose largest logit is not that of the label, () int64."""
    targets = labels.argmax(1) if labels.dim() > 1 else labels
    return (logits.argmax(1) != targets).sum()


def train_on_batch(
    state: TrainState, images: Tensor, labels: Tensor, batch_size: int | None = None
) -> None:
    """Take the step that follows `state.step`, and record its loss and errors.

    The arguments are those of `train_step`.
    """
    state.set_lr()
    state.seed_dropout(state.step)
    metrics = train_step(state, images, labels, batch_size)
    state.record_step(metrics)
