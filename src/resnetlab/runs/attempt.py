"""Attempt at a run: everything that a trainer of any kind of run needs, except the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resnetlab.data.device_images import DeviceImageCache
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.records import Evaluation, RunFile
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.events import TrainEvent

ProgressCallback = Callable[[TrainEvent, tuple[Evaluation, ...]], None]
"""Callback for each event of the training loop, with its evaluations."""


@dataclass(frozen=True)
class RunAttempt:
    """Request to train a run in this process, from its last checkpoint to its result or a stop."""

    run_id: str
    """Id of the run, the name of its folder."""
    file: RunFile
    root: Path
    """Folder that contains `runs` and `cache`."""
    placement: Placement
    """Device index, workers and checkpoint interval."""
    should_stop: Callable[[], bool]
    """Function that is called between steps. Training ends with a checkpoint once it returns True.
    """
    on_progress: ProgressCallback
    from_step: int | None = None
    """Step of the checkpoint to resume from (0: from the start); None for the last checkpoint."""
    world: World = SINGLE_PROCESS
    """Processes that train the run together. The first one reads and writes the folder."""
    shared_image_cache: DeviceImageCache | None = None
    """Data of other runs that share the device with this one, which then yields after each step."""

    @property
    def shares_device(self) -> bool:
        """True if other runs use the same device."""
        return self.shared_image_cache is not None
