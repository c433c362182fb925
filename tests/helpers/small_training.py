"""Small training runs that can be stopped at any step."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
import torch
from torch import Tensor

from resnetlab.data.config import LabeledImages
from resnetlab.data.device_images import DeviceImages
from resnetlab.models.configs import CifarConfig
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.training.batches import BatchLoader, InMemoryBatches
from resnetlab.training.events import TrainEvent, train_events
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.make_step import make_step
from resnetlab.training.training_step import TrainingStep

MakeStep = Callable[[FromScratchState, DeviceImages], TrainingStep]
OnBatch = Callable[[Tensor, Tensor], None]
NETWORK = CifarConfig(blocks=(1, 1, 1), widths=(4, 6, 8))


class SmallTraining:
    """Builder and runner of small training states."""

    network = NETWORK
    cpu = torch.device("cpu")

    @staticmethod
    def images(count: int = 20, side: int = 8, channels: int = 1, seed: int = 0) -> LabeledImages:
        """Return random images of four classes."""
        generator = np.random.default_rng(seed)
        return LabeledImages(
            generator.integers(0, 256, (count, side, side, channels), np.uint8),
            generator.integers(0, 4, count),
        )

    @staticmethod
    def numbered(count: int, side: int = 8) -> LabeledImages:
        """Return images whose pixels have the number of the image, with its label modulo 4."""
        pixels = np.broadcast_to(
            np.arange(count, dtype=np.uint8)[:, None, None, None], (count, side, side, 1)
        )
        return LabeledImages(pixels.copy(), np.arange(count) % 4)

    def train_state(
        self,
        recipe: Recipe,
        images: LabeledImages | None = None,
        *,
        seed: int = 0,
        precision: str = "fp32",
        model: CifarConfig = NETWORK,
        layout: str = "contiguous",
    ) -> FromScratchState:
        """Return a training state on the CPU with one thread."""
        numerics = Numerics(device="cpu", precision=precision, memory_format=layout, threads=1)  # type: ignore[arg-type]
        return FromScratchState(model, recipe, numerics, seed, images or self.images(), 4, self.cpu)

    def events(
        self,
        state: FromScratchState,
        images: LabeledImages | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        make_step: MakeStep = make_step,
        *,
        yield_every_step: bool = False,
        on_batch: OnBatch | None = None,
    ) -> Generator[TrainEvent, None, None]:
        """Train and yield the events. `on_batch` is called with each batch that is loaded."""
        step = make_step(state, DeviceImages.from_images(images or self.images(), self.cpu))
        if on_batch is not None:
            load_epoch = step.load_epoch

            def observed_epoch(epoch: int) -> BatchLoader:
                load = load_epoch(epoch)

                def observed(positions: slice, part: slice) -> tuple[Tensor, Tensor]:
                    batch = load(positions, part)
                    on_batch(*batch)
                    return batch

                return observed

            step.load_epoch = observed_epoch
        return train_events(state, step, should_stop, yield_every_step=yield_every_step)

    def run(
        self,
        state: FromScratchState,
        images: LabeledImages | None = None,
        until: int | None = None,
        make_step: MakeStep = make_step,
        on_batch: OnBatch | None = None,
    ) -> list[TrainEvent]:
        """Train until a step, or to the end, and return the events."""

        def should_stop() -> bool:
            return until is not None and state.step >= until

        return list(self.events(state, images, should_stop, make_step, on_batch=on_batch))

    def run_with_batches(
        self, state: FromScratchState, images: LabeledImages | None = None
    ) -> tuple[list[TrainEvent], list[tuple[Tensor, Tensor]]]:
        """Train to the end and return the events and a copy of each batch."""
        batches: list[tuple[Tensor, Tensor]] = []

        def copy_batch(pixels: Tensor, labels: Tensor) -> None:
            batches.append((pixels.clone(), labels.clone()))

        return self.run(state, images, on_batch=copy_batch), batches

    @staticmethod
    def eager(state: FromScratchState, images: DeviceImages) -> TrainingStep:
        """Return an eager step, also for a state whose steps could be captured."""
        return TrainingStep(state, InMemoryBatches(state, images))

    @staticmethod
    def snapshot(state: FromScratchState) -> dict[str, Tensor]:
        """Return a copy of the tensors of a checkpoint."""
        return {name: tensor.clone() for name, tensor in state.state_dict().items()}
