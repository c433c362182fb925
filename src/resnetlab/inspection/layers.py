"""Layer tracing: the layers of a network from one pass of an empty image on the meta device,
without weights or memory.

A row is an operation with weights, a pooling, a sum or a concatenation; elementwise operations that
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
    tracer = _LayerTracer(model)
    images = torch.zeros(1, *image_shape, device=device)
    tracer.register_input(images)
    try:
        with torch.no_grad(), tracer.track_modules(), tracer:
            model(images)
    except InputError:
        raise
    except Exception as error:  # a network of another package may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        layer = tracer.current_module or "the network"
        problem = f"layer {layer} does not accept its input: {reason}"
        raise input_error(
            name,
            problem,
            _suggest_side(model, image_shape),
            field=f"images of {'x'.join(map(str, image_shape))}",
        ) from None
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
        if op in VIEW_OPS:
            for tensor in outputs:
                self._register(
                    tensor,
                    self.row_of[id(x)],
                    after_view_op(op, args, self.receptive_fields[id(x)], x, tensor),
                )
            return
        fields = [self.receptive_fields[id(tensor)] for tensor in data]
        layer = make_layer(func, args, kwargs, data, fields, outputs, bool(weights))
        if layer is None:
            self._append_to_row(op, args, data, fields, weights, outputs)
            return
        layer.inputs = tuple(dict.fromkeys(self.row_of[id(tensor)] for tensor in data))
        part = "pool" if layer.kind.endswith("pool") else layer.kind if op in JOIN_OPS else ""
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
        name = OP_NAMES.get(op, op.strip("_").replace("_", " "))
        new_field = merge_receptive_fields(receptive_fields)
        if op == "constant_pad_nd" and new_field is not None and x.dim() == 4:
            new_field = new_field.after_padding(tuple(args[1]))
        elif x.dim() == 4 and y.dim() == 4 and x.shape[2:] != y.shape[2:] and len(data) == 1:
            new_field = None  # an operation that moves pixels in an unknown way
        rows = list(dict.fromkeys(self.row_of[id(tensor)] for tensor in data))
        row = self._row_before(name, max(rows), y, new_field)
        layer = self.rows[row]
        layer.inputs = tuple(
            dict.fromkeys([*layer.inputs, *(source for source in rows if source != row)])
        )
        self.uncounted[name] += y.numel()
        self._count(row, weights, y, is_layer=False)
        for tensor in outputs:
            self._register(tensor, row, new_field)

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
                Layer("", name, output_shape(y), receptive_field=receptive_field, inputs=(-1,)),
                name,
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
