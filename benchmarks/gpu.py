"""resnetlab on one GPU against a stock loop, captured steps against eager ones, and
five seeds in parallel against one.

    PYTHONPATH=src python benchmarks/gpu.py            about 8 minutes; benchmarks/gpu.json and a
    dated page PYTHONPATH=src python benchmarks/gpu.py --grid DIR a part of the shortcut report's
    grid, really run; call it again

It needs nothing but the working tree: images are made here, since what a step costs does not depend
on what they show.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import stock
import torch
from machine import machine

from resnetlab.api.studies import load_study
from resnetlab.data.config import Augment, LabeledImages
from resnetlab.data.device_images import DeviceImages
from resnetlab.files import write_json
from resnetlab.models.build import build_model
from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.cifar import cifar_config
from resnetlab.recipes.numerics import Numerics, available_cpus
from resnetlab.recipes.train import SGD, Adam, AdamW, Cosine, Recipe, RMSprop
from resnetlab.schema import encode
from resnetlab.training.batches import InMemoryBatches
from resnetlab.training.device import setup_device
from resnetlab.training.events import train_events
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.make_step import make_step
from resnetlab.training.resolve import resolve_numerics
from resnetlab.training.rng import make_generator
from resnetlab.training.round_robin import round_robin
from resnetlab.training.training_step import TrainingStep

HERE = Path(__file__).parent
SIDE, CHANNELS, CLASSES = 32, 3, 10
BUDGET_SECONDS = 510.0
"""Of the whole benchmark; what does not fit is left out and named."""
WARM_STEPS = 20
SEEDS = 5
GRID_STUDY = "shortcuts"

StepKind = Literal["eager", "captured"]


def made(count: int, seed: int = 0) -> LabeledImages:
    """Return random images of CIFAR-10's shape."""
    return LabeledImages(*stock.made(SIDE, CHANNELS, count, seed))


class Bench:
    """Training loops on one device over one set of images."""

    def __init__(self, device: str, images: LabeledImages, seconds: float) -> None:
        self.numerics = resolve_numerics(Numerics(device=device), single_run=False)  # type: ignore[arg-type]
        self.device, self.images, self.seconds = setup_device(self.numerics), images, seconds
        self.resident = DeviceImages.from_images(images, self.device)
        self.began = time.monotonic()

    def train_state(self, model: ModelConfig, recipe: Recipe, seed: int = 0) -> FromScratchState:
        """Return a training state whose steps can be captured."""
        return FromScratchState(
            model, recipe, self.numerics, seed, self.images, CLASSES, self.device
        )

    def ours(self, state: FromScratchState, kind: StepKind = "captured") -> Iterator[int]:
        """Yield the number of images of each step of resnetlab's own loop, captured or eager."""
        seen = 0
        step = (
            make_step(state, self.resident)
            if kind == "captured"
            else TrainingStep(state, InMemoryBatches(state, self.resident))
        )
        for event in train_events(state, step, lambda: False, yield_every_step=True):
            yield event.images_processed - seen
            seen = event.images_processed

    def stock(self, model: ModelConfig, batch: int, *, tuned: bool) -> Iterator[int]:
        """Yield the number of images of each step of a loop as tutorials write it."""
        built = build_model(model, CHANNELS, CLASSES, lambda name: make_generator(0, "init", name))
        pixels, labels = self.images.pixels, self.images.labels
        workers = min(8, available_cpus() - 1)
        return stock.epochs(
            built, pixels, labels, batch, tuned=tuned, device=self.device, workers=workers
        )

    def parallel_seeds(
        self, model: ModelConfig, recipe: Recipe, seeds: int = SEEDS
    ) -> Iterator[int]:
        """Yield the number of images of each step of several seeds in a round robin."""
        loops = [self.ours(self.train_state(model, recipe, seed)) for seed in range(seeds)]
        while True:
            for loop in loops:
                yield next(loop)

    def pace(self, steps: Iterator[int]) -> float:
        """Return images per second after a warm-up, when the device has finished its work."""
        with contextlib.closing(steps) as loop:  # type: ignore[type-var]
            for _ in range(WARM_STEPS * SEEDS):
                next(loop)
            self._done()
            began, seen = time.monotonic(), 0
            while time.monotonic() - began < self.seconds:
                seen += next(loop)
            self._done()
            return seen / (time.monotonic() - began)

    def _done(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @property
    def late(self) -> bool:
        """True if the budget is spent."""
        return time.monotonic() - self.began > BUDGET_SECONDS


def training(batch: int, **settings: Any) -> Recipe:
    """Return a classic recipe without an end."""
    classic = {
        "optimizer": SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        "augment": Augment(crop_padding=4, flip=True),
    }
    return Recipe(batch_size=batch, **{"epochs": 10_000, **classic, **settings})


# Bits
# --------------------------------------------------------------------------------------------------

EQUAL: dict[str, dict[str, Any]] = {
    "sgd": {"schedule": Cosine(), "ema": 0.99},
    "adam": {"optimizer": Adam(), "schedule": Cosine()},
    "adamw": {"optimizer": AdamW(), "clip_norm": 1.0, "label_smoothing": 0.1},
    "rmsprop": {"optimizer": RMSprop(), "schedule": Cosine()},
}


def differing(left: FromScratchState, right: FromScratchState) -> list[str]:
    """Return the names of the tensors in which two training states differ."""
    other = right.state_dict()
    return [
        name for name, tensor in left.state_dict().items() if not torch.equal(tensor, other[name])
    ]


def bits(bench: Bench, model: ModelConfig, batch: int, steps: int) -> dict[str, str]:
    """Compare captured steps with eager ones by optimizer, and seeds in parallel with one alone."""

    def run(train_state: FromScratchState, kind: StepKind = "captured") -> FromScratchState:
        for _ in bench.ours(train_state, kind):
            pass
        return train_state

    found = {}
    for name, settings in EQUAL.items():
        recipe = training(batch, **settings | {"epochs": None, "steps": steps})
        captured = run(bench.train_state(model, recipe))
        same = not differing(captured, run(bench.train_state(model, recipe), "eager"))
        found[f"captured = eager, {name}"] = verdict(same, captured.eager_reason)
    recipe = training(batch, epochs=None, steps=steps)
    together = [bench.train_state(model, recipe, seed) for seed in range(SEEDS)]
    list(round_robin(_yield_every_step(bench.ours(train_state)) for train_state in together))
    same = all(
        not differing(train_state, run(bench.train_state(model, recipe, seed)))
        for seed, train_state in enumerate(together)
    )
    found[f"{SEEDS} in parallel = alone"] = verdict(same, together[0].eager_reason)
    return found


def _yield_every_step(steps: Iterator[int]) -> Any:
    for _ in steps:
        yield


def verdict(same: bool, eager_reason: str) -> str:
    """Return OK or DIFFERENT, with the reason if the steps were eager."""
    word = "OK" if same else "DIFFERENT"
    return f"{word}, but eager: {eager_reason}" if eager_reason else word


# Speed
# --------------------------------------------------------------------------------------------------


def speeds(bench: Bench, depth: int, batch: int) -> dict[str, float]:
    """Return the images per second of each contender."""
    model, recipe = cifar_config(depth), training(batch)
    contenders: dict[str, Callable[[], Iterator[int]]] = {
        "stock": lambda: bench.stock(model, batch, tuned=False),
        "tuned": lambda: bench.stock(model, batch, tuned=True),
        "eager": lambda: bench.ours(bench.train_state(model, recipe), "eager"),
        "captured": lambda: bench.ours(bench.train_state(model, recipe)),
        "parallel": lambda: bench.parallel_seeds(model, recipe),
    }
    return {name: bench.pace(start()) for name, start in contenders.items() if not bench.late}


def ratios(pace: dict[str, float]) -> dict[str, float]:
    """Return the speed of captured steps over each other kind, and of five seeds in parallel."""
    captured = pace.get("captured")
    if not captured:
        return {}
    found = {
        name: round(captured / pace[name], 3)
        for name in ("stock", "tuned", "eager")
        if name in pace
    }
    if "parallel" in pace:
        found["five in parallel to stock"] = round(pace["parallel"] / pace["stock"], 3)
        found["time of five in parallel"] = round(SEEDS * captured / pace["parallel"], 3)
    return found


def grid(bench: Bench) -> dict[str, Any]:
    """Return the shortcut report's grid, from the pace of each of its networks: an estimate,
    without evaluation.
    """
    study = load_study(GRID_STUDY).study
    seconds, left_out = 0.0, []
    for condition in study.conditions:
        if bench.late:
            left_out.append(condition.label)
            continue
        bench.numerics = resolve_numerics(study.numerics_of(condition), single_run=False)
        recipe = replace(condition.recipe, epochs=10_000)
        images = 50_000 * (condition.recipe.epochs or 0) * len(study.seeds)
        seconds += images / bench.pace(bench.parallel_seeds(condition.model, recipe))
    return {
        "study": GRID_STUDY,
        "minutes of training": round(seconds / 60, 2),
        "not measured": left_out,
    }


# Out
# --------------------------------------------------------------------------------------------------


def build_page(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        f"# On a GPU, {found['time'][:10]}",
        "",
        (
            f"{found['gpu']}, torch {found['packages']['torch']}, commit {found['commit'][:10]}: "
            "one run of"
        ),
        f"`benchmarks/gpu.py`, {found['seconds each']:g} s a figure (n = 1).",
        "",
        "## Images per second",
        "",
    ]
    names = ("stock", "tuned", "eager", "captured", "parallel")
    lines += ["| network, batch | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for case, pace in found["images_per_second"].items():
        cells = [f"{pace[name]:,.0f}" if name in pace else "not measured" for name in names]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    lines += ["", "## Ratios", ""]
    lines += [
        f"- {case}: {name} {ratio:g}"
        for case, values in found["ratios"].items()
        for name, ratio in values.items()
    ]
    lines += [
        "",
        "## Bits",
        "",
        *(f"- {name}: {word}" for name, word in found["bits"].items()),
        "",
        "## The grid",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in found["grid"].items()]
    return "\n".join(lines) + "\n"


def measure() -> dict[str, Any]:
    """Measure everything within the budget."""
    bench = Bench("cuda", made(50_000), seconds=6.0)
    found: dict[str, Any] = {
        **machine(),
        "gpu": torch.cuda.get_device_name(),
        "numerics": encode(bench.numerics),
        "seconds each": bench.seconds,
    }
    small = Bench("cuda", made(1_000), seconds=1.0)
    found["bits"] = bits(small, cifar_config(20), 64, 40)
    print(*(f"{name}: {word}" for name, word in found["bits"].items()), sep="\n", flush=True)
    found["images_per_second"], found["ratios"] = {}, {}
    for depth, batch in ((20, 32), (56, 32), (20, 128), (56, 128)):
        case = f"resnet{depth}-b{batch}"
        found["images_per_second"][case] = pace = speeds(bench, depth, batch)
        found["ratios"][case] = ratios(pace)
        print(case, json.dumps(found["ratios"][case]), flush=True)
    bench.seconds = 2.0
    found["grid"] = grid(bench)
    return found


def really_run(folder: Path, seconds: float) -> int:
    """Go on with the grid for so many seconds, and say what all calls took together; 0 when it is
    whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, clock = folder / "made.npz", folder / "seconds.json"
    if not data.exists():
        train_images, test = made(50_000), made(10_000, 1)
        np.savez(
            data,
            x_train=train_images.pixels,
            y_train=train_images.labels,
            x_test=test.pixels,
            y_test=test.labels,
        )
    command = [
        sys.executable,
        "-m",
        "resnetlab",
        "study",
        "run",
        GRID_STUDY,
        "--data",
        str(data),
        "--output",
        str(folder),
        "--parallel-seeds",
        str(SEEDS),
        "--device",
        "cuda",
    ]
    spent = json.loads(clock.read_text()) if clock.exists() else []
    began = time.monotonic()
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    spent.append(round(time.monotonic() - began, 1))
    clock.write_text(json.dumps(spent))
    print(
        f"{sum(spent) / 60:.1f} minutes in {len(spent)} calls; "
        + ("whole" if process.returncode == 0 else "call it again to go on")
    )
    return int(process.returncode)


def main() -> int:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--grid", type=Path, metavar="DIR", help="run the grid there, a part a call"
    )
    parser.add_argument("--seconds", type=float, default=500.0, help="of one call of --grid")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py: no CUDA GPU is here: nothing is measured", file=sys.stderr)
        return 4
    if arguments.grid is not None:
        return really_run(arguments.grid, arguments.seconds)
    found = measure()
    write_json(HERE / "gpu.json", found)
    name = HERE / f"gpu-{found['time'][:10]}.md"
    name.write_text(build_page(found))
    print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
