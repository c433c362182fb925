"""Timing of networks on this machine: a few training steps and one evaluation of random images.

A process of its own measures, so that neither torch nor a changed random state or setting comes
into the process that plans. Its results are kept in the user's cache, one file for each machine
and network.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.errors import InputError
from resnetlab.files import read_json, write_json
from resnetlab.messages import Notify, format_count
from resnetlab.models.configs import ModelConfig
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Constant, Recipe
from resnetlab.runs.kinds import FROM_SCRATCH, is_fine_tuning
from resnetlab.runs.records import RunFile
from resnetlab.schema import config_hash, decode, encode, strict_dataclass
from resnetlab.settings import cache_dir
from resnetlab.studies.plan import PlannedRun
from resnetlab.studies.timing.time_estimate import Timing
from resnetlab.training.hardware import read_cpuinfo, total_memory_bytes

if TYPE_CHECKING:
    import torch

    from resnetlab.data.config import LabeledImages
    from resnetlab.training.from_scratch_state import FromScratchState

STEP_SECONDS = 1.0
"""Time for the training steps of a network."""
EVALUATION_SECONDS = 0.5
"""Largest expected time for the evaluation of a network."""
MAX_SECONDS = 10.0
"""Time after which the timing of a network is given up."""
START_SECONDS = 20.0
"""Time for the start of the process that measures."""
MAX_TOTAL_SECONDS = 60.0
"""Time after which the timing of all networks of a plan is given up."""
FIRST_BATCH = 8
"""Images of the first steps on a processor; they tell how many images fit into STEP_SECONDS."""
MAX_MACS = 12e9
"""Largest multiply-adds per image of a network that is timed on a processor.

The shortest timing is as much work as 80 forward passes. ResNet-152 at 224 pixels has 11.5e9.
"""
MAX_PARAMETERS = 150_000_000
"""Largest number of parameters of a network that is timed: the steps of a larger one take longer
than MAX_SECONDS. VGG-19 has 144e6.
"""
BYTES_PER_PARAMETER = 12
"""Bytes of a weight, its gradient and its momentum in fp32: the least memory of training."""
WARMUP_STEPS = 8
"""Steps on a GPU before the clock starts, so that a CUDA graph is captured and verified."""


@strict_dataclass
class TimedNetwork:
    """Network, with everything that its speed depends on."""

    model: ModelConfig
    recipe: Recipe
    numerics: Numerics
    channels: int
    image_size: int
    """Height and width of an image in pixels."""
    num_classes: int


def timed_network(run: PlannedRun) -> TimedNetwork | None:
    """Return the network of a run, or None for a run that is not timed.

    Runs that fine-tune, runs without a network and runs of several processes are not timed.
    """
    config = run.config
    recipe = config.recipe
    is_timed = config.kind is FROM_SCRATCH and config.numerics.world_size == 1 and run.channels
    if is_fine_tuning(recipe) or not is_timed:
        return None
    # Fields that change no speed get their defaults. Fitting ZCA to random images takes a minute,
    # and its product costs little beside the network.
    recipe = replace(
        recipe,
        epochs=None,
        steps=1,
        optimizer=type(recipe.optimizer)(),
        schedule=Constant(),
        label_smoothing=0.0,
        normalize="train" if recipe.normalize == "zca" else recipe.normalize,
        select="last",
        eval_every_epochs=1,
        initial_weights_seed=None,
    )
    return TimedNetwork(
        model=config.model,
        recipe=recipe,
        numerics=config.numerics,
        channels=run.channels,
        image_size=run.image_size,
        num_classes=len(run.file.classes),
    )


def time_runs(
    runs: Iterable[PlannedRun], notify: Notify, measure_missing: bool
) -> dict[str, Timing]:
    """Return the speed of each run's network on this machine, by the id of the run.

    Without `measure_missing` only speeds in the user's cache are returned. A network that cannot be
    timed is left out.
    """
    runs = list(runs)
    networks = {run.id: network for run in runs if (network := timed_network(run)) is not None}
    timings: dict[TimedNetwork, Timing] = {}
    keys = {network: _cache_file(network) for network in networks.values()}
    for network, path in keys.items():
        with contextlib.suppress(InputError, OSError):
            if path.exists():
                timings[network] = decode_timing(read_json(path))
    missing = [network for network in keys if network not in timings]
    if measure_missing:
        files = {networks[run.id]: run.file for run in runs if run.id in networks}
        too_large = {
            network: problem for network in missing if (problem := _size_problem(files[network]))
        }
        for network, problem in too_large.items():
            notify(f"{network.model.title} is not timed: {problem}")
        missing = [network for network in missing if network not in too_large]
    if missing and measure_missing:
        notify(
            f"Timing {format_count(len(missing), 'network')} on this machine, a few seconds each "
            "(--no-timing leaves it out)"
        )
        for network, timing in _measure_in_process(missing):
            timings[network] = timing
            with contextlib.suppress(OSError):
                write_json(keys[network], asdict(timing))
        for network in missing:
            if network not in timings:
                notify(f"{network.model.title} is not timed: that failed or took too long")
    return {run: timings[network] for run, network in networks.items() if network in timings}


def _size_problem(file: RunFile) -> str:
    """Return the reason why a network is too large to be timed on this machine; "" if it is not."""
    if file.run.numerics.device != "cpu":
        return ""
    needed, memory = BYTES_PER_PARAMETER * file.parameters, total_memory_bytes()
    if file.parameters > MAX_PARAMETERS or 0 < memory < needed:
        lacks = f", and this machine has {memory / 1e9:,.0f} GB" if 0 < memory < needed else ""
        return (
            f"its {file.parameters:,} parameters take at least {needed / 1e9:,.0f} GB to train"
            f"{lacks}"
        )
    if file.macs > MAX_MACS:
        return f"an image takes {file.macs / 1e9:,.0f} billion multiply-adds"
    return ""


def decode_timing(table: dict[str, float]) -> Timing:
    """Return the timing of a table. Raises InputError if a number is missing or not positive."""
    try:
        timing = Timing(**{name: float(value) for name, value in table.items()})
    except (AttributeError, TypeError, ValueError):  # also a list instead of a table
        raise InputError() from None
    if not min(timing.train_images_per_second, timing.evaluation_images_per_second) > 0:
        raise InputError()
    return timing


def _cache_file(network: TimedNetwork) -> Path:
    # Two processors of one name may have other instructions, and these variables leave some out.
    name, flags = read_cpuinfo()
    limits = [
        os.environ.get(variable) for variable in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
    ]
    machine = (platform.node(), name, sorted(flags or ()), limits, os.cpu_count())
    version = ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version("torch")
    key = config_hash(_CacheKey(network=network, machine=repr(machine), torch=version))
    return cache_dir() / "timings" / f"{key[:20]}.json"


@strict_dataclass
class _CacheKey:
    network: TimedNetwork
    machine: str
    torch: str


def _measure_in_process(networks: list[TimedNetwork]) -> Iterator[tuple[TimedNetwork, Timing]]:
    """Measure networks in a new process, and yield those that were measured in time."""
    command = [sys.executable, "-m", "resnetlab.studies.timing.network_speed"]
    text = json.dumps([encode(network) for network in networks])
    timeout = min(START_SECONDS + MAX_SECONDS * len(networks), MAX_TOTAL_SECONDS)
    try:
        output: str | bytes | None = subprocess.run(
            command, input=text, text=True, capture_output=True, timeout=timeout
        ).stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout
    lines = (output.decode() if isinstance(output, bytes) else output or "").splitlines()
    for line in lines:
        with contextlib.suppress(InputError, ValueError, KeyError, IndexError, TypeError):
            table = json.loads(line)
            yield networks[table.pop("index")], decode_timing(table)


def measure_speed(network: TimedNetwork) -> Timing:
    """Time training steps and an evaluation of a network in this process. Changes its settings."""
    import torch

    from resnetlab.data.device_images import DeviceImages
    from resnetlab.training.device import setup_device
    from resnetlab.training.evaluate import EVAL_BATCH_SIZE, evaluate

    device = setup_device(network.numerics)
    batch = network.recipe.batch_size
    first = min(batch, FIRST_BATCH * network.numerics.grad_accum_steps)
    if device.type != "cpu":
        state, speed = _time_steps(network, device, batch, STEP_SECONDS)
    else:
        state, speed = _time_steps(network, device, first, 0.0)
        affordable = min(batch, int(speed * STEP_SECONDS))
        if affordable > first:
            state, speed = _time_steps(network, device, affordable, STEP_SECONDS)
    # The forward pass is about a third of a step.
    count = max(16, min(EVAL_BATCH_SIZE, int(3 * speed * EVALUATION_SECONDS)))
    images = DeviceImages.from_images(_random_images(network, count), device)
    evaluate(state.model, state.eval_forward_pixels, images)
    start = time.perf_counter()
    evaluate(state.model, state.eval_forward_pixels, images)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Timing(speed, count / (time.perf_counter() - start))


def _time_steps(
    network: TimedNetwork, device: torch.device, batch: int, seconds: float
) -> tuple[FromScratchState, float]:
    """Return the state after steps of `batch` images, and the images per second."""
    from resnetlab.data.device_images import DeviceImages
    from resnetlab.training.from_scratch_state import FromScratchState
    from resnetlab.training.make_step import make_step

    on_gpu = device.type != "cpu"
    images = _random_images(network, 4 * batch)
    recipe = replace(network.recipe, batch_size=batch, steps=1_000_000)
    state = FromScratchState(
        network.model, recipe, network.numerics, 0, images, network.num_classes, device
    )
    step = make_step(state, DeviceImages.from_images(images, device))
    for _ in range(WARMUP_STEPS if on_gpu else 1):
        step()
    step.synchronize()
    steps = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or not steps:
        for _ in range(10 if on_gpu else 1):
            step()
            steps += 1
        step.synchronize()
    elapsed = time.perf_counter() - start
    return state, steps * batch / elapsed


def _random_images(network: TimedNetwork, count: int) -> LabeledImages:
    """Return random images and labels of a network's size, channels and classes."""
    import numpy as np

    from resnetlab.data.config import LabeledImages

    generator = np.random.default_rng(0)
    shape = (count, network.image_size, network.image_size, network.channels)
    pixels = generator.integers(0, 256, shape, dtype=np.uint8)
    return LabeledImages(pixels, generator.integers(0, network.num_classes, count))


def main() -> None:
    """Measure the networks that standard input lists, and print a line for each."""
    for index, table in enumerate(json.load(sys.stdin)):
        network: TimedNetwork = decode(TimedNetwork, table, "timing")
        try:
            timing = measure_speed(network)
        except Exception as error:
            print(f"{network.model.slug}: {error}", file=sys.stderr, flush=True)
            continue
        print(json.dumps({"index": index} | asdict(timing)), flush=True)


if __name__ == "__main__":
    main()
