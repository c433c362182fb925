"""Networks of other packages, built by name or by a function, with weights from a hub or a local
safetensors file.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnetlab.connection import connection_problem
from resnetlab.errors import InputError, ResnetlabError, first_line, input_error
from resnetlab.files import sha256
from resnetlab.models.configs.external import ExternalConfig, check_code
from resnetlab.models.factory import is_declared
from resnetlab.models.nets.init import GeneratorFor
from resnetlab.models.nets.subsample import replace_unsafe_convs
from resnetlab.models.tensorfile import open_safetensors
from resnetlab.models.weight_licenses import timm_config
from resnetlab.models.weights import WeightsMetadata, load_weights, read_weights
from resnetlab.settings import check_downloads_allowed, weights_dir


def build_external(spec: ExternalConfig, channels: int, num_classes: int) -> nn.Module:
    """Build the network of `spec` with the builder's own initial weights, on the current default
    device.

    `num_classes` is passed to timm, to torchvision and to a function that has such an argument,
    unless `kwargs` sets it. Raises InputError with the builder's error.
    """
    kwargs: dict[str, Any] = {"num_classes": num_classes} | dict(spec.kwargs)
    match spec.library:
        case "timm":
            if channels != 3:
                kwargs = {"in_chans": channels} | kwargs
            build = import_timm(spec).create_model
            arguments: tuple[Any, ...] = (spec.name,)
        case "torchvision":
            build, arguments = _import_module("torchvision.models", spec).get_model, (spec.name,)
            kwargs = {"weights": None} | kwargs
        case _:
            build, arguments = _import_function(spec), ()
            if "num_classes" not in spec.kwargs and not _accepts_argument(build, "num_classes"):
                del kwargs["num_classes"]
    try:
        model = build(*arguments, **kwargs)
    except ResnetlabError:
        raise
    except Exception as error:
        # Another package may raise anything; its first line is enough for the user.
        problem = f"cannot be built: {first_line(error)}"
        raise input_error(
            spec.slug, problem, "a name that the package knows, and kwargs that it takes"
        ) from None
    if not isinstance(model, nn.Module):
        raise input_error(
            spec.slug,
            f"gives a {type(model).__name__}, not a torch.nn.Module",
            "name another function",
        )
    return model


def check_one_output(model: nn.Module, where: str) -> None:
    """Raise InputError if the network has auxiliary classifiers in training, as Inception has."""
    if getattr(model, "aux_logits", False):
        fix = "kwargs = { aux_logits = false } in a TOML file of the network"
        raise input_error(where, "gives auxiliary outputs in training, which have no loss", fix)


def load_external(
    spec: ExternalConfig, channels: int, num_classes: int, generator_for: GeneratorFor
) -> nn.Module:
    """Return the network of `spec` on the CPU, with the weights that it names, or initial weights
    drawn from `generator_for("")`.

    The random state of the process stays unchanged.
    """
    rng_state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(generator_for("").initial_seed())
        with torch.device("cpu"):
            model = replace_unsafe_convs(build_external(spec, channels, num_classes))
    finally:
        torch.set_rng_state(rng_state)
    path = weights_file(spec)
    if path is not None:
        tensors, _ = read_weights(path)
        if spec.sha256 and sha256(path) != spec.sha256:
            fix = "give the file that the spec was made with"
            raise input_error(str(path), "differs from the SHA-256 of the spec", fix)
        load_weights(model, tensors, str(path))
    elif spec.weights:
        load_weights(model, hub_weights(spec), spec.slug)
    return model


def weights_file(spec: ExternalConfig) -> Path | None:
    """Return the local weights file of `spec`: the one that it names, or the one that the user
    placed for its hub.
    """
    if spec.weights == "hub":
        path = local_weights_path(spec)
        return path if path.is_file() else None
    try:
        return Path(spec.weights).expanduser() if spec.weights else None
    except RuntimeError:  # no home folder: reported as a missing file
        return Path(spec.weights)


def local_weights_path(spec: ExternalConfig) -> Path:
    """Return the path of the safetensors file that is used instead of the hub, if it exists."""
    return weights_dir() / spec.library / f"{spec.name}.safetensors"


def weights_metadata(spec: ExternalConfig) -> WeightsMetadata:
    """Return class names and preprocessing: from the config, else from the weights file, else from
    the library.
    """
    path = weights_file(spec)
    metadata = read_weights(path)[1] if path is not None else WeightsMetadata()
    if spec.weights and not (metadata.mean or spec.mean) and spec.library:
        metadata = _library_metadata(spec, metadata)
    return WeightsMetadata(
        spec.class_names or metadata.class_names,
        spec.mean or metadata.mean,
        spec.std or metadata.std,
        metadata.side,
    )


def _library_metadata(spec: ExternalConfig, metadata: WeightsMetadata) -> WeightsMetadata:
    if spec.library == "timm":
        pretrained_cfg = timm_config(import_timm(spec), spec.name)
        if pretrained_cfg is None:
            return metadata
        return WeightsMetadata(
            metadata.class_names,
            tuple(pretrained_cfg.mean),
            tuple(pretrained_cfg.std),
            metadata.side or int(pretrained_cfg.input_size[1]),
        )
    weights = _torchvision_weights(spec)
    transform = weights.transforms()
    classes = metadata.class_names or tuple(weights.meta.get("categories", ()))
    return WeightsMetadata(
        classes,
        tuple(transform.mean),
        tuple(transform.std),
        metadata.side or int(transform.crop_size[0]),
    )


def weights_assumptions(spec: ExternalConfig, head: str) -> tuple[str, ...]:
    """Return a sentence for each assumption about a local weights file, because neither
    the file nor the config states it.

    Args:
        spec: Network with its weights.
        head: Name of the classifier's module.
    """
    path = weights_file(spec)
    if path is None or spec.weights == "hub" or not spec.library or spec.mean:
        return ()
    if read_weights(path)[1].mean:
        return ()
    stated = "a TOML file with weights, mean, std and kwargs states them (docs/study-files.md)"
    assumed = f"mean and std of {spec.source} are assumed"
    lines = [f"{path.name} does not state its preprocessing: {assumed}; {stated}"]
    outputs, expected = _stored_outputs(path, head), _library_outputs(spec)
    if outputs and expected and outputs != expected:
        line = (
            f"{path.name} has {outputs:,} outputs where {spec.source} has {expected:,}: it may be "
            "of another training, with another padding and preprocessing"
        )
        if outputs == expected + 1:
            line += (
                '. Networks of TensorFlow have one output more, and most need pad_type = "same" in '
                "kwargs, and 0.5 for each mean and std"
            )
        lines.append(line)
    return tuple(lines)


def _stored_outputs(path: Path, head: str) -> int:
    """Return the number of outputs of a classifier in a weights file, or 0 if it has none."""
    with open_safetensors(path, "pt") as file:
        name = f"{head}.weight"
        return int(file.get_slice(name).get_shape()[0]) if name in file.keys() else 0  # noqa: SIM118


def _library_outputs(spec: ExternalConfig) -> int:
    """Return the number of outputs of a network as its arguments or its library give it, or 0."""
    if "num_classes" in spec.kwargs:
        return int(spec.kwargs["num_classes"])  # type: ignore[arg-type]
    if spec.library == "timm":
        pretrained_cfg = import_timm(spec).get_pretrained_cfg(spec.name)
        return int(pretrained_cfg.num_classes) if pretrained_cfg is not None else 0
    return len(_torchvision_weights(spec).meta.get("categories", ()))


def hub_weights(spec: ExternalConfig) -> dict[str, torch.Tensor]:
    """Return the weights of timm or torchvision for `spec`; download them unless the library has
    them already.

    Raises InputError when the download fails or is not allowed.
    """
    path = local_weights_path(spec)
    fix = f"place {path.name} in {path.parent}, or give its path as weights"
    if not _is_downloaded(spec):
        check_downloads_allowed(spec.slug, fix)
        if problem := connection_problem(_hub_url(spec)):
            message = f"the hub of {spec.library} cannot be reached: {problem}"
            raise input_error(spec.slug, message, fix)
    try:
        if spec.library == "timm":
            state: dict[str, torch.Tensor] = (
                import_timm(spec)
                .create_model(spec.name, pretrained=True, **spec.kwargs)
                .state_dict()
            )
            return state
        with contextlib.redirect_stdout(sys.stderr):  # torch prints a message about the download
            weights: dict[str, torch.Tensor] = _torchvision_weights(spec).get_state_dict(
                progress=False
            )
        return weights
    except InputError:
        raise
    except Exception as error:
        raise input_error(
            spec.slug, f"the hub of {spec.library} cannot be reached: {first_line(error)}", fix
        ) from None


def _hub_url(spec: ExternalConfig) -> str:
    """Return the address of a file of the weights, or of the hub that has it."""
    if spec.library == "torchvision":
        return str(_torchvision_weights(spec).url)
    pretrained_cfg = timm_config(import_timm(spec), spec.name)
    if pretrained_cfg is not None and not pretrained_cfg.hf_hub_id and pretrained_cfg.url:
        return str(pretrained_cfg.url)
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _is_downloaded(spec: ExternalConfig) -> bool:
    """Return True if the library has downloaded the weights before."""
    if spec.library == "torchvision":
        name = str(_torchvision_weights(spec).url).rpartition("/")[2]
        return (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file()
    pretrained_cfg = timm_config(import_timm(spec), spec.name)
    if pretrained_cfg is None or not pretrained_cfg.hf_hub_id:
        return False
    from huggingface_hub import try_to_load_from_cache

    names = (
        [pretrained_cfg.hf_hub_filename]
        if pretrained_cfg.hf_hub_filename
        else ["model.safetensors", "pytorch_model.bin"]
    )
    return any(isinstance(try_to_load_from_cache(pretrained_cfg.hf_hub_id, name), str) for name in names)


def _torchvision_weights(spec: ExternalConfig) -> Any:
    try:
        return _import_module("torchvision.models", spec).get_model_weights(spec.name).DEFAULT
    except (ValueError, AttributeError) as error:
        raise input_error(
            spec.slug, f"no weights: {first_line(error)}", "a name that torchvision.models knows"
        ) from None


def import_timm(spec: ExternalConfig) -> Any:
    """Import timm. Raises InputError if it is not installed."""
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise input_error(
            spec.slug, "timm is not installed", 'pip install "resnetlab[timm]"'
        ) from None


def _import_module(name: str, spec: ExternalConfig) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        fix = "install it, or put its folder on PYTHONPATH"
        raise input_error(
            spec.slug, f"{name} cannot be imported: {first_line(error)}", fix
        ) from None


def _import_function(spec: ExternalConfig) -> Callable[..., Any]:
    """Import the function of `spec`.

    Raises InputError without the user's consent, and for a function that is not declared to build
    networks.
    """
    check_code(spec)
    module, _, name = spec.source.partition(":")
    function = getattr(_import_module(module, spec), name, None)
    if not callable(function):
        raise input_error(spec.slug, f"{module} has no function {name}", "package.module:function")
    if not _builds_networks(function):
        fix = f"write def {name}(...) -> nn.Module, or put @resnetlab.model_factory above it"
        raise input_error(spec.slug, "is not declared as a function that builds networks", fix)
    build: Callable[..., Any] = function
    return build


def _builds_networks(function: object) -> bool:
    """Return True for a subclass of nn.Module and for a function that is declared to return one."""
    if isinstance(function, type):
        return issubclass(function, nn.Module)
    returned = getattr(function, "__annotations__", {}).get("return")
    if isinstance(returned, str):
        try:  # in a module with `from __future__ import annotations`
            returned = inspect.get_annotations(function, eval_str=True)["return"]  # type: ignore[arg-type]
        except Exception:  # a name that exists for type checkers only
            returned = None
    return is_declared(function) or (isinstance(returned, type) and issubclass(returned, nn.Module))


def _accepts_argument(build: Callable[..., Any], argument: str) -> bool:
    try:
        return argument in inspect.signature(build).parameters
    except (TypeError, ValueError):
        return False
