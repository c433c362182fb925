"""Networks of others: built by name or by a function, with weights from a hub or from a local safetensors file."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnetlab.errors import InputError, ResnetlabError, mistake
from resnetlab.files import sha256
from resnetlab.models.configs.external import External
from resnetlab.models.nets.init import Draw
from resnetlab.models.nets.subsample import make_safe
from resnetlab.models.weights import Facts, load_weights, read_weights
from resnetlab.settings import offline, refuse_offline, weights_dir


def construct(spec: External, channels: int, classes: int) -> nn.Module:
    """The network of `spec` with whatever first weights its builder gives, on the current default device.

    timm and torchvision are told the number of classes, and a function that has an argument `num_classes`, unless
    `kwargs` says it. Raises InputError that names what the builder refused.
    """
    kwargs: dict[str, Any] = {"num_classes": classes} | dict(spec.kwargs)
    match spec.library:
        case "timm":
            if channels != 3:
                kwargs = {"in_chans": channels} | kwargs
            build = _timm(spec).create_model
            arguments: tuple[Any, ...] = (spec.name,)
        case "torchvision":
            build, arguments = _module("torchvision.models", spec).get_model, (spec.name,)
            kwargs = {"weights": None} | kwargs
        case _:
            build, arguments = _function(spec), ()
            if "num_classes" not in spec.kwargs and not _takes(build, "num_classes"):
                del kwargs["num_classes"]
    try:
        model = build(*arguments, **kwargs)
    except ResnetlabError:
        raise
    except Exception as error:  # what another package raises is its own affair; a person needs its first line
        what = f"cannot be built: {_line(error)}"
        raise mistake(spec.slug, what, "a name that the package knows, and kwargs that it takes") from None
    if not isinstance(model, nn.Module):
        raise mistake(spec.slug, f"gives a {type(model).__name__}, not a torch.nn.Module", "name another function")
    return model


def load_external(spec: External, channels: int, classes: int, draw: Draw) -> nn.Module:
    """The network of `spec` on the processor, with the weights that it names, or first weights drawn from `draw("")`.

    The process's own random numbers are left as they were.
    """
    before = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(draw("").initial_seed())
        with torch.device("cpu"):
            model = make_safe(construct(spec, channels, classes))
    finally:
        torch.set_rng_state(before)
    path = weights_file(spec)
    if path is not None:
        tensors, _ = read_weights(path)
        if spec.sha256 and sha256(path) != spec.sha256:
            fix = "give the file that the spec was made with"
            raise mistake(str(path), "differs from the SHA-256 of the spec", fix)
        load_weights(model, tensors, str(path))
    elif spec.weights:
        load_weights(model, hub_weights(spec), spec.slug)
    return model


def weights_file(spec: External) -> Path | None:
    """The local file that holds the weights of `spec`, if it names one or one was placed for its hub."""
    if spec.weights == "hub":
        placed = place_of(spec)
        return placed if placed.is_file() else None
    try:
        return Path(spec.weights).expanduser() if spec.weights else None
    except RuntimeError:  # a home of nobody: told as a file that is not there
        return Path(spec.weights)


def place_of(spec: External) -> Path:
    """Where a safetensors file is looked for before the hub is asked."""
    return weights_dir() / spec.library / f"{spec.name}.safetensors"


def external_facts(spec: External) -> Facts:
    """Names of the outputs and preprocessing: as the spec says, else as the file says, else as the library says."""
    path = weights_file(spec)
    held = read_weights(path)[1] if path is not None else Facts()
    if spec.weights and not (held.mean or spec.mean) and spec.library:
        held = _library_facts(spec, held)
    return Facts(spec.class_names or held.classes, spec.mean or held.mean, spec.deviation or held.deviation, held.side)


def _library_facts(spec: External, held: Facts) -> Facts:
    if spec.library == "timm":
        found = _timm(spec).get_pretrained_cfg(spec.name)
        if found is None:
            return held
        return Facts(held.classes, tuple(found.mean), tuple(found.std), held.side or int(found.input_size[1]))
    meta = _torchvision_weights(spec)
    shown = meta.transforms()
    classes = held.classes or tuple(meta.meta.get("categories", ()))
    return Facts(classes, tuple(shown.mean), tuple(shown.std), held.side or int(shown.crop_size[0]))


def hub_weights(spec: External) -> dict[str, torch.Tensor]:
    """The weights that timm or torchvision keeps for `spec`, downloaded unless the library has them already.

    Raises InputError when they cannot be downloaded, or must not be.
    """
    place = place_of(spec)
    fix = f"place {place.name} in {place.parent}, or give its path as weights"
    if offline() and not _downloaded(spec):
        refuse_offline(spec.slug, fix)
    try:
        if spec.library == "timm":
            state: dict[str, torch.Tensor] = _timm(spec).create_model(
                spec.name, pretrained=True, **spec.kwargs
            ).state_dict()  # fmt: skip
            return state
        with contextlib.redirect_stdout(sys.stderr):  # where it tells of a download
            found: dict[str, torch.Tensor] = _torchvision_weights(spec).get_state_dict(progress=False)
        return found
    except InputError:
        raise
    except Exception as error:
        raise mistake(spec.slug, f"the hub of {spec.library} cannot be reached: {_line(error)}", fix) from None


def _downloaded(spec: External) -> bool:
    """Whether the library has the weights already, where it keeps what it downloads."""
    if spec.library == "torchvision":
        name = str(_torchvision_weights(spec).url).rpartition("/")[2]
        return (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file()
    config = _timm(spec).get_pretrained_cfg(spec.name)
    if config is None or not config.hf_hub_id:
        return False
    from huggingface_hub import try_to_load_from_cache

    names = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, name), str) for name in names)


def _torchvision_weights(spec: External) -> Any:
    try:
        return _module("torchvision.models", spec).get_model_weights(spec.name).DEFAULT
    except (ValueError, AttributeError) as error:
        raise mistake(spec.slug, f"no weights: {_line(error)}", "a name that torchvision.models knows") from None


def _timm(spec: External) -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise mistake(spec.slug, "timm is not installed", 'pip install "resnetlab[timm]"') from None


def _module(name: str, spec: External) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        fix = "install it, or put its folder on PYTHONPATH"
        raise mistake(spec.slug, f"{name} cannot be imported: {_line(error)}", fix) from None


def _function(spec: External) -> Callable[..., Any]:
    module, _, name = spec.source.partition(":")
    found = getattr(_module(module, spec), name, None)
    if not callable(found):
        raise mistake(spec.slug, f"{module} has no function {name}", "package.module:function")
    build: Callable[..., Any] = found
    return build


def _takes(build: Callable[..., Any], argument: str) -> bool:
    import inspect

    try:
        return argument in inspect.signature(build).parameters
    except (TypeError, ValueError):
        return False


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
