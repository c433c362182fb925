"""Cache of fine-tuning stages, by a hash of everything that determines their bits.

Each stage has one file under `cache/stages` with the tensors that the stage may have changed; its
metadata contain the result of the stage. Files are written atomically, and a damaged file counts as
absent. Every file may be removed, since a missing stage is trained again. The cache itself removes
no file.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.errors import InputError
from resnetlab.files import try_lock
from resnetlab.finetuning.network.frozen_features import FOLDER
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.stage.train_stage import StageResult, invalidate_features
from resnetlab.models.code_hash import with_module_hashes
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.weights import state_dict_hash, write_tensors
from resnetlab.recipes.finetune import Sampler, Stage
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.config import FINETUNE_VERSION
from resnetlab.schema import config_hash, decode, encode, strict_dataclass
from resnetlab.training.memory import peak_memory

POLL_SECONDS = 0.2

PACKAGES = ("torch", "torchvision", "numpy", "Pillow")
"""Packages whose arithmetic influences the bits."""


class StageLockedError(Exception):
    """Error of a stage that another process trains, after the time to wait for it."""


@strict_dataclass
class StageKey:
    """Key of the cache: everything that determines the network after its stages so far."""

    algorithm_version: int
    packages: dict[str, str]
    network: ModelConfig
    """Network config without its weights."""
    tensors: str
    """SHA-256 of the initial tensors: pre-trained weights and a new classifier."""
    data: str
    class_weights: str
    sampler: Sampler = "shuffled"
    seed: int
    numerics: Numerics
    stages: tuple[Stage, ...] = ()
    eval_transforms: tuple[EvalTransform, ...] = ()
    """Evaluation transform of each stage."""
    reduced: tuple[tuple[str, int], ...] = ()
    """Stages trained on a part of the photographs, to meet a time limit, with their number."""

    def with_stage(self, stage: Stage, transform: EvalTransform, reduced_to: int = 0) -> StageKey:
        """Return the key after one more stage; `reduced_to` is 0 for all train photographs."""
        return replace(
            self,
            stages=(*self.stages, stage),
            eval_transforms=(*self.eval_transforms, transform),
            reduced=(*self.reduced, *([(stage.name, reduced_to)] if reduced_to else [])),
        )


def stage_key(
    finetune_model: FinetuneModel, data: str, class_weights: str, sampler: Sampler = "shuffled"
) -> StageKey:
    """Return the cache key of a network before its first stage."""
    network = with_module_hashes(finetune_model.config)
    if isinstance(network, ExternalConfig):
        network = replace(
            network, weights="", sha256="", mean=(), std=(), class_names=(), license=None
        )
    return StageKey(
        algorithm_version=FINETUNE_VERSION,
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        network=network,
        tensors=state_dict_hash(finetune_model.model.state_dict()),
        data=data,
        class_weights=class_weights,
        sampler=sampler,
        seed=finetune_model.seed,
        numerics=finetune_model.numerics,
    )


@dataclass(frozen=True)
class StageCache:
    """Cache of stages in a folder.

    `wait_seconds` is the time to wait for a stage that another process trains (0: no limit).
    """

    folder: Path
    wait_seconds: float = 0.0

    @property
    def features_folder(self) -> Path:
        """Folder of the frozen features, beside that of the stages."""
        return self.folder.with_name(FOLDER)

    def contains(self, key: StageKey) -> bool:
        """Return True if there is a file of the last stage of `key`."""
        return self._path(key).is_file()

    def _path(self, key: StageKey) -> Path:
        return self.folder / f"{config_hash(key)[:32]}.safetensors"

    def load_or_train(
        self,
        key: StageKey,
        finetune_model: FinetuneModel,
        train: Callable[[], StageResult],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> StageResult:
        """Return the last stage of `key`, from the cache or by `train`, and load its weights.

        Only one of several concurrent processes trains the stage. A stage that was stopped is not
        cached. Raises StageLockedError if another process trains the stage for longer than
        `wait_seconds`.
        """
        path = self._path(key)
        world, stage, size = finetune_model.world, key.stages[-1], key.eval_transforms[-1].size
        # One of several processes must not give up while the others wait.
        stop_waiting = should_stop if world.size == 1 else None
        with (
            self._locked(path, stop_waiting) if world.is_main_process else contextlib.nullcontext()
        ):
            cached = world.broadcast(_read_stage(path) if world.is_main_process else None)
            if cached is None:
                with peak_memory(finetune_model.device) as peak:
                    result = train()
                result = replace(result, peak_bytes=peak.bytes)
                if world.is_main_process and result.complete and result.epochs:
                    _write_stage(path, trainable_state(finetune_model.model), result)
                return result
        tensors, result = cached
        partitioned = finetune_model.partition_for_training(
            stage.trainable, size, stage.frozen_mode
        )
        finetune_model.model.load_state_dict(tensors, strict=False)
        invalidate_features(finetune_model, partitioned, stage)
        return result

    @contextlib.contextmanager
    def _locked(self, path: Path, should_stop: Callable[[], bool] | None) -> Iterator[None]:
        """Acquire the lock of the stage at `path` for the `with` block.

        Without `should_stop`, wait without limit.

        The system releases the lock when a process dies.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        while True:
            with try_lock(path.with_suffix(".lock")) as acquired:
                if acquired:
                    yield
                    return
            waited = time.monotonic() - start
            if should_stop and (should_stop() or 0 < self.wait_seconds < waited):
                raise StageLockedError
            time.sleep(POLL_SECONDS)


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that training may change, by their `requires_grad` and train modes."""
    names = set[str]()
    for prefix, module in model.named_modules():
        parameters = module.named_parameters(recurse=False)
        changed = [name for name, parameter in parameters if parameter.requires_grad]
        if module.training:  # its buffers change too, such as the statistics of batch norm
            changed += [name for name, _ in module.named_buffers(recurse=False)]
        names |= {f"{prefix}.{name}".lstrip(".") for name in changed}
    return {name: tensor for name, tensor in model.state_dict().items() if name in names}


def _write_stage(path: Path, tensors: dict[str, Tensor], result: StageResult) -> None:
    metadata = {"fitted": encode(result), "tensors": state_dict_hash(tensors)}
    write_tensors(path, tensors, {"resnetlab": json.dumps(metadata)})


def _read_stage(path: Path) -> tuple[dict[str, Tensor], StageResult] | None:
    """Read a stage; return None if the file is absent or damaged."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = json.loads(file.metadata()["resnetlab"])
        result: StageResult = decode(StageResult, metadata["fitted"], str(path))
    except (SafetensorError, OSError, InputError, ValueError, KeyError, TypeError):
        return None
    return (tensors, result) if state_dict_hash(tensors) == metadata["tensors"] else None
