"""Loss landscapes of finished runs, for the command line and from Python.

Heavy imports stay inside the functions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.errors import input_error
from resnetlab.messages import ItemCallback, Notify, format_count, format_estimate, silent
from resnetlab.schema_errors import FieldError
from resnetlab.table import Table

if TYPE_CHECKING:
    from resnetlab.inspection.diagnostics_config import LandscapeConfig
    from resnetlab.inspection.landscape_summary import NamedLandscape
    from resnetlab.inspection.loss_landscape import MeasuredLoss

DEFAULT_PLANES, DEFAULT_POINTS, DEFAULT_IMAGES = 3, 11, 128
"""Default size of a measurement. The command prints beforehand how long it takes."""


def inspect_landscape(
    runs: str | Path | Sequence[str | Path],
    data: str = "",
    *,
    planes: int = DEFAULT_PLANES,
    points: int = DEFAULT_POINTS,
    images: int = DEFAULT_IMAGES,
    seed: int = 0,
    batch_statistics: bool = False,
) -> Table:
    """Measure filter-normalized loss landscapes of finished runs: `inspect landscape`.

    Source: Li, Xu, Taylor, Studer and Goldstein 2018, sec. 4.

    Args:
        runs: Folder of a finished run, or several.
        data: Present path of the data, if it has changed.
        planes: Number of random planes through the weights.
        points: Number of grid points on each axis, from -1 to 1; odd and at least 5.
        images: Number of train images whose mean loss is measured.
        seed: Seed of the directions and of the choice of the images.
        batch_statistics: True if batch norm uses the statistics of these images at each point, not
            its running statistics.

    Returns:
        A row for each run and plane: the loss in nats at the center, the share of the grid points
        with a low loss in percent, the rise of the loss at distance 1 in nats, the share of
        negative second differences in percent, and the number of losses that are not finite.

    Raises:
        InputError: A run is not finished, its data are missing, or a size is out of range.
    """
    from resnetlab.inspection.landscape_summary import landscape_sentences, plane_rows

    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    config = landscape_config(planes, points, images, "{}".format)
    measured = measure_landscapes(folders, data, config, seed, batch_statistics)
    return Table.from_rows(plane_rows(measured), "Loss landscapes", landscape_sentences(measured))


def landscape_config(
    planes: int, points: int, images: int, option: Callable[[str], str]
) -> LandscapeConfig:
    """Return the size of a measurement. `option` writes the name of a field for a message.

    Raises InputError if the number of points is even or too small.
    """
    from resnetlab.inspection.diagnostics_config import LandscapeConfig

    try:
        return LandscapeConfig(planes=planes, points=points, images=images)
    except FieldError as error:
        fix = f"{option(error.field)} {DEFAULT_POINTS}"
        raise input_error(option(error.field), error.message, fix, got=points) from None


def measure_landscapes(
    folders: Sequence[Path],
    data: str,
    config: LandscapeConfig,
    seed: int,
    batch_statistics: bool,
    notify: Notify = silent,
    on_progress: ItemCallback = silent,
) -> list[NamedLandscape]:
    """Measure the loss landscapes of finished runs on all cores of this machine.

    Args:
        folders: Folders of the runs.
        data: Present path of the data, if it has changed.
        config: Planes, grid points and images.
        seed: Seed of the directions and of the images.
        batch_statistics: True if batch norm uses the statistics of the images at each point.
        notify: Callback for the expected duration, which is printed first.
        on_progress: Callback for the number of measured losses.
    """
    import torch

    from resnetlab.inspection.landscape_summary import NamedLandscape
    from resnetlab.inspection.loss_landscape import (
        measure_landscape,
        measured_loss,
        seconds_per_loss,
    )
    from resnetlab.recipes.numerics import available_cpus
    from resnetlab.runs.load import open_run
    from resnetlab.training.device import preserve_device_settings

    losses: list[tuple[str, str, str, MeasuredLoss]] = []
    with preserve_device_settings():
        for folder in folders:
            opened = open_run(folder, data, notify)
            run = opened.file.run
            loss = measured_loss(
                opened.state, opened.train_images(), config.images, seed, batch_statistics
            )
            losses.append((folder.resolve().name, run.model.title, replace(run, seed=0).hash, loss))
        # A thread per core measures losses; operations of small networks gain nothing from more.
        torch.set_num_threads(1)
        on_cpu = all(loss.inputs.device.type == "cpu" for *_, loss in losses)
        workers = available_cpus() if on_cpu else 1
        total = config.losses_per_run() * len(losses)
        seconds = sum(seconds_per_loss(loss) for *_, loss in losses) * config.losses_per_run()
        duration = format_estimate(seconds / workers)
        notify(f"{format_count(total, 'loss')} to measure: about {duration}")
        done, lock = 0, threading.Lock()

        def count_loss() -> None:
            nonlocal done
            with lock:
                done += 1
                on_progress("losses", done, total)

        return [
            NamedLandscape(
                name, title, key, measure_landscape(loss, config, seed, count_loss, workers)
            )
            for name, title, key, loss in losses
        ]
