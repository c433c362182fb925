"""A small network on small images, and the means to stop it anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from resnetlab.data.config import LabeledImages
from resnetlab.data.device_images import DeviceImages
from resnetlab.models.configs import CifarConfig
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.training.cuda_graphs import build_steps
from resnetlab.training.loop import train
from resnetlab.training.state import ScratchTrainState

NETWORK = CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8))


class Small:
    """Ways to make and run small learners."""

    network = NETWORK
    cpu = torch.device("cpu")

    @staticmethod
    def images(count: int = 20, side: int = 8, channels: int = 1, seed: int = 0) -> LabeledImages:
        """Random images of four classes."""
        draw = np.random.default_rng(seed)
        return LabeledImages(
            draw.integers(0, 256, (count, side, side, channels), np.uint8),
            draw.integers(0, 4, count),
        )

    @staticmethod
    def numbered(count: int, side: int = 8) -> LabeledImages:
        """Image i is i all over, and its label says so modulo 4."""
        pixels = np.broadcast_to(
            np.arange(count, dtype=np.uint8)[:, None, None, None], (count, side, side, 1)
        )
        return LabeledImages(pixels.copy(), np.arange(count) % 4)

    def learner(
        self,
        recipe: Recipe,
        images: LabeledImages | None = None,
        *,
        seed: int = 0,
        precision: str = "fp32",
        model: CifarConfig = NETWORK,
        layout: str = "contiguous",
    ) -> ScratchTrainState:
        """A learner on the processor, one thread."""
        numerics = Numerics(device="cpu", precision=precision, memory_format=layout, threads=1)  # type: ignore[arg-type]
        return ScratchTrainState(
            model, recipe, numerics, seed, images or self.images(), 4, self.cpu
        )

    def run(
        self,
        learner: ScratchTrainState,
        images: LabeledImages | None = None,
        until: int | None = None,
        make_steps: Any = build_steps,
    ) -> list[Any]:
        """Train until a step, or the end; what the loop yielded."""
        steps = make_steps(learner, DeviceImages.from_images(images or self.images(), self.cpu))
        return list(train(learner, steps, lambda: until is not None and learner.step >= until))

    @staticmethod
    def snapshot(learner: ScratchTrainState) -> dict[str, Tensor]:
        """What a checkpoint would hold, copied."""
        return {name: tensor.clone() for name, tensor in learner.state_dict().items()}

    @staticmethod
    def watched(learner: ScratchTrainState) -> list[tuple[Tensor, Tensor]]:
        """The batches that the learner will meet, as they come."""
        batches: list[tuple[Tensor, Tensor]] = []
        step = learner.train_step

        def watch(images: Tensor, labels: Tensor) -> None:
            batches.append((images.clone(), labels.clone()))
            step(images, labels)

        learner.train_step = watch  # type: ignore[method-assign]
        return batches


@pytest.fixture(scope="session")
def small() -> Small:
    return Small()


@pytest.fixture
def same() -> Callable[[dict[str, Tensor], dict[str, Tensor]], None]:
    """Assert that two sets of tensors have the same names, types and bits."""

    def check(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
        assert list(left) == list(right)
        for name, tensor in left.items():
            other = right[name]
            assert tensor.dtype == other.dtype, name
            assert torch.equal(tensor, other), (
                f"{name} differs by {(tensor.double() - other.double()).abs().max()}"
            )

    return check


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
