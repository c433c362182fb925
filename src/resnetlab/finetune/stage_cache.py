"""What stages of fine-tuning leave, kept by all that decides their bits: each is computed once, whoever asks first.

A file a stage under `cache/stages`: the tensors that it may have changed, and in the metadata what came of it. It is
whole or absent, and a file that is not as written counts as absent. Nothing there is needed: what was removed is
computed again. Nothing is removed by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from resnetlab.data.transforms.eval_transform import View
from resnetlab.errors import InputError
from resnetlab.files import locked
from resnetlab.finetune.model import Subject
from resnetlab.finetune.stage import Fitted, settle
from resnetlab.models.configs import External, Model
from resnetlab.recipes.finetune import Stage
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.checkpoint import write_tensors
from resnetlab.runs.config import TUNING_VERSION
from resnetlab.schema import decode, digest, encode, spec
from resnetlab.training.memory import peak_memory

POLL_SECONDS = 0.2

PACKAGES = ("torch", "torchvision", "numpy", "Pillow")
"""Whose arithmetic is in the bits."""


class TakenError(Exception):
    """Another process computes the stage, and the wait for it was over."""


@spec
class Basis:
    """All that decides what a network is after its stages so far."""

    algorithm_version: int
    packages: dict[str, str]
    network: Model
    """Without its weights."""
    tensors: str
    """SHA-256 of what it begins with: pre-trained weights and a new classifier."""
    data: str
    class_weights: str
    seed: int
    numerics: Numerics
    stages: tuple[Stage, ...] = ()
    views: tuple[View, ...] = ()
    """In which each stage is shown the photographs."""

    def then(self, stage: Stage, view: View) -> Basis:
        """The same after one stage more."""
        return replace(self, stages=(*self.stages, stage), views=(*self.views, view))


def basis_of(subject: Subject, data: str, class_weights: str) -> Basis:
    """Where the network of `subject` stands before any stage."""
    network = subject.spec
    if isinstance(network, External):
        network = replace(network, weights="", sha256="", mean=(), deviation=(), class_names=(), licence=None)
    return Basis(
        algorithm_version=TUNING_VERSION, packages={name: importlib.metadata.version(name) for name in PACKAGES},
        network=network, tensors=digest_of(subject.model.state_dict()), data=data, class_weights=class_weights,
        seed=subject.seed, numerics=subject.numerics,
    )  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """The stages under a folder; `wait_seconds` is how long to wait for one that another process computes, 0: for ever.

    Raises TakenError when that is over.
    """

    folder: Path
    wait_seconds: float = 0.0

    def stage(
        self, basis: Basis, subject: Subject, fit: Callable[[], Fitted], stop: Callable[[], bool] = lambda: False
    ) -> Fitted:
        """The last stage of `basis` on the network as the stage before left it: from the folder, else by `fit`.

        The network is left with its weights. Of several processes that ask at once, one computes; what `stop()` cut
        short is not kept.
        """
        path = self.folder / f"{digest(basis)[:32]}.safetensors"
        team, stage, side = subject.team, basis.stages[-1], basis.views[-1].size
        hurry = stop if team.size == 1 else None  # of several processes none may leave the others waiting
        with self._locked(path, hurry) if team.first else contextlib.nullcontext():
            held = team.from_first(_read(path) if team.first else None)
            if held is None:
                with peak_memory(subject.device) as peak:
                    fitted = fit()
                fitted = replace(fitted, peak_bytes=peak.bytes)
                if team.first and fitted.whole and fitted.epochs:
                    _write(path, learning(subject.model), fitted)
                return fitted
        tensors, fitted = held
        halves = subject.halves(stage.trains, side)
        subject.model.load_state_dict(tensors, strict=False)
        settle(subject, halves, stage)
        return fitted

    @contextlib.contextmanager
    def _locked(self, path: Path, stop: Callable[[], bool] | None) -> Iterator[None]:
        """Alone with the stage at `path`; the system lets go when a process dies. Without `stop`, after any wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        while True:
            with locked(path.with_suffix(".lock")) as mine:
                if mine:
                    yield
                    return
            waited = time.monotonic() - began
            if stop and (stop() or 0 < self.wait_seconds < waited):
                raise TakenError
            time.sleep(POLL_SECONDS)


def learning(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network that a stage may change, as its modes and gradients stand."""
    names = {
        f"{place}.{name}".lstrip(".")
        for place, module in model.named_modules()
        for name, held in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        if (held.requires_grad if isinstance(held, nn.Parameter) else module.training)
    }
    return {name: tensor for name, tensor in model.state_dict().items() if name in names}


def digest_of(tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of tensors: names, kinds, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _write(path: Path, tensors: dict[str, Tensor], fitted: Fitted) -> None:
    facts = {"fitted": encode(fitted), "tensors": digest_of(tensors)}
    write_tensors(path, tensors, {"resnetlab": json.dumps(facts)})


def _read(path: Path) -> tuple[dict[str, Tensor], Fitted] | None:
    """What is kept there; None where that is nothing, or not as it was written."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            facts = json.loads(file.metadata()["resnetlab"])
        fitted: Fitted = decode(Fitted, facts["fitted"], str(path))
    except (SafetensorError, OSError, InputError, ValueError, KeyError, TypeError):
        return None
    return (tensors, fitted) if digest_of(tensors) == facts["tensors"] else None
