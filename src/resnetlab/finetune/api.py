"""Fine-tuning from a user's request to a model folder: read, check, train, write.

Imports torch only after all checks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.files import write_json
from resnetlab.finetune.progress import Pulse, silent
from resnetlab.finetune.request import Asked, Told, read
from resnetlab.finetune.results import Record, Sizes
from resnetlab.models.configs import External
from resnetlab.recipes.numerics import Numerics, parse_device, place
from resnetlab.schema import encode

if TYPE_CHECKING:
    from resnetlab.finetune.pipeline import Job
    from resnetlab.finetune.stage_cache import Kept
    from resnetlab.training.distributed import Team

Say = Callable[[str], None]


@dataclass(frozen=True)
class Done:
    """Outcome of a fine-tuning: its record and the folders of the model and the report."""

    record: Record
    model: Path
    report: Path


def finetune(
    request: Told,
    *,
    budget_seconds: float | None = None,
    baseline: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = lambda _: None,
    pulse: Pulse = silent,
) -> Done:
    """Fine-tune a network on a folder of photographs and write the model and the record.

    Args:
        request: Request of the user.
        budget_seconds: Time limit; later stages are shortened or left out to meet it.
        baseline: Folder of an earlier model to compare with on the test images.
        stop: Function that is asked between steps; training ends once it returns True.
        say: Function that gets a line about each stage.
        pulse: Callback for the progress of long steps.

    Raises:
        InputError: The request, the weights or the photographs are invalid.
        ResourceError: The disk is full.
    """
    if place()[0] > 0:  # only the first process prints progress
        say, pulse = lambda _: None, silent
    checked = _read(request, say)
    from resnetlab.finetune.pipeline import fit_all
    from resnetlab.training.distributed import from_environment, joined

    team = from_environment()
    job = prepared(request, say, team, checked)
    name = folder_name(job)
    model, report = request.output / "models" / name, request.output / "reports" / name
    with joined(team, job.numerics.device):
        record = fit_all(
            job,
            model,
            _stage_cache(request),
            budget_seconds=budget_seconds,
            baseline=baseline,
            stop=stop,
            say=say,
            pulse=pulse,
            team=team,
        )
    if team.first:
        report.mkdir(parents=True, exist_ok=True)
        write_json(report / "finetune.json", encode(record))
    return Done(record, model, report)


def fixres(
    request: Told,
    train_sizes: tuple[int, ...],
    test_sizes: tuple[int, ...],
    *,
    command: str,
    stop: Callable[[], bool] = lambda: False,
    say: Say = lambda _: None,
    pulse: Pulse = silent,
) -> Iterator[tuple[Sizes, Path]]:
    """Sweep train and test resolutions. Yields the table after each cell, and the folder of its
    report.

    Raises InputError and ResourceError.
    """
    job = prepared(request, say)
    from resnetlab.finetune.resolution_sweep import sweep

    name = folder_name(job)
    report = request.output / "reports" / name
    model = request.output / "models" / name
    for table in sweep(
        job,
        train_sizes,
        test_sizes,
        model,
        _stage_cache(request),
        command=command,
        stop=stop,
        say=say,
        pulse=pulse,
    ):
        yield table, report


def _stage_cache(request: Told) -> Kept:
    """Return the stage cache, so that a repeated command does not train finished stages again."""
    from resnetlab.finetune.stage_cache import Kept

    return Kept(request.output / "cache" / "stages")


def folder_name(job: Job) -> str:
    """Return the name of data, network and recipe as a folder name: `photos-resnet50-full`."""
    spec = job.backbone.spec
    network = spec.name if isinstance(spec, External) else spec.slug
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{job.photos.name}-{network}-{job.tuning.name}")


def _read(request: Told, say: Say) -> Asked:
    """Read and check the request, then report that torch is loading, which takes seconds."""
    checked = read(request, say)
    if "torch" not in sys.modules:
        library = getattr(checked.backbone.spec, "library", "")
        say(f"loading {' and '.join(filter(None, ('torch', library)))} ...")
    return checked


def prepared(
    request: Told, say: Say, team: Team | None = None, checked: Asked | None = None
) -> Job:
    """Return the fine-tuning job, read and checked before training.

    `checked` is the request if it is already read.
    """
    checked = checked or _read(request, say)
    from resnetlab.finetune.pipeline import Job
    from resnetlab.training.resolve import resolve

    device, index = parse_device(request.device)
    numerics = resolve(Numerics(device=device, ranks=team.size if team else 1), single=True)  # type: ignore[arg-type]
    return Job(checked.photos, checked.backbone, checked.tuning, request.seed, numerics, index)
