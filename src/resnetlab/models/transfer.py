"""Transfer of a pre-trained network to another task: new classifier, frozen part, and a cut at the
end of the frozen part.

A network is cut by tracing it (torch.fx) along the path to one module. Both halves share its
weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.split_module import split_module

from resnetlab.errors import first_line, input_error
from resnetlab.models.build import build_model, build_uninitialized
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.configs.external import with_num_classes
from resnetlab.models.external import check_one_output, hub_weights, weights_file
from resnetlab.models.freeze_option import Freeze, parse_freeze
from resnetlab.models.model_cost import count_parameters
from resnetlab.models.nets.init import GeneratorFor
from resnetlab.models.preserve_model import preserve_mode
from resnetlab.models.weights import load_weights, read_weights


def build_with_new_head(
    config: ModelConfig, num_classes: int, generator_for: GeneratorFor
) -> nn.Module:
    """Return the network of `config` for 3 channels and `num_classes` outputs, with pre-trained
    weights and a new classifier.

    The classifier's weights are uniform in +-1 / sqrt(fan-in), from `generator_for`. A network of
    this package is freshly initialized; `load_backbone` loads its pre-trained weights. Raises
    InputError when the weights belong to another network.
    """
    if not isinstance(config, ExternalConfig):
        return build_model(config, 3, num_classes, generator_for)
    model = build_model(
        replace(with_num_classes(config, num_classes), weights="", sha256=""),
        3,
        num_classes,
        generator_for,
    )
    check_one_output(model, config.slug)
    name, head = find_head(model, config.slug)
    if head.out_features != num_classes:
        problem = f"gives {head.out_features} outputs whatever it is asked"
        raise input_error(
            config.slug,
            problem,
            "a function with an argument num_classes",
            allowed=str(num_classes),
        )
    bound = head.in_features**-0.5
    with torch.no_grad():
        for kind, parameter in (("weight", head.weight), ("bias", head.bias)):
            if parameter is not None:
                generator = generator_for(f"{name}.{kind}")
                values = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                parameter.copy_(values)
    path = weights_file(config)
    if path is not None:
        load_backbone(model, read_weights(path)[0], str(path))
    elif config.weights:
        load_backbone(model, hub_weights(config), config.slug)
    return model


def load_backbone(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Load `tensors` into all of `model` but its classifier, whose tensors may be absent or of
    another task.
    """
    head_name, _ = find_head(model, where)
    prefix = f"{head_name}."
    backbone = {name: t for name, t in tensors.items() if not name.startswith(prefix)}
    head = {name: t for name, t in model.state_dict().items() if name.startswith(prefix)}
    load_weights(model, backbone | head, where)


def find_head(model: nn.Module, where: str) -> tuple[str, nn.Linear]:
    """Return the name and the module of the classifier.

    Raises InputError when the network does not end in a linear layer.
    """
    named = model.named_modules()
    linear = [(name, module) for name, module in named if isinstance(module, nn.Linear)]
    get_classifier = getattr(model, "get_classifier", None)  # timm's
    if callable(get_classifier):
        head = get_classifier()
        linear = [(name, module) for name, module in linear if module is head]
    if not linear:
        raise input_error(
            where,
            "the model has no final linear layer to replace",
            "choose a model whose classifier is a linear layer",
        )
    return linear[-1]


def list_parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the network's parts in order: its children that have parameters; a sequence counts as
    its own children.
    """
    modules: list[tuple[str, nn.Module]] = []
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            modules += [(f"{name}.{inner}", module) for inner, module in child.named_children()]
        else:
            modules.append((name, child))
    return [
        (name, module) for name, module in modules if next(module.parameters(), None) is not None
    ]


def block_numbers(model: nn.Module) -> dict[str, int]:
    """Return the number of the block of each parameter, from the first block to the last.

    A network of timm has the groups of timm. Of others, sequences are counted by their items,
    however deep they are nested. A normalization or another module without matrices belongs to the
    block before it.
    """
    matcher = getattr(model, "group_matcher", None)
    if callable(matcher):
        from timm.models import group_parameters

        groups: dict[str, int] = group_parameters(model, matcher(coarse=False), reverse=True)
        return groups
    numbers: dict[str, int] = {}
    number = -1
    for prefix, module in _leaves_of_sequences(model):
        parameters = dict(module.named_parameters())
        has_matrix = any(parameter.ndim > 1 for parameter in parameters.values())
        if has_matrix or number < 0:
            number += 1
        numbers |= {f"{prefix}.{name}": number for name in parameters}
    return numbers


def _leaves_of_sequences(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            for inner, module in _leaves_of_sequences(child):
                yield f"{name}.{inner}", module
        else:
            yield name, child


def freeze(model: nn.Module, parts: Freeze, where: str) -> None:
    """Freeze a part of `model`: no gradients, and evaluation mode, so that its running statistics
    stay constant.

    The rest is set to training mode. Raises InputError when nothing would be left to train.
    """
    _, head = find_head(model, where)
    model.train().requires_grad_(True)
    if parts == "backbone":
        frozen: Sequence[nn.Module] = [model]
    elif parts == "none":
        frozen = []
    else:
        all_parts = list_parts(model)
        if parts >= len(all_parts):
            fix = f"freeze = {len(all_parts) - 1} leaves {all_parts[-1][0]}"
            raise input_error(
                where,
                f"{parts} of its {len(all_parts)} parts leave nothing to train",
                fix,
                field="freeze",
            )
        frozen = [module for _, module in all_parts[:parts]]
    for module in frozen:
        module.eval().requires_grad_(False)
    head.train().requires_grad_(True)


def count_trainable_parameters(
    config: ModelConfig, channels: int, num_classes: int, freeze_setting: str
) -> int:
    """Return the number of trainable parameters, counted on the meta device.

    Raises InputError if the network has no such part.
    """
    with torch.device("meta"):
        model = build_uninitialized(config, channels, num_classes)
    freeze(model, parse_freeze(freeze_setting), config.slug)
    return count_parameters(model, trainable=True)


def last_batch_norm(model: nn.Module, size: int) -> str | None:
    """Return the name of the last batch norm before the classifier for images of `size` pixels, or
    None if there is none.

    Raises InputError when the network cannot take such images.
    """
    names: list[str] = []  # of the batch norms, in the order in which the network uses them
    hooks = [
        module.register_forward_hook(lambda *_, name=name: names.append(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    try:
        forward_in_eval_mode(model, torch.zeros(1, 3, size, size))
    finally:
        for hook in hooks:
            hook.remove()
    return names[-1] if names else None


def check_accepts_image_size(model: nn.Module, size: int, where: str, channels: int = 3) -> None:
    """Raise InputError unless the network takes images of `size` pixels and gives logits (B, K)."""
    try:
        logits = forward_in_eval_mode(model, torch.zeros(1, channels, size, size))
    except (RuntimeError, ValueError, AssertionError) as error:
        problem = f"the network does not take images of {size} x {size}: {first_line(error)}"
        raise input_error(
            where, problem, "a larger size; 224 is what most are made for", got=size
        ) from None
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        fix = "choose a classifier of images, which gives logits (B, K)"
        raise input_error(where, f"the network's output is {shape}, not one logit per class", fix)


@torch.inference_mode()
def forward_in_eval_mode(model: nn.Module, images: Tensor) -> Tensor:
    """Return the outputs of `model` in evaluation mode and restore each module's own mode."""
    with preserve_mode(model):
        logits: Tensor = model.eval()(images.to(next(model.parameters()).device))
        return logits


def is_folded(norm: nn.Module) -> bool:
    """Return True if a batch norm only scales, because its statistics were folded away: mean 0 and
    variance 1 - eps.
    """
    if not isinstance(norm, nn.BatchNorm2d):
        return True
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return True
    zeros, folded_variance = torch.zeros_like(mean), torch.full_like(variance, 1 - norm.eps)
    return torch.allclose(mean, zeros, rtol=0, atol=1e-6) and torch.allclose(
        variance, folded_variance, rtol=0, atol=1e-6
    )


class TrainablePart(nn.Module):
    """Second half of a cut network: maps the output (B, F) of `FrozenPart` to logits (B, K)."""

    def __init__(self, rest: nn.Module, shapes: tuple[torch.Size, ...]) -> None:
        super().__init__()
        self.rest, self.shapes = rest, shapes

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K)."""
        pieces = torch.split(features, [shape.numel() for shape in self.shapes], 1)
        inputs = [
            torch.unflatten(piece, 1, shape)
            for piece, shape in zip(pieces, self.shapes, strict=True)
        ]
        logits: Tensor = self.rest(*inputs)
        return logits


class FrozenPart(nn.Module):
    """First half of a cut network: takes images (B, 3, S, S) and returns all tensors at the cut as
    features (B, F).
    """

    def __init__(self, begin: nn.Module) -> None:
        super().__init__()
        self.begin = begin

    def boundary_tensors(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors at the boundary."""
        output = self.begin(images)
        return output if isinstance(output, tuple) else (output,)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, F)."""
        return torch.cat([piece.flatten(1) for piece in self.boundary_tensors(images)], 1)


def partition_at(
    model: nn.Module, module_name: str, size: int
) -> tuple[FrozenPart, TrainablePart] | None:
    """Partition `model` before the module `module_name`, for images of `size` pixels.

    Return None if the model cannot be traced. Both halves use the model's own modules.
    """
    try:
        graph = _PathTracer(module_name).trace(model)
        is_reached = False

        def half(node: fx.Node) -> int:
            """Return 0 for the steps before the module, and 1 from there on."""
            nonlocal is_reached
            if node.op == "call_module" and node.target == module_name:
                is_reached = True
            return int(is_reached)

        halves = split_module(fx.GraphModule(model, graph), model, half)
        frozen_part = FrozenPart(halves.get_submodule("submod_0"))
    except Exception:  # a forward that depends on its input's values cannot be traced
        return None
    images = torch.zeros(2, 3, size, size, device=next(model.parameters()).device)
    with torch.inference_mode():
        shapes = tuple(tensor.shape[1:] for tensor in frozen_part.boundary_tensors(images))
    return frozen_part, TrainablePart(halves.get_submodule("submod_1"), shapes)


class _PathTracer(fx.Tracer):
    """Tracer that enters only the modules that contain the named one; every other module stays one
    step.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return not self.name.startswith(f"{module_qualified_name}.")
