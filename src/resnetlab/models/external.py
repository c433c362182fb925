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
from resnetlab.models.weight_licenses import find_timm_config
from resnetlab.models.weights import WeightsMetadata, load_weights, read_weights
from resnetlab.settings import check_downloads_allowed, weights_dir


def build_external(config: ExternalConfig, channels: int, num_classes: int) -> nn.Module:
    """Build the network of `config` with the builder's own initial weights, on the current default
    device.

    `num_classes` is passed to timm, to torchvision and to a function that has such an argument,
    unless `kwargs` sets it. Raises InputError with the builder's error.
    """
    kwargs: dict[str, Any] = {"num_classes": num_classes} | dict(config.kwargs)
    match config.library:
        case "timm":
            if channels != 3:
                kwargs = {"in_chans": channels} | kwargs
            build = import_timm(config).create_model
            arguments: tuple[Any, ...] = (config.name,)
        case "torchvision":
            build = _import_module("torchvision.models", config).get_model
            arguments = (config.name,)
            kwargs = {"weights": None} | kwargs
        case _:
            build, arguments = _import_function(config), ()
            if "num_classes" not in config.kwargs and not _accepts_argument(build, "num_classes"):
                del kwargs["num_classes"]
    try:
        model = build(*arguments, **kwargs)
    except ResnetlabError:
        raise
    except Exception as error:
        # Another package may raise anything; its first line is enough for the user.
        problem = f"cannot be built: {first_line(error)}"
        raise input_error(
            config.slug, problem, "a name that the package knows, and kwargs that it takes"
        ) from None
    if not isinstance(model, nn.Module):
        raise input_error(
            config.slug,
            f"gives a {type(model).__name__}, not a torch.nn.Module",
            "name another function",
        )
    return model


def check_one_output(model: nn.Module, where: str) -> None:
    """Raise InputError if the network has auxiliary classifiers in training, as Inception has."""
    if getattr(model, "aux_logits", False):
        fix = "kwargs = { aux_logits = false } in a TOML file of the network"
        raise input_error(where, "gives auxiliary outputs in training, which have no loss", fix)


def build_external_with_weights(
    config: ExternalConfig, channels: int, num_classes: int, generator_for: GeneratorFor
) -> nn.Module:
    """Return the network of `config` on the CPU, with the weights that it names, or initial weights
    drawn from `generator_for("")`.

    The random state of the process stays unchanged.
    """
    rng_state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(generator_for("").initial_seed())
        with torch.device("cpu"):
            model = replace_unsafe_convs(build_external(config, channels, num_classes))
    finally:
        torch.set_rng_state(rng_state)
    path = weights_file(config)
    if path is not None:
        tensors, _ = read_weights(path)
        if config.sha256 and sha256(path) != config.sha256:
            fix = "give the file that the config was made with"
            raise input_error(str(path), "differs from the SHA-256 of the config", fix)
        load_weights(model, tensors, str(path))
    elif config.weights:
        load_weights(model, hub_weights(config), config.slug)
    return model


def weights_file(config: ExternalConfig) -> Path | None:
    """Return the local weights file of `config`: the one that it names, or the one that the user
    placed for its hub.
    """
    if config.weights == "hub":
        path = local_weights_path(config)
        return path if path.is_file() else None
    try:
        return Path(config.weights).expanduser() if config.weights else None
    except RuntimeError:  # no home folder: reported as a missing file
        return Path(config.weights)


def local_weights_path(config: ExternalConfig) -> Path:
    """Return the path of the safetensors file that is used instead of the hub, if it exists."""
    return weights_dir() / config.library / f"{config.name}.safetensors"


def weights_metadata(config: ExternalConfig) -> WeightsMetadata:
    """Return class names and preprocessing: from the config, else from the weights file, else from
    the library.
    """
    path = weights_file(config)
    metadata = read_weights(path)[1] if path is not None else WeightsMetadata()
    if config.weights and not (metadata.mean or config.mean) and config.library:
        metadata = _library_metadata(config, metadata)
    return WeightsMetadata(
        config.class_names or metadata.class_names,
        config.mean or metadata.mean,
        config.std or metadata.std,
        metadata.side,
    )


def _library_metadata(config: ExternalConfig, metadata: WeightsMetadata) -> WeightsMetadata:
    if config.library == "timm":
        pretrained_cfg = find_timm_config(import_timm(config), config.name)
        if pretrained_cfg is None:
            return metadata
        return WeightsMetadata(
            metadata.class_names,
            tuple(pretrained_cfg.mean),
            tuple(pretrained_cfg.std),
            metadata.side or int(pretrained_cfg.input_size[1]),
        )
    weights = _torchvision_weights(config)
    transform = weights.transforms()
    classes = metadata.class_names or tuple(weights.meta.get("categories", ()))
    return WeightsMetadata(
        classes,
        tuple(transform.mean),
        tuple(transform.std),
        metadata.side or int(transform.crop_size[0]),
    )


def weights_assumptions(config: ExternalConfig, head: str) -> tuple[str, ...]:
    """Return a sentence for each assumption about a local weights file, because neither
    the file nor the config states it.

    Args:
        config: Network with its weights.
        head: Name of the classifier's module.
    """
    path = weights_file(config)
    if path is None or config.weights == "hub" or not config.library or config.mean:
        return ()
    if read_weights(path)[1].mean:
        return ()
    stated = "a TOML file with weights, mean, std and kwargs states them (docs/study-files.md)"
    assumed = f"mean and std of {config.source} are assumed"
    lines = [f"{path.name} does not state its preprocessing: {assumed}; {stated}"]
    outputs, expected = _stored_outputs(path, head), _library_outputs(config)
    if outputs and expected and outputs != expected:
        line = (
            f"{path.name} has {outputs:,} outputs where {config.source} has {expected:,}: it may "
            "be of another training, with another padding and preprocessing"
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


def _library_outputs(config: ExternalConfig) -> int:
    """Return the number of outputs of a network as its arguments or its library give it, or 0."""
    if "num_classes" in config.kwargs:
        return int(config.kwargs["num_classes"])  # type: ignore[arg-type]
    if config.library == "timm":
        pretrained_cfg = import_timm(config).get_pretrained_cfg(config.name)
        return int(pretrained_cfg.num_classes) if pretrained_cfg is not None else 0
    return len(_torchvision_weights(config).meta.get("categories", ()))


def hub_weights(config: ExternalConfig) -> dict[str, torch.Tensor]:
    """Return the weights of timm or torchvision for `config`; download them unless the library has
    them already.

    Raises InputError when the download fails or is not allowed.
    """
    path = local_weights_path(config)
    fix = f"place {path.name} in {path.parent}, or give its path as weights"
    if not _is_downloaded(config):
        check_downloads_allowed(config.slug, fix)
        if problem := connection_problem(_hub_url(config)):
            message = f"the hub of {config.library} cannot be reached: {problem}"
            raise input_error(config.slug, message, fix)
    try:
        if config.library == "timm":
            state: dict[str, torch.Tensor] = (
                import_timm(config)
                .create_model(config.name, pretrained=True, **config.kwargs)
                .state_dict()
            )
            return state
        with contextlib.redirect_stdout(sys.stderr):  # torch prints a message about the download
            weights: dict[str, torch.Tensor] = _torchvision_weights(config).get_state_dict(
                progress=False
            )
        return weights
    except InputError:
        raise
    except Exception as error:
        hub = f"the hub of {config.library} cannot be reached"
        problem = hub if isinstance(error, OSError) else "its weights cannot be loaded"
        raise input_error(config.slug, f"{problem}: {first_line(error)}", fix) from None


def _hub_url(config: ExternalConfig) -> str:
    """Return the address of a file of the weights, or of the hub that has it."""
    if config.library == "torchvision":
        return str(_torchvision_weights(config).url)
    pretrained_cfg = find_timm_config(import_timm(config), config.name)
    if pretrained_cfg is not None and not pretrained_cfg.hf_hub_id and pretrained_cfg.url:
        return str(pretrained_cfg.url)
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _is_downloaded(config: ExternalConfig) -> bool:
    """Return True if the library has downloaded the weights before."""
    if config.library == "torchvision":
        name = str(_torchvision_weights(config).url).rpartition("/")[2]
        return (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file()
    pretrained_cfg = find_timm_config(import_timm(config), config.name)
    if pretrained_cfg is None or not pretrained_cfg.hf_hub_id:
        return False
    from huggingface_hub import try_to_load_from_cache

    names = (
        [pretrained_cfg.hf_hub_filename]
        if pretrained_cfg.hf_hub_filename
        else ["model.safetensors", "pytorch_model.bin"]
    )
    return any(
        isinstance(try_to_load_from_cache(pretrained_cfg.hf_hub_id, name), str) for name in names
    )


def _torchvision_weights(config: ExternalConfig) -> Any:
    try:
        return _import_module("torchvision.models", config).get_model_weights(config.name).DEFAULT
    except (ValueError, AttributeError) as error:
        raise input_error(
            config.slug, f"no weights: {first_line(error)}", "a name that torchvision.models knows"
        ) from None


def import_timm(config: ExternalConfig) -> Any:
    """Import timm. Raises InputError if it is not installed."""
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise input_error(
            config.slug, "timm is not installed", 'pip install "resnetlab[timm]"'
        ) from None


def _import_module(name: str, config: ExternalConfig) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        fix = "install it, or put its folder on PYTHONPATH"
        raise input_error(
            config.slug, f"{name} cannot be imported: {first_line(error)}", fix
        ) from None


def _import_function(config: ExternalConfig) -> Callable[..., Any]:
    """Import the function of `config`.

    Raises InputError without the user's consent, and for a function that is not declared to build
    networks.
    """
    check_code(config)
    module, _, name = config.source.partition(":")
    function = getattr(_import_module(module, config), name, None)
    if not callable(function):
        raise input_error(
            config.slug, f"{module} has no function {name}", "package.module:function"
        )
    if not _builds_networks(function):
        fix = f"write def {name}(...) -> nn.Module, or put @resnetlab.model_factory above it"
        raise input_error(config.slug, "is not declared as a function that builds networks", fix)
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
