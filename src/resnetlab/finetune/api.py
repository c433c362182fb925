"""Fine-tuning from a user's request to a model folder: read, check, train, write.

Imports torch only after all checks.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.bundle.licenses import unknown_terms
from resnetlab.bundle.reading import read_model_file
from resnetlab.bundle.spec import MODEL_FILE
from resnetlab.checksums import write_checksums
from resnetlab.errors import input_error
from resnetlab.files import sha256, write_json
from resnetlab.finetune.backbones import with_library_license
from resnetlab.finetune.request import CheckedRequest, FinetuneRequest, read_request
from resnetlab.finetune.results import FinetuneResult, ResolutionTable
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.configs.external import allow_code
from resnetlab.recipes.numerics import Numerics, parse_device, torchrun_env
from resnetlab.schema import encode

if TYPE_CHECKING:
    from resnetlab.finetune.job import FinetuneJob
    from resnetlab.finetune.stage_cache import StageCache
    from resnetlab.training.distributed import World


@dataclass(frozen=True)
class FinetuneOutcome:
    """Outcome of a fine-tuning: its record and the folders of the model and the report."""

    result: FinetuneResult
    model_folder: Path
    report_folder: Path


def finetune(
    request: FinetuneRequest,
    *,
    budget_seconds: float | None = None,
    baseline: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> FinetuneOutcome:
    """Fine-tune a network on a folder of photographs and write the model and the record.

    Args:
        request: Request of the user.
        budget_seconds: Time limit; later stages are shortened or skipped to meet it.
        baseline: Folder of an earlier model to compare with on the test images.
        should_stop: Function that is asked between steps; training ends once it returns True.
        notify: Function that receives a line about each stage.
        on_item: Callback for the progress of long steps.

    Raises:
        InputError: The request, the weights or the photographs are invalid.
        ResourceError: The disk is full.
    """
    if torchrun_env()[0] > 0:  # only the first process prints progress
        notify = on_item = silent
    checked = _read_request(request, notify)
    from resnetlab.finetune.pipeline import run_finetuning
    from resnetlab.training.distributed import process_group, torchrun_world

    world = torchrun_world()
    if request.trust_code and baseline is not None:
        allow_code(read_model_file(baseline).model)
    job = prepare_job(request, notify, world, checked)
    name = request.name or folder_name(job)
    model, report = request.output / "models" / name, request.output / "reports" / name
    job = replace(job, identity=_identity(job))
    _check_replaced(model, job)
    with process_group(world, job.numerics.device):
        record = run_finetuning(
            job,
            model,
            _stage_cache(request),
            budget_seconds=budget_seconds,
            baseline=baseline,
            should_stop=should_stop,
            notify=notify,
            on_item=on_item,
            world=world,
        )
    if world.is_main_process:
        report.mkdir(parents=True, exist_ok=True)
        write_json(report / "finetune.json", encode(record))
        write_checksums(report, ("finetune.json",))
    return FinetuneOutcome(record, model, report)


def fixres(
    request: FinetuneRequest,
    train_sizes: tuple[int, ...],
    test_sizes: tuple[int, ...],
    *,
    command: str,
    should_stop: Callable[[], bool] = lambda: False,
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> Iterator[tuple[ResolutionTable, Path]]:
    """Sweep train and test resolutions. Yields the table after each cell, and the folder of its
    report.

    Raises InputError and ResourceError.
    """
    job = prepare_job(request, notify)
    from resnetlab.finetune.resolution_sweep import sweep

    name = request.name or folder_name(job)
    report = request.output / "reports" / name
    model = request.output / "models" / name
    job = replace(job, identity=_identity(job, "fixres", train_sizes, test_sizes))
    _check_replaced(model, job)
    for table in sweep(
        job,
        train_sizes,
        test_sizes,
        model,
        _stage_cache(request),
        command=command,
        should_stop=should_stop,
        notify=notify,
        on_item=on_item,
    ):
        yield table, report


def _stage_cache(request: FinetuneRequest) -> StageCache:
    """Return the stage cache, so that a repeated command does not train finished stages again."""
    from resnetlab.finetune.stage_cache import StageCache

    return StageCache(request.output / "cache" / "stages")


def folder_name(job: FinetuneJob) -> str:
    """Return the name of data, network and recipe as a folder name: `photos-resnet50-full`."""
    spec = job.backbone.spec
    network = spec.name if isinstance(spec, ExternalConfig) else spec.slug
    name = f"{job.photos.name}-{network}-{job.recipe.name}"
    return re.sub(r"[^\w.-]+", "-", name).strip("._-")


def _identity(job: FinetuneJob, *extra: object) -> str:
    """Return ten digits of a hash of what makes a model: data, network, weights, recipe, seed."""
    weights = sha256(job.backbone.weights) if job.backbone.weights else ""
    network, recipe = encode(job.backbone.spec), encode(job.recipe)
    parts = [job.photos.sha256, network, weights, recipe, job.seed, *extra]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]


def _check_replaced(folder: Path, job: FinetuneJob) -> None:
    """Raise InputError if `folder` has a model of other data, weights, sizes, recipe or seed.

    The model of the same fine-tuning may be replaced.
    """
    if not (folder / MODEL_FILE).is_file():
        return
    origin = read_model_file(folder).provenance
    if origin.get("identity") != job.identity:
        other = f"{origin.get('data', 'unknown data')}, seed {origin.get('seed', 'unknown')}"
        message = f"has the model of another fine-tuning ({other})"
        fix = "--name another-name, or --output DIR; or remove the folder"
        raise input_error(str(folder), message, fix)


def _read_request(request: FinetuneRequest, notify: Notify) -> CheckedRequest:
    """Read and check the request, then report that torch is loading, which takes seconds."""
    checked = read_request(request, notify)
    if "torch" not in sys.modules:
        library = getattr(checked.backbone.spec, "library", "")
        notify(f"loading {' and '.join(filter(None, ('torch', library)))} ...")
    backbone = with_library_license(checked.backbone, request.accept_license)
    if note := unknown_terms(backbone.license):
        notify(f"note: {note}")
    return replace(checked, backbone=backbone)


def prepare_job(
    request: FinetuneRequest,
    notify: Notify,
    world: World | None = None,
    checked: CheckedRequest | None = None,
) -> FinetuneJob:
    """Return the fine-tuning job, read and checked before training.

    `checked` is the request if it is already read.
    """
    checked = checked or _read_request(request, notify)
    from resnetlab.finetune.job import FinetuneJob
    from resnetlab.training.resolve import resolve_numerics

    device, index = parse_device(request.device)
    requested = Numerics(device=device, world_size=world.size if world else 1)  # type: ignore[arg-type]
    numerics = resolve_numerics(requested, single_run=True)
    return FinetuneJob(
        checked.photos, checked.backbone, checked.recipe, request.seed, numerics, index
    )
