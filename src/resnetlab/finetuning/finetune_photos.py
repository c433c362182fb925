"""Fine-tuning from a user's request to a model folder: read, check, train, write.

Imports torch only after all checks.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.checksums import write_checksums
from resnetlab.data.photo_loader import Tta, loader_threads
from resnetlab.errors import InputError, input_error
from resnetlab.files import remove_tree, sha256, write_json
from resnetlab.finetuning.earlier_model import find_earlier_model
from resnetlab.finetuning.network.backbones import Backbone, with_library_license
from resnetlab.finetuning.network.candidates import Candidates, LeftOut
from resnetlab.finetuning.photo_record import write_photo_record
from resnetlab.finetuning.request import (
    CheckedRequest,
    FinetuneRequest,
    read_request,
)
from resnetlab.finetuning.results import FinetuneResult, ResolutionTable
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.model_folder.licenses import unknown_terms
from resnetlab.model_folder.model_file import MODEL_FILE
from resnetlab.model_folder.read import read_model_file
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.configs.external import allow_code
from resnetlab.notebook import ObjectSummary, with_summary
from resnetlab.recipes.numerics import parse_device, torchrun_env
from resnetlab.schema import encode, without_defaults

if TYPE_CHECKING:
    from resnetlab.finetuning.dataset import PhotoDataset
    from resnetlab.finetuning.job import FinetuneJob
    from resnetlab.finetuning.stage.stage_cache import StageCache
    from resnetlab.models.photo_predictions import SplitPredictions
    from resnetlab.training.distributed import World


@with_summary
@dataclass(frozen=True)
class FinetunedModel:
    """Fine-tuned model: its record, the folders of the model and the report, the
    photographs, and the predictions on those of the test split (without one, of validation).
    """

    result: FinetuneResult
    model_folder: Path
    report_folder: Path
    photos: PhotoDataset
    predictions: SplitPredictions
    tta: Tta = "none"
    """Test-time augmentation of the predictions."""

    def _summary(self) -> ObjectSummary:
        result, test = self.result, self.result.test
        split = "test" if result.has_test else "validation"
        accuracy = f"{test.accuracy_pct:.1f} % [{test.low_pct:.1f}, {test.high_pct:.1f}]"
        rows = [(stage.name, stage.validation.accuracy_pct) for stage in result.stages]
        return ObjectSummary(
            self.photos.name,
            {
                f"{split} accuracy": f"{accuracy} of {test.images:,} images",
                "model": self.model_folder,
                "report": self.report_folder,
            },
            ("stage", "validation accuracy, %"),
            rows,
        )


def finetune(
    request: FinetuneRequest,
    *,
    time_limit_seconds: float | None = None,
    baseline: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> FinetunedModel:
    """Fine-tune a network on a folder of photographs and write the model and the record.

    Args:
        request: Request of the user.
        time_limit_seconds: Time limit, from the call to the last file; stages get fewer epochs
            or are left out to meet it.
        baseline: Folder of an earlier model to compare with on the test images.
        should_stop: Function that is called between steps; training ends once it returns True.
        notify: Function that gets a line about each stage.
        on_item: Callback for the progress of long steps.

    Raises:
        InputError: The request, the weights or the photographs are invalid.
        ResourceError: The disk is full.
    """
    start = time.monotonic()
    if torchrun_env().rank > 0:  # only the first process prints progress
        notify = on_item = silent
    if baseline is not None:
        baseline_file = read_model_file(baseline)  # a mistyped path is refused at once
        if request.trust_code:
            allow_code(baseline_file.model)
    checked = _read_request(request, notify)
    # These modules import torch.
    from resnetlab.finetuning.pipeline import run_finetuning
    from resnetlab.finetuning.time_limit.time_limit import TimeLimit
    from resnetlab.finetuning.trials import Trials
    from resnetlab.training.distributed import process_group, torchrun_world

    world, cache = torchrun_world(), _stage_cache(request)
    job = prepare_job(request, notify, world, checked)
    limit = TimeLimit(time_limit_seconds, start)
    with process_group(world, job.numerics.device), loader_threads(request.workers):
        trials = Trials(job, cache, limit, world, should_stop, notify, on_item)
        with_balance = request.balance == "auto"
        selection = trials.select(checked.candidates, with_balance=with_balance)
        job, model_folder, report_folder = _with_folders(selection.job, request)
        planned = len(job.recipe.resolved_stages)
        earlier_model = find_earlier_model(model_folder, report_folder, planned)
        if earlier_model is not None:
            _check_same_finetuning(earlier_model.other_folder, job)
        record, predictions = run_finetuning(
            job,
            model_folder,
            cache,
            limit=limit,
            baseline=baseline,
            should_stop=should_stop,
            notify=notify,
            on_item=on_item,
            world=world,
            finetune_model=selection.finetune_model,
            earlier_model=earlier_model,
        )
    if earlier_model is not None and earlier_model.other_folder.name != record.folder:
        other_report = report_folder.with_name(earlier_model.other_folder.name)
        is_left = other_report.exists() and not earlier_model.other_folder.exists()
        if is_left and world.is_main_process:
            remove_tree(other_report)  # its model was replaced
    model_folder = model_folder.with_name(record.folder)
    report_folder = report_folder.with_name(record.folder)
    record = replace(record, backbone_trials=selection.backbones, balance_trials=selection.balance)
    if world.is_main_process:
        report_folder.mkdir(parents=True, exist_ok=True)
        write_json(report_folder / "finetune.json", encode(record))
        write_checksums(report_folder, ("finetune.json",))
        write_photo_record(request.output / "cache", model_folder, job.photos)
    tta: Tta = "ten-crop" if job.recipe.crops == 10 else "none"
    return FinetunedModel(record, model_folder, report_folder, job.photos, predictions, tta)


def _with_folders(job: FinetuneJob, request: FinetuneRequest) -> tuple[FinetuneJob, Path, Path]:
    """Return the job with its identity, and the folders of its model and its report.

    Raises InputError if another fine-tuning has the folder of the model.
    """
    name = request.name or folder_name(job)
    if request.folds is not None:
        name = f"{name}-fold{request.fold}"
    model_folder = request.output / "models" / name
    report_folder = request.output / "reports" / name
    job = replace(job, identity=_identity(job, *_numerics_settings(request)))
    _check_same_finetuning(model_folder, job)
    return job, model_folder, report_folder


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
    """Train and evaluate at each pair of sizes. Yields the table after each pair, and the folder of
    its report.

    Raises InputError if the request is invalid, and ResourceError if the disk is full.
    """
    job = prepare_job(request, notify)
    from resnetlab.finetuning.resolution_grid import measure_resolutions

    name = request.name or folder_name(job)
    report = request.output / "reports" / name
    model = request.output / "models" / name
    job = replace(job, identity=_identity(job, "fixres", train_sizes, test_sizes))
    _check_same_finetuning(model, job)
    for table in measure_resolutions(
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
    from resnetlab.finetuning.stage.stage_cache import StageCache

    return StageCache(request.output / "cache" / "stages")


def folder_name(job: FinetuneJob) -> str:
    """Return the name of data, network and recipe as a folder name: `photos-resnet50-full`."""
    config = job.backbone.config
    network = config.name if isinstance(config, ExternalConfig) else config.slug
    name = f"{job.photos.name}-{network}-{job.recipe.name}"
    return re.sub(r"[^\w.-]+", "-", name).strip("._-")


def _identity(job: FinetuneJob, *extra: object) -> str:
    """Return ten digits of a hash of what makes a model: data, network, weights, recipe, seed."""
    weights = sha256(job.backbone.weights_path) if job.backbone.weights_path else ""
    network, recipe = encode(job.backbone.config), without_defaults(job.recipe)
    parts = [job.photos.sha256, network, weights, recipe, job.seed, *extra]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]


def _numerics_settings(request: FinetuneRequest) -> list[object]:
    """Return the numerics that the user set, apart from the device, if there are any."""
    table = without_defaults(replace(request.numerics, device="auto"))
    return [table] if table else []


def _check_same_finetuning(folder: Path, job: FinetuneJob) -> None:
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
        library = getattr(checked.backbone.config, "library", "")
        notify(f"loading {' and '.join(filter(None, ('torch', library)))} ...")
    candidates = _with_licenses(checked.candidates, request.accept_license)
    for backbone in candidates.backbones:
        if note := unknown_terms(backbone.license):
            notify(f"note: {note}")
    return replace(checked, candidates=candidates)


def _with_licenses(candidates: Candidates, accept_license: bool) -> Candidates:
    """Return the candidates with the licenses that timm and torchvision state.

    Raises InputError if a network that the user named may not be used; others are left out.
    """
    backbones, left_out = list[Backbone](), list(candidates.left_out)
    for backbone in candidates.backbones:
        try:
            backbones.append(with_library_license(backbone, accept_license))
        except InputError as error:
            if not backbone.origin or len(candidates.backbones) == 1:
                raise
            reason = str(error.problems[0])
            left_out.append(LeftOut(backbone.config.slug, reason, backbone.origin))
    if not backbones:
        fix = "--accept-license, if your use is not commercial, or --try timm/NAME"
        raise input_error("--try", "no network is left", fix, got=left_out[-1].reason)
    return Candidates(tuple(backbones), tuple(left_out))


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
    from resnetlab.finetuning.job import FinetuneJob
    from resnetlab.training.resolve import resolve_numerics

    device, index = parse_device(request.device)
    world_size = world.size if world else 1
    requested = replace(request.numerics, device=device, world_size=world_size)
    numerics = resolve_numerics(requested, single_run=True)
    return FinetuneJob(
        checked.photos, checked.backbone, checked.recipe, request.seed, numerics, index
    )
