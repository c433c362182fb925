"""From what a person asks for to a model's folder: read, check, fit, write. Imports torch when all is checked."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.codec import encode
from resnetlab.files import write_json
from resnetlab.finetune.asked import Asked, Told, read
from resnetlab.finetune.progress import Pulse, silent
from resnetlab.finetune.record import Record, Sizes
from resnetlab.models.spec import External
from resnetlab.training.numerics import Numerics, parse_device, place

if TYPE_CHECKING:
    from resnetlab.finetune.kept import Kept
    from resnetlab.finetune.tune import Job
    from resnetlab.training.team import Team

Say = Callable[[str], None]


@dataclass(frozen=True)
class Done:
    """What was found, the folder of the model, and that of what was found."""

    record: Record
    model: Path
    report: Path


def finetune(
    told: Told, *, budget_seconds: float | None = None, baseline: Path | None = None,
    stop: Callable[[], bool] = lambda: False, say: Say = lambda _: None, pulse: Pulse = silent,
) -> Done:  # fmt: skip
    """Fit a network to a folder of photographs and write it; `say` and `pulse` are told how it goes.

    Raises InputError and ResourceError.
    """
    if place()[0] > 0:  # of several processes one tells
        say, pulse = lambda _: None, silent
    asked = _read(told, say)
    from resnetlab.finetune.tune import fit_all
    from resnetlab.training.team import from_environment, joined

    team = from_environment()
    job = prepared(told, say, team, asked)
    name = folder_name(job)
    model, report = told.output / "models" / name, told.output / "reports" / name
    with joined(team, job.numerics.device):
        record = fit_all(
            job, model, _kept(told), budget_seconds=budget_seconds, baseline=baseline, stop=stop, say=say, pulse=pulse,
            team=team,
        )  # fmt: skip
    if team.first:
        report.mkdir(parents=True, exist_ok=True)
        write_json(report / "finetune.json", encode(record))
    return Done(record, model, report)


def fixres(
    told: Told, train_sizes: tuple[int, ...], test_sizes: tuple[int, ...], *, command: str,
    stop: Callable[[], bool] = lambda: False, say: Say = lambda _: None, pulse: Pulse = silent,
) -> Iterator[tuple[Sizes, Path]]:  # fmt: skip
    """The table of sizes as it fills, and the folder of its report. Raises InputError and ResourceError."""
    job = prepared(told, say)
    from resnetlab.finetune.sizes import sweep

    name = folder_name(job)
    report = told.output / "reports" / name
    model = told.output / "models" / name
    for found in sweep(
        job, train_sizes, test_sizes, model, _kept(told), command=command, stop=stop, say=say, pulse=pulse
    ):
        yield found, report


def _kept(told: Told) -> Kept:
    """Stages that are done are not done again when the command is given again."""
    from resnetlab.finetune.kept import Kept

    return Kept(told.output / "cache" / "stages")


def folder_name(job: Job) -> str:
    """`photos-resnet50-full`: the data, the network, the recipe."""
    spec = job.backbone.spec
    network = spec.name if isinstance(spec, External) else spec.slug
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{job.photos.name}-{network}-{job.tuning.name}")


def _read(told: Told, say: Say) -> Asked:
    """As `read`, and then say that torch is loaded, which takes seconds."""
    asked = read(told, say)
    if "torch" not in sys.modules:
        library = getattr(asked.backbone.spec, "library", "")
        say(f"loading {' and '.join(filter(None, ('torch', library)))} ...")
    return asked


def prepared(told: Told, say: Say, team: Team | None = None, asked: Asked | None = None) -> Job:
    """Everything read and checked, unless it was `asked` for before, so that no mistake is told after training."""
    asked = asked or _read(told, say)
    from resnetlab.finetune.tune import Job
    from resnetlab.training.resolve import resolve

    device, index = parse_device(told.device)
    numerics = resolve(Numerics(device=device, ranks=team.size if team else 1), single=True)  # type: ignore[arg-type]
    return Job(asked.photos, asked.backbone, asked.tuning, told.seed, numerics, index)
