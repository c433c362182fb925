"""Training loop of one contender in its own process.

Reads seconds, trains for that time, and answers with images and seconds. `steps.py` starts it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import stock
import torch

from resnetlab.data.config import Augment, LabeledImages
from resnetlab.data.device_images import DeviceImages
from resnetlab.models.build import build_model
from resnetlab.models.configs.cifar import cifar_config
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import SGD, Recipe
from resnetlab.training.device import setup_device
from resnetlab.training.events import train_events
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.make_step import make_step
from resnetlab.training.resolve import resolve_numerics
from resnetlab.training.rng import make_generator

SHAPES = {"cifar10": (32, 3, 50_000), "digits": (8, 1, 1_437)}
"""Side, channels and train images."""


def images(shape: str) -> LabeledImages:
    """Return random pixels (N, H, W, C) and labels (N,) of that shape."""
    return LabeledImages(*stock.made(*SHAPES[shape]))


def other_loop(kind: str, depth: int, batch: int, shape: str, workers: int) -> Iterator[int]:
    """Yield the number of images of each step of a stock, tuned or timm loop."""
    image_set = images(shape)
    pixels, labels = image_set.pixels, image_set.labels
    model = build_model(
        cifar_config(depth), pixels.shape[3], 10, lambda name: make_generator(0, "init", name)
    )
    if kind == "timm":
        return stock.timm_epochs(model, pixels, labels, batch, workers=workers)
    tuned, device = kind == "tuned", torch.device("cpu")
    return stock.epochs(model, pixels, labels, batch, tuned=tuned, device=device, workers=workers)


def our_loop(
    depth: int,
    batch: int,
    shape: str,
    *,
    single: bool,
    yield_every_step: bool = False,
    **numerics_options: Any,
) -> Iterator[int]:
    """Yield the number of images between two events of resnetlab's own loop, or of each step.

    The first event comes before the first step.
    """
    train_images, side = images(shape), SHAPES[shape][0]
    numerics = resolve_numerics(Numerics(device="cpu", **numerics_options), single_run=single)
    device = setup_device(numerics)
    sgd = SGD(lr=0.1, momentum=0.9, weight_decay=1e-4)
    augment = Augment(crop_padding=side // 8, flip=True)
    recipe = Recipe(batch_size=batch, epochs=10_000, optimizer=sgd, augment=augment)
    state = FromScratchState(cifar_config(depth), recipe, numerics, 0, train_images, 10, device)
    seen = 0
    step = make_step(state, DeviceImages.from_images(train_images, device))
    for event in train_events(state, step, lambda: False, yield_every_step=yield_every_step):
        yield event.images_processed - seen
        seen = event.images_processed


def main() -> None:
    """Run `contender.py NAME DEPTH BATCH SHAPE`, with a name of `steps.CONTENDERS`."""
    name, depth, batch, shape = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    kind, *words = name.split("-")
    if kind in ("stock", "tuned", "timm"):
        steps = other_loop(kind, depth, batch, shape, int(words[0].removeprefix("w")))
    else:
        steps = our_loop(depth, batch, shape, precision=words[0], single=kind == "one")
    answer(steps)


def answer(steps: Iterator[int]) -> None:
    """Train for the seconds that each line of the input gives, and print images and seconds."""
    next(steps)
    print("ready", flush=True)
    for line in sys.stdin:
        began, seen, requested = time.monotonic(), 0, float(line)
        while (spent := time.monotonic() - began) < requested:
            seen += next(steps)
        print(seen, spent, flush=True)


if __name__ == "__main__":
    main()
