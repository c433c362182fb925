"""Layer tracing: one pass of an empty image on the meta device, without weights or memory.

A row is an operation with weights, a pooling, a dropout, a sum or a concatenation. An elementwise
operation (normalization, activation) belongs to the row whose output it takes, unless another
operation takes that output too: there the paths part, and the operation has a row of its own on its
path (the ReLU of a pre-activation, the padding of shortcut option A). Tracing works on operations,
not on module types, so that networks of other packages are read alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from resnetlab.errors import InputError, input_error
from resnetlab.inspection.layer_operations import (
    JOIN_OPS,
    OP_NAMES,
    VIEW_OPS,
    after_view_op,
    make_layer,
    output_shape,
)
from resnetlab.inspection.layer_rows import Layer, LayerTrace
from resnetlab.inspection.receptive_field import (
    SINGLE_PIXEL,
    ReceptiveField,
    merge_receptive_fields,
)
from resnetlab.models.build import build_uninitialized
from resnetlab.models.configs import ExternalConfig, ModelConfig

BYTES_PER_VALUE = 4
"""Size of a number in fp32."""

CANDIDATE_SIDES = (
    1,
    2,
    4,
    7,
    8,
    14,
    16,
    28,
    32,
    48,
    64,
    75,
    96,
    112,
    128,
    160,
    192,
    224,
    256,
    299,
    331,
    384,
    448,
    512,
)
"""Sides in pixels that are tried with an external network, to report a size that works."""


def trace_layers(
    config: ModelConfig, image_shape: tuple[int, int, int], num_classes: int
) -> LayerTrace:
    """Return the layers of `config` for one image (C, H, W).

    Raises InputError that names the layer that cannot take the image, and the smallest image that
    works.
    """
    channels, *sides = image_shape
    if not isinstance(config, ExternalConfig):
        for side in sides:
            config.cost(channels, num_classes, side)
    with torch.device("meta"):
        model = build_uninitialized(config, channels, num_classes)
    return trace_module(model, image_shape, config.slug)


def trace_module(
    model: nn.Module, image_shape: tuple[int, int, int], name: str = "network"
) -> LayerTrace:
    """Return the layers of `model` from one evaluation of zeros (1, C, H, W), without a copy."""
    model = model.eval()
    device = next((p.device for p in model.parameters()), torch.device("meta"))
    tracer = _LayerTracer(model)
    images = torch.zeros(1, *image_shape, device=device)
    tracer.register_input(images)
    try:
        with torch.no_grad(), tracer.track_modules(), _DropoutRecorder(tracer), tracer:
            model(images)
    except InputError:
        raise
    except Exception as error:  # a network of another package may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        layer = tracer.current_module or "the network"
        problem = f"layer {layer} does not accept its input: {reason}"
        field = f"images of {'x'.join(map(str, image_shape))}"
        raise input_error(name, problem, _suggest_side(model, image_shape), field=field) from None
    return tracer.layers(name, image_shape)


def _suggest_side(model: nn.Module, image_shape: tuple[int, int, int]) -> str:
    """Return a hint about the size of the square images that the network accepts."""
    for side in CANDIDATE_SIDES:
        try:
            with torch.no_grad():
                model.to("meta")(torch.zeros(1, image_shape[0], side, side, device="meta"))
        except Exception:  # a network of another package may raise anything
            continue
        return f"the smallest images of those tried that it accepts are {side}x{side} pixels"
    return (
        f"no square image of {CANDIDATE_SIDES[0]} to {CANDIDATE_SIDES[-1]} pixels and "
        f"{image_shape[0]} channels is accepted; choose another network"
    )


@dataclass
class _Operation:
    """Operation of a forward pass; `layer` is set if it has a row of its own in any case."""

    name: str
    sources: tuple[int, ...]
    """Operations whose output it takes; -1 is the image."""
    output: tuple[int, ...]
    receptive_field: ReceptiveField | None
    layer: Layer | None
    parameters: int
    activation_bytes: int
    module: str
    stride: tuple[int, int] | None = None
    """Step of the subsampling before it, if its input was subsampled."""


_DROPOUT = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout}


class _DropoutRecorder(TorchFunctionMode):
    """Function mode that records dropout, which computes nothing in evaluation mode."""

    def __init__(self, tracer: _LayerTracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func in _DROPOUT:
            probability = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
            if probability:
                # A view of its own, so that other users of the input do not seem to follow it.
                out = out.view(out.shape) if out is args[0] else out
                self.tracer.record_dropout(func.__name__, probability, args[0], out)
        return out


class _LayerTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that records operations. It keeps every known tensor, so ids stay unique."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.stack: list[str] = []
        self.current_module = ""
        self.tensors: list[Tensor] = []
        self.operation_of: dict[int, int] = {}
        self.receptive_fields: dict[int, ReceptiveField | None] = {}
        self.strides: dict[int, tuple[int, int]] = {}
        self.weight_of: dict[int, Tensor] = {id(p): p for p in model.parameters()}
        self.counted: set[int] = set()
        self.operations: list[_Operation] = []
        self.uncounted: Counter[str] = Counter()
        self.results: dict[Any, Any] = {}

    def register_input(self, images: Tensor) -> None:
        """Register the input images."""
        self._register(images, -1, SINGLE_PIXEL)

    def layers(self, name: str, image_shape: tuple[int, int, int]) -> LayerTrace:
        """Return the recorded layers."""
        parameters = list(self.model.parameters())
        unused = sum(p.numel() for p in parameters if id(p) not in self.counted)
        return LayerTrace(
            name,
            image_shape,
            _group_into_rows(self.operations),
            sum(p.numel() for p in parameters),
            dict(self.uncounted),
            unused,
        )

    @contextmanager
    def track_modules(self) -> Iterator[None]:
        """Track in which module each operation happens."""
        handles = []
        for name, module in self.model.named_modules():
            handles.append(module.register_forward_pre_hook(self._make_enter_hook(name)))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _make_enter_hook(self, name: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self.stack.append(name)
            self.current_module = name

        return enter

    def _leave(self, *_: Any) -> None:
        self.stack.pop()

    def _register(
        self, tensor: Tensor, operation: int, receptive_field: ReceptiveField | None
    ) -> None:
        self.tensors.append(tensor)
        self.operation_of[id(tensor)] = operation
        self.receptive_fields[id(tensor)] = receptive_field

    def record_dropout(self, name: str, probability: float, x: Tensor, out: Tensor) -> None:
        """Record a dropout of `x`, with its probability."""
        if id(x) not in self.operation_of:
            return
        field = self.receptive_fields[id(x)]
        kind = f"{name.replace('_', ' ')} {probability:g}"
        layer = Layer("", kind, output_shape(out), receptive_field=field)
        sources = (self.operation_of[id(x)],)
        self.operations.append(
            _Operation("dropout", sources, output_shape(out), field, layer, 0, 0, self._module())
        )
        self._register(out, len(self.operations) - 1, field)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = self._run_or_reuse(func, args, kwargs)
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        data = [tensor for tensor in tensors if id(tensor) in self.operation_of]
        weights = [self.weight_of[id(tensor)] for tensor in tensors if id(tensor) in self.weight_of]
        if not outputs:
            return out
        if not data:  # a view of a weight counts as that weight
            for tensor in outputs if weights else []:
                self.tensors.append(tensor)
                self.weight_of[id(tensor)] = weights[0]
            return out
        self._record(func, args, kwargs, data, weights, outputs)
        return out

    def _run_or_reuse(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of `func`, or empty tensors shaped as an earlier equal call's.

        Deep networks repeat themselves, and torch is slow to infer shapes, so the results are
        cached.
        """
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if any(not t.is_meta for t in tensors) or any(r.alias_info for r in func._schema.returns):
            return func(*args, **kwargs)
        shapes = [tuple(leaf.shape) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves]
        key = (func, *shapes)
        if key in self.results:
            return tree_map(
                lambda t: torch.empty(t.shape, dtype=t.dtype, device="meta"), self.results[key]
            )
        out = self.results[key] = func(*args, **kwargs)
        return out

    def _record(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        data: list[Tensor],
        weights: list[Tensor],
        outputs: list[Tensor],
    ) -> None:
        """Add an operation, or pass a view on as its input."""
        op = func.overloadpacket.__name__
        x, y = data[0], outputs[0]
        if op in VIEW_OPS:
            for tensor in outputs:
                field = after_view_op(op, args, self.receptive_fields[id(x)], x, tensor)
                self._register(tensor, self.operation_of[id(x)], field)
                self._record_stride(op, args, x, tensor)
            return
        fields = [self.receptive_fields[id(tensor)] for tensor in data]
        sources = tuple(dict.fromkeys(self.operation_of[id(tensor)] for tensor in data))
        layer = make_layer(func, args, kwargs, data, fields, outputs, bool(weights))
        if layer is not None:
            name = layer.kind if op in JOIN_OPS else ""
            if layer.kind.endswith("pool"):
                name = "pool"
            field = layer.receptive_field
            if name:
                self.uncounted[layer.kind] += y.numel()
        else:
            name = OP_NAMES.get(op, op.strip("_").replace("_", " "))
            field = merge_receptive_fields(fields)
            if op == "constant_pad_nd" and field is not None and x.dim() == 4:
                field = field.after_padding(tuple(args[1]))
            elif x.dim() == 4 and y.dim() == 4 and x.shape[2:] != y.shape[2:] and len(data) == 1:
                field = None  # an operation that moves pixels in an unknown way
            self.uncounted[name] += y.numel()
        new = {id(p): p.numel() for p in weights if id(p) not in self.counted}
        self.counted |= new.keys()
        operation = _Operation(
            name,
            sources,
            output_shape(y),
            field,
            layer,
            sum(new.values()),
            BYTES_PER_VALUE * y.numel(),
            self._module(),
            self.strides.get(id(x)),
        )
        self.operations.append(operation)
        for tensor in outputs:
            self._register(tensor, len(self.operations) - 1, field)

    def _module(self) -> str:
        """Return the name of the module that runs."""
        return self.stack[-1] if self.stack else ""

    def _record_stride(self, op: str, args: tuple[Any, ...], x: Tensor, y: Tensor) -> None:
        """Note the step of a view that takes every s-th pixel."""
        down, across = self.strides.get(id(x), (1, 1))
        step = args[4] if op == "slice" and len(args) > 4 else 1
        axis = args[1] % x.dim() if step > 1 else 0
        stride_after = (down * (step if axis == 2 else 1), across * (step if axis == 3 else 1))
        if stride_after != (1, 1):
            self.strides[id(y)] = stride_after


def _group_into_rows(operations: list[_Operation]) -> list[Layer]:
    """Return the rows of the operations, each with the elementwise operations that follow it.

    An operation follows the row of its last input if it alone takes that input.
    """
    num_users = Counter(source for operation in operations for source in operation.sources)
    rows: list[Layer] = []
    row_of = {-1: -1}
    for number, operation in enumerate(operations):
        inputs = tuple(dict.fromkeys(row_of[source] for source in operation.sources))
        last = max(operation.sources, key=lambda source: (row_of[source], source))
        row, layer = row_of[last], operation.layer
        branches = num_users[last] > 1 and operation.name != "clone"  # a copy computes nothing
        if layer is None and (row < 0 or branches):
            field = operation.receptive_field
            size = operation.output
            layer = Layer("", operation.name, size, stride=operation.stride, receptive_field=field)
        if layer is not None:
            layer.name = _row_name(operation.module, operation.name) or layer.kind
            layer.inputs = inputs
            layer.layer_parameters = operation.parameters
            rows.append(layer)
            row = len(rows) - 1
        else:
            rows[row].followed_by.append(operation.name)
            others = (source for source in inputs if source != row)
            rows[row].inputs = tuple(dict.fromkeys([*rows[row].inputs, *others]))
        rows[row].parameters += operation.parameters
        rows[row].activation_bytes += operation.activation_bytes
        row_of[number] = row
    return rows


def _row_name(module: str, part: str) -> str:
    """Return the name of a row: its module, and its part where the module has another name."""
    last_name = module.rpartition(".")[2].rstrip("0123456789")
    if last_name.endswith(part):
        return module
    return ".".join(piece for piece in (module, part) if piece)
