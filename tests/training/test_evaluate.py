"""The scores of a split equal those of a plain loop, and the network is unchanged afterwards."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.small_training import SmallTraining
from resnetlab.data.config import LabeledImages
from resnetlab.data.device_images import DeviceImages
from resnetlab.recipes.train import Recipe
from resnetlab.training import evaluate as module
from resnetlab.training.evaluate import evaluate, evaluate_in_train_mode

CPU = torch.device("cpu")


def numbered(count: int) -> DeviceImages:
    """Image i has the number i in its first two bytes."""
    pixels = np.zeros((count, 2, 2, 1), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 1, 0] = np.arange(count) % 256, np.arange(count) // 256
    return DeviceImages.from_images(LabeledImages(pixels, np.arange(count) % 3), CPU)


def number(pixels: Tensor) -> Tensor:
    return pixels[:, 0, 0, 0].long() + 256 * pixels[:, 0, 1, 0].long()


class BufferChangingNetwork(nn.Module):
    """A network that changes its buffers even in evaluation, in place and by putting new ones
    there.
    """

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.frozen = nn.BatchNorm1d(3)
        self.batches: list[Tensor] = []
        self.modes: list[bool] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen.add_(1)
        self.count = self.count + 1
        self.modes.append(self.training or self.frozen.training)
        which = number(pixels)
        self.batches.append(which)
        return torch.stack([which.float() / 100, torch.ones(len(which)), -which.float() / 100], 1)


@pytest.mark.parametrize("count", [1, 7, 500, 501, 1200])
def test_logits_are_in_the_order_of_the_split_and_contain_every_image_once(count: int) -> None:
    model, images = BufferChangingNetwork(), numbered(count)
    scored = evaluate(model, model, images)
    assert scored.logits.shape == (count, 3)
    assert scored.logits.dtype == torch.float32
    assert scored.logits.device.type == "cpu"
    torch.testing.assert_close(scored.logits[:, 0], torch.arange(count) / 100)
    assert sorted(torch.cat(model.batches).tolist()) == list(range(count))
    assert max(len(batch) for batch in model.batches) <= module.EVAL_BATCH_SIZE


def test_the_evaluation_order_is_shuffled_and_always_the_same() -> None:
    first, second = BufferChangingNetwork(), BufferChangingNetwork()
    evaluate(first, first, numbered(300))
    torch.rand(3)
    evaluate(second, second, numbered(300))
    order = torch.cat(first.batches).tolist()
    assert order == torch.cat(second.batches).tolist()
    assert order != sorted(order)


def test_scores_equal_a_plain_loop(small: SmallTraining) -> None:
    images = small.images(60)
    train_state = small.train_state(Recipe(batch_size=8, epochs=2), images)
    small.run(train_state, images)
    device_images = DeviceImages.from_images(images, CPU)
    scored = evaluate(train_state.model, train_state.eval_forward_pixels, device_images)
    train_state.model.eval()
    loss = wrong = 0.0
    for pixels, label in zip(device_images.pixels, images.labels, strict=True):
        with torch.no_grad():
            logits = train_state.eval_forward_pixels(pixels[None])[0].double()
        loss -= float(logits[label] - torch.log(torch.exp(logits).sum()))
        wrong += int(logits.argmax()) != label
    assert scored.loss_nats == pytest.approx(loss / 60, rel=1e-5)
    assert scored.top1_error_pct == pytest.approx(100 * wrong / 60)
    assert scored.is_finite


def test_a_constant_network_has_a_loss_of_ln_k_nats() -> None:
    images = numbered(30)
    scored = evaluate(nn.Identity(), lambda pixels: torch.zeros(len(pixels), 3), images)
    assert scored.loss_nats == pytest.approx(math.log(3), rel=1e-12)
    assert scored.top1_error_pct == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("classes", [10, 11])
def test_the_top_5_error_is_computed_for_more_than_ten_classes(
    classes: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(90, classes, generator=generator)
    images = numbered(90)  # of classes 0, 1 and 2
    scored = evaluate(nn.Identity(), lambda pixels: logits[number(pixels)], images)
    inside = [
        label in row.argsort(descending=True)[:5]
        for row, label in zip(logits, images.labels, strict=True)
    ]
    expected = 100 - 100 * sum(inside) / 90
    assert scored.top5_error_pct == (pytest.approx(expected) if classes == 11 else None)
    assert 0 < expected < scored.top1_error_pct


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_logits_are_reported(value: float) -> None:
    scored = evaluate(
        nn.Identity(), lambda pixels: torch.full((len(pixels), 3), value), numbered(30)
    )
    assert not scored.is_finite


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_mode_and_buffers_are_restored_even_after_an_error(training: bool, raises: bool) -> None:
    model = BufferChangingNetwork().train(training)
    model.frozen.eval()
    seen, count = model.seen, model.count

    def forward(pixels: Tensor) -> Tensor:
        out = model(pixels)
        if raises and len(model.batches) == 2:
            raise RuntimeError("no more")
        return out

    if raises:
        with pytest.raises(RuntimeError, match="no more"):
            evaluate(model, forward, numbered(1200))
    else:
        evaluate(model, forward, numbered(1200))
    assert model.modes
    assert not any(model.modes), "evaluation mode throughout"
    assert model.training == training
    assert not model.frozen.training, "each part keeps the mode that it had"
    assert model.seen is seen
    assert model.count is count
    assert not model.seen.any()
    assert model.count == 0


def test_evaluation_does_not_change_the_bits_of_a_train_state(small: SmallTraining) -> None:
    images = small.images()
    train_state = small.train_state(Recipe(batch_size=8, epochs=1, ema=0.9), images)
    small.run(train_state, images)
    before, state = small.snapshot(train_state), torch.get_rng_state()
    gradients = [p.grad.clone() for p in train_state.model.parameters()]
    evaluate(
        train_state.model, train_state.eval_forward_pixels, DeviceImages.from_images(images, CPU)
    )
    assert all(
        torch.equal(before[name], tensor) for name, tensor in train_state.state_dict().items()
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert train_state.model.training
    for parameter, gradient in zip(train_state.model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)
        assert not parameter.is_inference()
    assert not any(buffer.is_inference() for buffer in train_state.model.buffers())
    small.run(train_state, images)


class Drawing(nn.Module):
    """A network with batch norm and dropout, which records its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(3), nn.Dropout(0.5)
        self.sizes: list[int] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.sizes.append(len(pixels))
        value = number(pixels).float()[:, None]
        out: Tensor = self.dropout(self.norm(torch.cat([value, value**2, -value], 1)))
        return out


def in_train_mode(model: Drawing, count: int, seed: int = 0) -> Tensor:
    scored = evaluate_in_train_mode(model, model, numbered(count), 16, seed, model.train)
    return scored.logits


@pytest.mark.parametrize(
    ("count", "sizes"), [(48, [16, 16, 16]), (40, [16, 16, 8]), (33, [16, 17]), (1, [1])]
)
def test_in_training_mode_no_batch_has_a_single_image_unless_the_split_has(
    count: int, sizes: list[int]
) -> None:
    model = Drawing()
    if count == 1:
        model.norm = nn.Identity()  # type: ignore[assignment]
    in_train_mode(model, count)
    assert model.sizes == sizes


def test_training_mode_draws_from_its_seed_and_restores_the_random_state() -> None:
    model = Drawing().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    first, same, other = (in_train_mode(model, 40, seed) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert 0.3 < float((first == 0).float().mean()) < 0.7  # dropout is at work
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training


def test_training_mode_uses_the_statistics_of_each_batch_and_changes_no_buffer() -> None:
    """Against the formula of batch normalization on the batches that the model was given."""
    norm = nn.BatchNorm1d(3)
    model, batches = nn.Sequential(norm), []

    def forward(pixels: Tensor) -> Tensor:
        batches.append(number(pixels))
        return model(torch.stack([batches[-1].float().sin(), batches[-1] / 10, batches[-1] % 5], 1))

    images = numbered(23)
    result = evaluate_in_train_mode(model, forward, images, 5, 0, model.train)
    assert sorted(map(len, batches)) == [3, 5, 5, 5, 5]
    losses = 0.0
    for batch in batches:
        raw = torch.stack([batch.float().sin(), batch / 10, batch % 5], 1).double()
        logits = (raw - raw.mean(0)) / (raw.var(0, correction=0) + norm.eps).sqrt()
        shares = logits.exp() / logits.exp().sum(1, keepdim=True)
        losses -= float(shares[range(len(batch)), batch % 3].log().sum())
    assert result.loss_nats == pytest.approx(losses / 23, abs=1e-5)
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert int(norm.num_batches_tracked or 0) == 0
    assert evaluate(model, forward, images).loss_nats != pytest.approx(result.loss_nats, abs=1e-2)
