"""Layer tracing: the layers of a network from one pass of an empty image on the meta device,
without weights or memory.

A row is an operation with weights, a pooling, or a join of paths; elementwise operations that
follow a row (normalization, activation) belong to it. Tracing works on operations, not on module
types, so that networks of other packages are read alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from resnetlab.errors import InputError, input_error
from resnetlab.inspection.layer_rows import Layer, LayerTrace
from resnetlab.inspection.receptive_field import (
    SINGLE_PIXEL,
    ReceptiveField,
    merge_receptive_fields,
)
from resnetlab.models.build import build_module
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


def trace_layers(spec: ModelConfig, image_shape: tuple[int, int, int], classes: int) -> LayerTrace:
    """Return the layers of `spec` for one image (C, H, W).

    Raises InputError that names the layer that cannot take the image, and the smallest image that
    works.
    """
    channels, *sides = image_shape
    if not isinstance(spec, ExternalConfig):
        for side in sides:
            spec.cost(channels, classes, side)
    with torch.device("meta"):
        model = build_module(spec, channels, classes)
    return trace_module(model, image_shape, spec.slug)


def trace_module(
    model: nn.Module, image_shape: tuple[int, int, int], name: str = "network"
) -> LayerTrace:
    """Return the layers of `model`: run it once, in evaluation mode, on zeros (1, C, H, W), without
    a copy.
    """
    model = model.eval()
    device = next((p.device for p in model.parameters()), torch.device("meta"))
    recorder = _LayerTracer(model)
    images = torch.zeros(1, *image_shape, device=device)
    recorder.register_input(images)
    try:
        with torch.no_grad(), recorder.track_modules(), recorder:
            model(images)
    except InputError:
        raise
    except Exception as error:  # a network of another package may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        layer = recorder.current_module or "the network"
        problem = f"layer {layer} cannot take what reaches it: {reason}"
        raise input_error(
            name,
            problem,
            _suggest_side(model, image_shape),
            field=f"images of {'x'.join(map(str, image_shape))}",
        ) from None
    return recorder.layers(name, image_shape)


def _suggest_side(model: nn.Module, image_shape: tuple[int, int, int]) -> str:
    """Return a hint which square images the network takes."""
    for side in CANDIDATE_SIDES:
        try:
            with torch.no_grad():
                model.to("meta")(torch.zeros(1, image_shape[0], side, side, device="meta"))
        except Exception:  # a network of another package may raise anything
            continue
        return f"the smallest images that it took, of those tried, are {side}x{side} pixels"
    return (
        f"no square image of {CANDIDATE_SIDES[0]} to {CANDIDATE_SIDES[-1]} pixels and "
        f"{image_shape[0]} channels fits: "
        "another network"
    )


_aten = torch.ops.aten
_CONV = {"convolution", "_convolution", "conv2d"}
_LINEAR = {"addmm", "mm", "bmm", "baddbmm", "linear", "mv", "addmv"}
_POOL = {
    "max_pool2d_with_indices": "max pool",
    "max_pool2d": "max pool",
    "avg_pool2d": "average pool",
}
_ADAPTIVE_POOL = {
    "mean": "average pool",
    "_adaptive_avg_pool2d": "average pool",
    "adaptive_max_pool2d": "max pool",
}
_JOIN = {"add": "add", "add_": "add", "cat": "concatenate"}
_VIEW_OPS = {
    "view",
    "_unsafe_view",
    "reshape",
    "flatten",
    "squeeze",
    "t",
    "unsqueeze",
    "permute",
    "transpose",
    "expand",
    "detach",
    "alias",
    "slice",
    "select",
    "split",
    "chunk",
    "lift_fresh",
    "unbind",
    "_to_copy",
}
_OP_NAMES = {
    "_native_batch_norm_legit_no_training": "norm",
    "native_batch_norm": "norm",
    "native_layer_norm": "layer norm",
    "cudnn_batch_norm": "norm",
    "constant_pad_nd": "pad",
    "hardtanh": "clip",
    "relu_": "relu",
}


class _LayerTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that records each operation.

    It keeps a reference to every known tensor, so that ids stay unique.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.stack: list[str] = []
        self.current_module = ""
        self.tensors: list[Tensor] = []
        self.row_of: dict[int, int] = {}
        self.receptive_fields: dict[int, ReceptiveField | None] = {}
        self.weight_of: dict[int, Tensor] = {id(p): p for p in model.parameters()}
        self.counted: set[int] = set()
        self.rows: list[Layer] = []
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
            self.rows,
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

    def _register(self, tensor: Tensor, row: int, receptive_field: ReceptiveField | None) -> None:
        self.tensors.append(tensor)
        self.row_of[id(tensor)], self.receptive_fields[id(tensor)] = row, receptive_field

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
        data = [tensor for tensor in tensors if id(tensor) in self.row_of]
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
        """Return the result of `func`, or empty tensors of the same shapes from an earlier equal
        call.

        Deep networks repeat themselves, and torch is slow to infer shapes, so the results are
        cached.
        """
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if any(not t.is_meta for t in tensors) or any(r.alias_info for r in func._schema.returns):
            return func(*args, **kwargs)
        key = (
            func,
            *(tuple(leaf.shape) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves),
        )
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
        """Add an operation: a row of its own, or a part of the row before it."""
        op = func.overloadpacket.__name__
        x = data[0]
        if op in _VIEW_OPS:
            for tensor in outputs:
                self._register(
                    tensor,
                    self.row_of[id(x)],
                    _after_view_op(op, args, self.receptive_fields[id(x)], x, tensor),
                )
            return
        paths = [self.receptive_fields[id(tensor)] for tensor in data]
        layer = _layer(func, args, kwargs, data, paths, outputs, bool(weights))
        if layer is None:
            self._append_to_row(op, args, data, paths, weights, outputs)
            return
        layer.inputs = tuple(dict.fromkeys(self.row_of[id(tensor)] for tensor in data))
        part = "pool" if layer.kind.endswith("pool") else layer.kind if op in _JOIN else ""
        if part:
            self.uncounted[layer.kind] += outputs[0].numel()
        row = self._add_row(layer, part)
        self._count(row, weights, outputs[0], is_layer=True)
        for tensor in outputs:
            self._register(tensor, row, layer.receptive_field)

    def _append_to_row(
        self,
        op: str,
        args: tuple[Any, ...],
        data: list[Tensor],
        receptive_fields: list[ReceptiveField | None],
        weights: list[Tensor],
        outputs: list[Tensor],
    ) -> None:
        """Add an elementwise operation to the row before it."""
        x, y = data[0], outputs[0]
        name = _OP_NAMES.get(op, op.strip("_").replace("_", " "))
        new_paths = merge_receptive_fields(receptive_fields)
        if op == "constant_pad_nd" and new_paths is not None and x.dim() == 4:
            new_paths = new_paths.after_padding(tuple(args[1]))
        elif x.dim() == 4 and y.dim() == 4 and x.shape[2:] != y.shape[2:] and len(data) == 1:
            new_paths = None  # an operation that moves pixels in an unknown way
        rows = list(dict.fromkeys(self.row_of[id(tensor)] for tensor in data))
        row = self._row_before(name, max(rows), y, new_paths)
        layer = self.rows[row]
        layer.inputs = tuple(
            dict.fromkeys([*layer.inputs, *(source for source in rows if source != row)])
        )
        self.uncounted[name] += y.numel()
        self._count(row, weights, y, is_layer=False)
        for tensor in outputs:
            self._register(tensor, row, new_paths)

    def _add_row(self, layer: Layer, part: str) -> int:
        """Name a layer after its module, append it and return its index."""
        layer.name = (
            ".".join(piece for piece in (self.stack[-1] if self.stack else "", part) if piece)
            or layer.kind
        )
        if part and layer.name.split(".")[-2:] == [part, part]:
            layer.name = layer.name.rpartition(".")[0]
        if (
            part == "pool"
            and self.stack
            and self.stack[-1].rpartition(".")[2].rstrip("0123456789").endswith("pool")
        ):
            layer.name = self.stack[-1]
        self.rows.append(layer)
        return len(self.rows) - 1

    def _row_before(
        self, name: str, row: int, y: Tensor, receptive_field: ReceptiveField | None
    ) -> int:
        """Return the row that an operation belongs to; before the first layer a new row is made."""
        if row < 0:
            return self._add_row(
                Layer("", name, _shape(y), receptive_field=receptive_field, inputs=(-1,)), name
            )
        if name not in self.rows[row].followed_by:
            self.rows[row].followed_by.append(name)
        return row

    def _count(self, row: int, weights: list[Tensor], y: Tensor, is_layer: bool) -> None:
        """Add parameters and activation memory of an operation to its row."""
        new = {id(p): p.numel() for p in weights if id(p) not in self.counted}
        self.counted |= new.keys()
        self.rows[row].parameters += sum(new.values())
        self.rows[row].layer_parameters += sum(new.values()) if is_layer else 0
        self.rows[row].activation_bytes += BYTES_PER_VALUE * y.numel()


def _layer(
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    data: list[Tensor],
    receptive_fields: list[ReceptiveField | None],
    outputs: list[Tensor],
    weighted: bool,
) -> Layer | None:
    """Return the row of an operation, without a name yet, or None if it has no row of its own."""
    op, x, y, paths = func.overloadpacket.__name__, data[0], outputs[0], receptive_fields[0]
    if op in _CONV:
        return _convolution(op, args, x, y, paths)
    counted = flop_registry.get(func.overloadpacket)
    if op in _LINEAR:
        macs = counted(*args, **kwargs, out_val=y) // 2 if counted else y.numel() * x.shape[-1]
        kind = "linear" if weighted else "product"
        return Layer("", kind, _shape(y), macs=macs, receptive_field=paths if x.dim() < 4 else None)
    if counted is not None:
        macs = counted(*args, **kwargs, out_val=outputs if len(outputs) > 1 else y) // 2
        return Layer("", op.strip("_").replace("_", " "), _shape(y), macs=macs)
    if op in _POOL:
        return _pooling(op, args, y, paths)
    if op in _ADAPTIVE_POOL and x.dim() == 4 and (op != "mean" or _is_spatial_mean(args)):
        return Layer(
            "", _ADAPTIVE_POOL[op], _shape(y), receptive_field=_after_adaptive_pool(paths, x, y)
        )
    if op in _JOIN and len(data) > 1:
        return Layer(
            "", _JOIN[op], _shape(y), receptive_field=merge_receptive_fields(receptive_fields)
        )
    return None


def _convolution(
    op: str, args: tuple[Any, ...], x: Tensor, y: Tensor, receptive_field: ReceptiveField | None
) -> Layer:
    kernel = args[1].shape[2:]
    stride, padding, dilation = (_pair(args[i]) for i in (3, 4, 5))
    transposed, groups = (args[6], args[8]) if op == "convolution" else (False, 1)
    macs = (x if transposed else y).numel() * args[1].shape[1] * kernel.numel()
    kind = "transposed conv" if transposed else f"conv, {groups} groups" if groups > 1 else "conv"
    size = _pair(kernel)
    new_paths = (
        None
        if transposed or receptive_field is None
        else receptive_field.after_window(size, stride, padding, dilation)
    )
    return Layer("", kind, _shape(y), size, stride, padding, macs=macs, receptive_field=new_paths)


def _pooling(
    op: str, args: tuple[Any, ...], y: Tensor, receptive_field: ReceptiveField | None
) -> Layer:
    size = _pair(args[1])
    stride = _pair(args[2]) if len(args) > 2 and args[2] else size
    padding = _pair(args[3]) if len(args) > 3 else (0, 0)
    dilation = _pair(args[4]) if op.startswith("max") and len(args) > 4 else (1, 1)
    new_paths = (
        receptive_field.after_window(size, stride, padding, dilation) if receptive_field else None
    )
    return Layer("", _POOL[op], _shape(y), size, stride, padding, receptive_field=new_paths)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape[1:])


def _pair(value: Any) -> tuple[int, int]:
    numbers = [int(number) for number in value]
    return (numbers[0], numbers[-1])


def _is_spatial_mean(args: tuple[Any, ...]) -> bool:
    return len(args) > 1 and sorted(axis % 4 for axis in args[1] or ()) == [2, 3]


def _after_adaptive_pool(
    receptive_field: ReceptiveField | None, x: Tensor, y: Tensor
) -> ReceptiveField | None:
    """Return the paths through an adaptive pooling, if its cells have one size; a mean has one
    cell.
    """
    cells = tuple(y.shape[2:]) if y.dim() == 4 else (1, 1)
    if receptive_field is None or any(
        side % cell for side, cell in zip(x.shape[2:], cells, strict=True)
    ):
        return None
    size = (x.shape[2] // cells[0], x.shape[3] // cells[1])
    return receptive_field.after_window(size, size, (0, 0), (1, 1))


def _after_view_op(
    op: str, args: tuple[Any, ...], receptive_field: ReceptiveField | None, x: Tensor, y: Tensor
) -> ReceptiveField | None:
    """Return the paths of a view of the same numbers: every s-th pixel, or maps flattened to a
    vector.

    Each number of the vector depends on all that its maps depend on.
    """
    if receptive_field is None:
        return None
    if op == "slice" and x.dim() == 4 and len(args) > 1 and args[1] % 4 in (2, 3):
        start = args[2] if len(args) > 2 and args[2] is not None else 0
        step = args[4] if len(args) > 4 else 1
        return receptive_field.after_slice(
            args[1] % 4 - 2, start % x.shape[args[1] % 4] if start else 0, step
        )
    if x.dim() == 4 and y.dim() < 4:
        size = (x.shape[2], x.shape[3])
        return (
            receptive_field.after_window(size, size, (0, 0), (1, 1))
            if size != (1, 1)
            else receptive_field
        )
    return receptive_field if x.dim() == y.dim() or x.dim() < 4 else None
