"""One training step equals plain gradients and optimizers that are written out in the test."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.small_training import SmallTraining
from resnetlab.models.configs import CifarConfig
from resnetlab.recipes.train import SGD, Adam, AdamW, MultiStep, Recipe, RMSprop
from resnetlab.training.lr_schedule import lr_factor
from resnetlab.training.optimizer import (
    build_optimizer,
    load_optimizer_state_dict,
    optimizer_state_dict,
)
from resnetlab.training.rng import derive_seed
from resnetlab.training.step import train_on_batch


def soft_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    classes = logits.shape[1]
    target = torch.full_like(logits, smoothing / classes)
    target[torch.arange(len(labels)), labels] += 1 - smoothing
    return -(target * (logits - logits.logsumexp(1, keepdim=True))).sum(1).mean()


class ByHand:
    """Reference implementation of training in double precision, from the definitions in papers."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model = copy.deepcopy(model).double().train()
        self.recipe, self.step = recipe, 0
        self.first: dict[str, Tensor] = {}
        self.second: dict[str, Tensor] = {}
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def train_step(self, images: Tensor, labels: Tensor, factor: float) -> float:
        recipe, named = self.recipe, dict(self.model.named_parameters())
        loss = soft_cross_entropy(self.model(images.double()), labels, recipe.label_smoothing)
        gradients = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
        if recipe.clip_norm:
            norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
            shrink = min(1.0, recipe.clip_norm / norm)
            gradients = {name: g * shrink for name, g in gradients.items()}
        self.step += 1
        with torch.no_grad():
            for name, parameter in named.items():
                decays = recipe.decay_norm_and_bias or parameter.ndim > 1
                decay = recipe.optimizer.weight_decay if decays else 0.0
                self._update(name, parameter, gradients[name], recipe.optimizer.lr * factor, decay)
                self.average[name] = recipe.ema * self.average[name] + (1 - recipe.ema) * parameter
        return float(loss.detach())

    def _update(
        self, name: str, parameter: Tensor, gradient: Tensor, lr: float, decay: float
    ) -> None:
        settings = self.recipe.optimizer
        if isinstance(settings, AdamW):
            parameter *= 1 - lr * decay
        else:
            gradient = gradient + decay * parameter
        if isinstance(settings, SGD):
            velocity = (
                settings.momentum * self.first[name] + gradient if name in self.first else gradient
            )
            self.first[name] = velocity
            parameter -= lr * (
                gradient + settings.momentum * velocity if settings.nesterov else velocity
            )
            return
        if isinstance(settings, RMSprop):
            contents = self.second.get(name, torch.zeros_like(gradient))
            self.second[name] = settings.alpha * contents + (1 - settings.alpha) * gradient**2
            parameter -= lr * gradient / (self.second[name].sqrt() + settings.eps)
            return
        beta1, beta2 = settings.betas
        self.first[name] = (
            beta1 * self.first.get(name, torch.zeros_like(gradient)) + (1 - beta1) * gradient
        )
        self.second[name] = (
            beta2 * self.second.get(name, torch.zeros_like(gradient)) + (1 - beta2) * gradient**2
        )
        mean = self.first[name] / (1 - beta1**self.step)
        variance = self.second[name] / (1 - beta2**self.step)
        parameter -= lr * mean / (variance.sqrt() + settings.eps)


SHORT: dict[str, Any] = {"steps": 6, "batch_size": 8}
RECIPES = {
    "sgd": Recipe(optimizer=SGD(lr=0.1, momentum=0.0), **SHORT),
    "momentum": Recipe(optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=0.01), **SHORT),
    "nesterov": Recipe(
        optimizer=SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), **SHORT
    ),
    "falling rate": Recipe(
        optimizer=SGD(lr=0.1), schedule=MultiStep(milestones=(0.5,), gamma=0.1), **SHORT
    ),
    "no decay of norm and bias": Recipe(
        optimizer=SGD(lr=0.1, weight_decay=0.1), decay_norm_and_bias=False, **SHORT
    ),
    "label smoothing": Recipe(optimizer=SGD(lr=0.1), label_smoothing=0.2, **SHORT),
    "clipped": Recipe(optimizer=SGD(lr=0.1), clip_norm=0.5, **SHORT),
    "hardly clipped": Recipe(optimizer=SGD(lr=0.1), clip_norm=1e6, **SHORT),
    # A large epsilon, since where the gradient is nearly 0 the sign of a rounding error would be a
    # whole step.
    "adam": Recipe(optimizer=Adam(lr=0.01, eps=1e-2, weight_decay=0.1), **SHORT),
    "adamw": Recipe(
        optimizer=AdamW(lr=0.01, eps=1e-2, weight_decay=0.1), decay_norm_and_bias=False, **SHORT
    ),
    "rmsprop": Recipe(optimizer=RMSprop(lr=0.01, eps=1e-2, weight_decay=0.1), **SHORT),
    "average": Recipe(optimizer=SGD(lr=0.1), ema=0.8, **SHORT),
    "everything": Recipe(
        optimizer=SGD(lr=0.1, nesterov=True, weight_decay=0.01),
        label_smoothing=0.1,
        clip_norm=1.0,
        ema=0.9,
        decay_norm_and_bias=False,
        schedule=MultiStep(milestones=(0.3,), gamma=0.5),
        **SHORT,
    ),
}


@pytest.mark.parametrize("batch_norm", [True, False], ids=["norm", "bias"])
@pytest.mark.parametrize("name", RECIPES)
def test_steps_equal_the_textbook_formulas(
    small: SmallTraining, name: str, batch_norm: bool
) -> None:
    recipe = RECIPES[name]
    train_state = small.train_state(
        recipe, model=CifarConfig(blocks=(1, 1), widths=(4, 6), shortcut="B", batch_norm=batch_norm)
    )
    by_hand = ByHand(train_state.model, recipe)
    generator = torch.Generator().manual_seed(1)
    for step in range(4):
        images, labels = (
            torch.randn(8, 1, 8, 8, generator=generator),
            torch.randint(4, (8,), generator=generator),
        )
        loss = by_hand.train_step(images, labels, lr_factor(recipe.schedule, step, 6, 3))
        train_on_batch(train_state, images, labels)
        assert train_state.losses[step % train_state.steps_per_epoch] == pytest.approx(
            loss, rel=1e-5
        )
    assert train_state.step == 4
    for key, parameter in by_hand.model.named_parameters():
        torch.testing.assert_close(
            dict(train_state.model.named_parameters())[key].double(),
            parameter,
            rtol=1e-6,
            atol=2e-6,
        )
    for key, buffer in by_hand.model.named_buffers():
        torch.testing.assert_close(
            dict(train_state.model.named_buffers())[key].to(buffer), buffer, rtol=1e-5, atol=1e-5
        )
    evaluated = train_state.eval_state_dict()
    for key, tensor in (by_hand.average if recipe.ema else {}).items():
        torch.testing.assert_close(evaluated[key].double(), tensor, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_lowers_the_loss_in_each_layout_and_precision(
    small: SmallTraining, precision: str
) -> None:
    images = small.images()
    for layout in ("contiguous", "channels_last"):
        recipe = Recipe(batch_size=10, epochs=15, optimizer=Adam(lr=0.01))
        train_state = small.train_state(recipe, images, precision=precision, layout=layout)
        losses = [train_state.train_metrics()[0] for _ in small.events(train_state, images)]
        assert losses[-1] < 0.6 * math.log(4) < losses[1]
        assert all(p.dtype == torch.float32 for p in train_state.model.parameters())


def test_the_loss_of_bf16_logits_is_computed_in_fp32(small: SmallTraining) -> None:
    """The loss of logits that bf16 rounds is their own, not rounded once more."""
    train_state = small.train_state(
        Recipe(batch_size=8, steps=3, optimizer=SGD(lr=1e-9)), precision="bf16"
    )
    generator = torch.Generator().manual_seed(0)
    images, labels = (
        torch.randn(8, 1, 8, 8, generator=generator),
        torch.randint(4, (8,), generator=generator),
    )
    model = copy.deepcopy(train_state.model)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    assert logits.dtype == torch.bfloat16
    train_on_batch(train_state, images, labels)
    assert float(train_state.losses[0]) == float(F.cross_entropy(logits.float(), labels).detach())


def test_the_learning_rate_of_a_step_is_the_value_of_the_schedule(small: SmallTraining) -> None:
    recipe = Recipe(
        batch_size=8,
        steps=6,
        optimizer=SGD(lr=0.2),
        schedule=MultiStep(milestones=(0.5,)),
        decay_norm_and_bias=False,
    )
    train_state = small.train_state(recipe)
    batch = torch.randn(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64)
    rates = []
    for _ in range(6):
        train_on_batch(train_state, *batch)
        rates.append({group["lr"] for group in train_state.optimizer.param_groups})
    assert [list(by_group) for by_group in rates] == [
        [pytest.approx(r)] for r in (0.2, 0.2, 0.2, 0.02, 0.02, 0.02)
    ]


# Optimizers
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [kind(weight_decay=0.1) for kind in (SGD, Adam, AdamW, RMSprop)]
)
@pytest.mark.parametrize("everything", [True, False])
def test_norms_and_biases_decay_only_if_the_recipe_requests_it(
    small: SmallTraining, settings: Any, everything: bool
) -> None:
    model = small.train_state(Recipe(steps=1)).model
    optimizer = build_optimizer(
        Recipe(steps=1, optimizer=settings, decay_norm_and_bias=everything), model
    )
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert (
        sum(len(group["params"]) for group in optimizer.param_groups)
        == len(list(model.parameters()))
        == len(decay)
    )
    for name, parameter in model.named_parameters():
        without_decay = not everything and ("norm" in name or name.endswith("bias"))
        assert decay[id(parameter)] == (0.0 if without_decay else 0.1), name


def test_a_restored_optimizer_continues_as_an_uninterrupted_one(small: SmallTraining) -> None:
    for settings in (SGD(), SGD(momentum=0.0), Adam(), AdamW(), RMSprop()):
        models = [small.train_state(Recipe(steps=1)).model for _ in range(2)]
        one, two = (build_optimizer(Recipe(steps=1, optimizer=settings), model) for model in models)
        generator = torch.Generator().manual_seed(0)
        gradients = [
            [torch.randn(p.shape, generator=generator) for p in models[0].parameters()]
            for _ in range(4)
        ]

        def steps(optimizer: Any, model: nn.Module, some: list[list[Tensor]]) -> None:
            for of_step in some:
                for parameter, gradient in zip(model.parameters(), of_step, strict=True):
                    parameter.grad = gradient.clone()
                optimizer.step()

        steps(one, models[0], gradients[:2])
        models[1].load_state_dict(models[0].state_dict())
        load_optimizer_state_dict(two, models[1], optimizer_state_dict(one, models[0]))
        steps(one, models[0], gradients[2:])
        steps(two, models[1], gradients[2:])
        for left, right in zip(models[0].parameters(), models[1].parameters(), strict=True):
            assert torch.equal(left, right)


# Dropout and determinism
# ----------------------------------------------------------------------------------------------


def test_the_dropout_mask_follows_from_seed_and_step(small: SmallTraining) -> None:
    model = CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8), dropout=0.5)
    recipe = Recipe(batch_size=8, steps=3)
    batch = torch.randn(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64)

    def losses(seed: int, disturb: Callable[[], object]) -> list[float]:
        train_state = small.train_state(recipe, seed=seed, model=model)
        for _ in range(3):
            disturb()
            train_on_batch(train_state, *batch)
        return train_state.losses.tolist()

    with torch.random.fork_rng():
        calm = losses(0, lambda: None)
        assert losses(0, lambda: torch.rand(100)) == calm
        torch.manual_seed(derive_seed(0, "other"))
        assert losses(0, lambda: None) == calm
        assert losses(1, lambda: None) != calm


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_each_step_draws_a_new_dropout_mask(small: SmallTraining, dropout: float) -> None:
    model = CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8), dropout=dropout)
    train_state = small.train_state(
        Recipe(batch_size=4, steps=5, optimizer=SGD(lr=1e-12)), model=model
    )
    batch = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
    with torch.random.fork_rng():
        for _ in range(5):
            train_on_batch(train_state, *batch)
    assert len({round(loss, 4) for loss in train_state.losses.tolist()}) == (5 if dropout else 1)


def test_runs_with_one_initial_weights_seed_have_the_same_weights_and_different_orders(
    small: SmallTraining,
) -> None:
    """The weights are those of that seed; without it each seed has weights of its own."""

    def weights(seed: int, initial: int | None) -> dict[str, Tensor]:
        recipe = Recipe(initial_weights_seed=initial, **SHORT)
        tensors: dict[str, Tensor] = small.train_state(recipe, seed=seed).model.state_dict()
        return tensors

    start = weights(7, None)
    for seed in (1, 2):
        same, other = weights(seed, 7), weights(seed, None)
        assert all(torch.equal(same[name], start[name]) for name in start)
        assert any(not torch.equal(other[name], start[name]) for name in start)
