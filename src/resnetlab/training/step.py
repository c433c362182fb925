"""Training step: forward, loss, backward, clip, update, EMA.

Start reading here and go on with loop.py. Every faster way to take a step (cuda_graphs.py) must
give the same bits as this one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from resnetlab.training.device import autocast, to_memory_format
from resnetlab.training.state import TrainState

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) or features (B, F), with labels (B,) int64 or class probabilities (B, K)."""

BatchLoader = Callable[[slice], Batch]
"""Function from a slice of an epoch to the batch of those images."""


def train_step(state: TrainState, images: Tensor, labels: Tensor, batch_size: int = 0) -> Tensor:
    """Take one optimizer step. Never waits for the device, so that a CUDA graph can capture it.

    Args:
        state: Training state. Its model, optimizer and EMA change.
        images: Images of this process (B, C, H, W).
        labels: Labels of these images, (B,) int64 or class probabilities (B, K).
        batch_size: Size of the batch over all processes; 0 if `images` is the whole batch.

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
    parts = state.world.microbatches(batch_size, state.numerics.grad_accum_steps)
    sizes = [part.stop - part.start for part in parts]
    microbatches = zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)
    for index, (x, y) in enumerate(microbatches):
        # Processes average their gradients once, in the backward pass of the last microbatch.
        synchronize = state.world.size == 1 or index == len(sizes) - 1
        with nullcontext() if synchronize else state.ddp_model.no_sync():  # type: ignore[operator]
            with autocast(state.numerics):
                logits = state.ddp_model(to_memory_format(x, state.numerics))
            loss = state.loss(logits, y) * (len(x) / batch_size)
            (loss * state.world.size).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        all_logits.append(logits.detach())
    return torch.stack(losses).sum(), torch.cat(all_logits)


def count_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the number of images whose largest logit is not that of the label, () int64."""
    targets = labels.argmax(1) if labels.dim() > 1 else labels
    return (logits.argmax(1) != targets).sum()


class EagerStep:
    """Step that loads the next batch of the epoch and trains on it.

    Args:
        state: Training state.
        load_epoch: Function from the number of an epoch, from 0, to the loader of its batches.
    """

    load: BatchLoader

    def __init__(self, state: TrainState, load_epoch: Callable[[int], BatchLoader]) -> None:
        self.state, self.load_epoch, self.epoch = state, load_epoch, -1

    def __call__(self) -> None:
        """Take the step that follows `state.step`."""
        state = self.state
        epoch, index = divmod(state.step, state.steps_per_epoch)
        if epoch != self.epoch:
            self.start_epoch(epoch)
            self.epoch = epoch
        start = index * state.recipe.batch_size
        self.step(slice(start, min(start + state.recipe.batch_size, state.num_train_images)))

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch: the next steps use its batches."""
        self.load = self.load_epoch(epoch)

    def step(self, batch: slice) -> None:
        """Take a step on a slice of the epoch."""
        state, size = self.state, batch.stop - batch.start
        parts = state.world.microbatches(size, state.numerics.grad_accum_steps)
        own = slice(parts[0].start, parts[-1].stop)  # the images of this process
        if state.can_shard_batches:
            images, labels = self.load(slice(batch.start + own.start, batch.start + own.stop))
        else:
            images, labels = (tensor[own] for tensor in self.load(batch))
        state.set_lr()
        state.seed_dropout(state.step)
        state.record(train_step(state, images, labels, size))

    def synchronize(self) -> None:
        """Wait until the device has finished the queued steps, so that a clock counts them."""
        if self.state.device.type == "cuda":
            torch.cuda.current_stream(self.state.device).synchronize()

    def wait_for_current_stream(self) -> None:
        """Continue after a pause in which the caller may have used the device."""
