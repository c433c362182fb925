"""Networks prepared for inference: batch norm folded into the convolution before it.

In evaluation mode a batch norm is an affine map of each channel, which the weights and the bias of
the convolution before it can contain. The outputs are the same up to the rounding of fp32, and one
pass over the activations is saved (`benchmarks/inference.py`).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import TypeGuard

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from resnetlab.models.nets.classic import check_image_size
from resnetlab.models.nets.subsample import SubsampledConv2d

TIMM_NORM = "timm.layers.norm_act.BatchNormAct2d"
"""Batch norm of timm; its children, a dropout and an activation, follow the affine map in order."""


def prepare_for_inference(
    model: nn.Module, memory_format: torch.memory_format = torch.contiguous_format
) -> nn.Module:
    """Return a copy of `model` in evaluation mode, with batch norm folded into convolutions.

    A batch norm is folded if its only input is the output of a convolution that is called once and
    that nothing else uses. All others stay, and so does every batch norm of a network that cannot
    be traced (torch.fx), or in which a module has hooks or a forward pass of its own. The copy is
    for inference only: it shares the tensors that do not change with `model`. A network that cannot
    be copied, since it has a lock for example, is returned itself.

    Args:
        model: Network from images (B, C, H, W) to logits (B, K); it is not changed.
        memory_format: Memory format of the weights of convolutions.
    """
    shared: dict[int, object] = {
        id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())
    }
    try:
        prepared = copy.deepcopy(model, shared).eval()
    except (TypeError, RuntimeError):
        return model
    for conv_name, norm_name in foldable_pairs(prepared):
        _fold(prepared, conv_name, norm_name)
    for module in prepared.modules():
        if _is_convolution(module):
            weight = module.weight.detach().contiguous(memory_format=memory_format)
            module.weight = nn.Parameter(weight, requires_grad=False)
    return prepared


def foldable_pairs(model: nn.Module) -> list[tuple[str, str]]:
    """Return the names of each convolution and the batch norm that can be folded into it.

    Args:
        model: Network in evaluation mode.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if any(map(_is_changed, modules.values())) or not any(map(_is_norm, modules.values())):
        return []
    try:
        with torch.no_grad():
            graph = _LayerTracer(autowrap_functions=(check_image_size,)).trace(model)
    except Exception:  # a forward that depends on its input's values cannot be traced
        return []
    names = Counter(map(id, modules.values()))
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    # Modules whose tensors the forward uses itself.
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}

    def is_used_once(name: str) -> bool:
        return calls[name] == 1 and names[id(modules[name])] == 1 and name not in read

    return [
        (conv_name, norm_name)
        for conv_name, norm_name in _adjacent_calls(graph)
        if _is_convolution(modules[conv_name])
        and _is_norm(modules[norm_name])
        and is_used_once(conv_name)
        and is_used_once(norm_name)
    ]


def _adjacent_calls(graph: fx.Graph) -> Iterator[tuple[str, str]]:
    """Yield the names of two modules if the second one alone uses the output of the first one."""
    for node in graph.nodes:
        if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            continue
        before = node.args[0]
        if isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1:
            yield str(before.target), str(node.target)


def _fold(model: nn.Module, conv_name: str, norm_name: str) -> None:
    """Fold a batch norm into a convolution of `model`, in place."""
    conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight, conv.bias = (
        nn.Parameter(tensor.detach(), requires_grad=False)
        for tensor in fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
    )
    model.set_submodule(norm_name, nn.Sequential(*norm.children()).eval())


def _is_convolution(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    # Another subclass may compute something else; a parametrized convolution has one of its own.
    return type(module) in (nn.Conv2d, SubsampledConv2d)


def _is_norm(module: nn.Module) -> bool:
    kind = type(module)
    is_known = kind is nn.BatchNorm2d or f"{kind.__module__}.{kind.__qualname__}" == TIMM_NORM
    return is_known and module.running_mean is not None and module.running_var is not None


def _is_changed(module: nn.Module) -> bool:
    """Return True for a module that computes something else than its class does."""
    has_hooks = module._forward_hooks or module._forward_pre_hooks
    return bool(has_hooks) or "forward" in vars(module)


class _LayerTracer(fx.Tracer):
    """Tracer for which layers are steps: modules without children, and batch norms."""

    proxy_buffer_attributes = True  # buffers that the forward reads itself are nodes, too

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            isinstance(m, nn.BatchNorm2d)
            or next(m.children(), None) is None
            or super().is_leaf_module(m, module_qualified_name)
        )
