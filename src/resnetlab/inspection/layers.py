"""A network layer by layer, from one pass of an empty image on the meta device: no weights, no memory, any network.

Rows are what has weights, what pools, and where paths join; what follows a row number by number (normalisation,
activation) belongs to it. Works on operations, not on module types, so networks of others are read alike.
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

from resnetlab.errors import InputError, mistake
from resnetlab.inspection.layer_rows import Layer, Layers
from resnetlab.inspection.receptive_field import PIXEL, Paths, joined
from resnetlab.models.build import skeleton
from resnetlab.models.configs import External, Model

BYTES = 4
"""Of a number in fp32."""

TRIED = (1, 2, 4, 7, 8, 14, 16, 28, 32, 48, 64, 75, 96, 112, 128, 160, 192, 224, 256, 299, 331, 384, 448, 512)
"""Sides in pixels at which a network of others is tried, to say which it takes."""


def read_layers(spec: Model, image: tuple[int, int, int], classes: int) -> Layers:
    """The layers of `spec` for one image (C, H, W).

    Raises InputError that names the layer that cannot take the image, and the smallest that the network takes.
    """
    channels, *sides = image
    if not isinstance(spec, External):
        for side in sides:
            spec.cost(channels, classes, side)
    with torch.device("meta"):
        model = skeleton(spec, channels, classes)
    return trace(model, image, spec.slug)


def trace(model: nn.Module, image: tuple[int, int, int], name: str = "network") -> Layers:
    """The layers of `model`, which is copied nowhere and run once, in evaluation mode, on zeros (1, C, H, W)."""
    model = model.eval()
    device = next((p.device for p in model.parameters()), torch.device("meta"))
    recorder = _Recorder(model)
    images = torch.zeros(1, *image, device=device)
    recorder.begin(images)
    try:
        with torch.no_grad(), recorder.named(), recorder:
            model(images)
    except InputError:
        raise
    except Exception as error:  # what a network of others raises is its own choice
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        layer = recorder.where or "the network"
        what = f"layer {layer} cannot take what reaches it: {reason}"
        raise mistake(name, what, _smallest(model, image), field=f"images of {'x'.join(map(str, image))}") from None
    return recorder.layers(name, image)


def _smallest(model: nn.Module, image: tuple[int, int, int]) -> str:
    for side in TRIED:
        try:
            with torch.no_grad():
                model.to("meta")(torch.zeros(1, image[0], side, side, device="meta"))
        except Exception:  # as above
            continue
        return f"the smallest images that it took, of those tried, are {side}x{side} pixels"
    return f"no square image of {TRIED[0]} to {TRIED[-1]} pixels and {image[0]} channels fits: another network"


_aten = torch.ops.aten
_CONV = {"convolution", "_convolution", "conv2d"}
_LINEAR = {"addmm", "mm", "bmm", "baddbmm", "linear", "mv", "addmv"}
_POOL = {"max_pool2d_with_indices": "max pool", "max_pool2d": "max pool", "avg_pool2d": "average pool"}
_WHOLE = {"mean": "average pool", "_adaptive_avg_pool2d": "average pool", "adaptive_max_pool2d": "max pool"}
_JOIN = {"add": "add", "add_": "add", "cat": "concatenate"}
_VIEWS = {"view", "_unsafe_view", "reshape", "flatten", "squeeze", "t", "unsqueeze", "permute", "transpose", "expand",
          "detach", "alias", "slice", "select", "split", "chunk", "lift_fresh", "unbind", "_to_copy"}  # fmt: skip
_NAMES = {
    "_native_batch_norm_legit_no_training": "norm", "native_batch_norm": "norm", "native_layer_norm": "layer norm",
    "cudnn_batch_norm": "norm", "constant_pad_nd": "pad", "hardtanh": "clip", "relu_": "relu",
}  # fmt: skip


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operation; every tensor that it knows is kept, so that an id means one tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.stack: list[str] = []
        self.where = ""
        self.kept: list[Tensor] = []
        self.row_of: dict[int, int] = {}
        self.paths: dict[int, Paths | None] = {}
        self.weight_of: dict[int, Tensor] = {id(p): p for p in model.parameters()}
        self.charged: set[int] = set()
        self.rows: list[Layer] = []
        self.uncounted: Counter[str] = Counter()
        self.known: dict[Any, Any] = {}

    def begin(self, images: Tensor) -> None:
        self._keep(images, -1, PIXEL)

    def layers(self, name: str, image: tuple[int, int, int]) -> Layers:
        held = list(self.model.parameters())
        unused = sum(p.numel() for p in held if id(p) not in self.charged)
        return Layers(name, image, self.rows, sum(p.numel() for p in held), dict(self.uncounted), unused)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Know in which module an operation happens."""
        handles = []
        for name, module in self.model.named_modules():
            handles.append(module.register_forward_pre_hook(self._entering(name)))
            handles.append(module.register_forward_hook(self._leaving))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, name: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self.stack.append(name)
            self.where = name

        return enter

    def _leaving(self, *_: Any) -> None:
        self.stack.pop()

    def _keep(self, tensor: Tensor, row: int, paths: Paths | None) -> None:
        self.kept.append(tensor)
        self.row_of[id(tensor)], self.paths[id(tensor)] = row, paths

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = self._shaped(func, args, kwargs)
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        data = [tensor for tensor in given if id(tensor) in self.row_of]
        weights = [self.weight_of[id(tensor)] for tensor in given if id(tensor) in self.weight_of]
        if not outputs:
            return out
        if not data:  # a weight seen another way stays that weight
            for tensor in outputs if weights else []:
                self.kept.append(tensor)
                self.weight_of[id(tensor)] = weights[0]
            return out
        self._take(func, args, kwargs, data, weights, outputs)
        return out

    def _shaped(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What `func` gives. Deep networks repeat themselves, and torch is slow to say what shape comes out: once said,
        it is remembered."""
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if any(not t.is_meta for t in tensors) or any(r.alias_info for r in func._schema.returns):
            return func(*args, **kwargs)
        key = (func, *(tuple(leaf.shape) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves))
        if key in self.known:
            return tree_map(lambda held: torch.empty(held.shape, dtype=held.dtype, device="meta"), self.known[key])
        out = self.known[key] = func(*args, **kwargs)
        return out

    def _take(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], data: list[Tensor], weights: list[Tensor],
        outputs: list[Tensor],
    ) -> None:  # fmt: skip
        op = func.overloadpacket.__name__
        x = data[0]
        if op in _VIEWS:
            for tensor in outputs:
                self._keep(tensor, self.row_of[id(x)], _seen(op, args, self.paths[id(x)], x, tensor))
            return
        ways = [self.paths[id(tensor)] for tensor in data]
        layer = _layer(func, args, kwargs, data, ways, outputs, bool(weights))
        if layer is None:
            self._pass_on(op, args, data, ways, weights, outputs)
            return
        layer.takes = tuple(dict.fromkeys(self.row_of[id(tensor)] for tensor in data))
        part = "pool" if layer.kind.endswith("pool") else layer.kind if op in _JOIN else ""
        if part:
            self.uncounted[layer.kind] += outputs[0].numel()
        row = self._row(layer, part)
        self._charge(row, weights, outputs[0], own=True)
        for tensor in outputs:
            self._keep(tensor, row, layer.paths)

    def _pass_on(
        self, op: str, args: tuple[Any, ...], data: list[Tensor], ways: list[Paths | None], weights: list[Tensor],
        outputs: list[Tensor],
    ) -> None:  # fmt: skip
        """What works number by number belongs to the row before it."""
        x, y = data[0], outputs[0]
        name = _NAMES.get(op, op.strip("_").replace("_", " "))
        moved = joined(ways)
        if op == "constant_pad_nd" and moved is not None and x.dim() == 4:
            moved = moved.padded(tuple(args[1]))
        elif x.dim() == 4 and y.dim() == 4 and x.shape[2:] != y.shape[2:] and len(data) == 1:
            moved = None  # an operation that moves pixels in a way that is not known here
        rows = list(dict.fromkeys(self.row_of[id(tensor)] for tensor in data))
        row = self._follow(name, max(rows), y, moved)
        held = self.rows[row]
        held.takes = tuple(dict.fromkeys([*held.takes, *(taken for taken in rows if taken != row)]))
        self.uncounted[name] += y.numel()
        self._charge(row, weights, y, own=False)
        for tensor in outputs:
            self._keep(tensor, row, moved)

    def _row(self, layer: Layer, part: str) -> int:
        layer.name = ".".join(piece for piece in (self.stack[-1] if self.stack else "", part) if piece) or layer.kind
        if part and layer.name.split(".")[-2:] == [part, part]:
            layer.name = layer.name.rpartition(".")[0]
        if part == "pool" and self.stack and self.stack[-1].rpartition(".")[2].rstrip("0123456789").endswith("pool"):
            layer.name = self.stack[-1]
        self.rows.append(layer)
        return len(self.rows) - 1

    def _follow(self, name: str, row: int, y: Tensor, paths: Paths | None) -> int:
        """The row that an operation belongs to; before the first layer it makes one of its own."""
        if row < 0:
            return self._row(Layer("", name, _shape(y), paths=paths, takes=(-1,)), name)
        if name not in self.rows[row].then:
            self.rows[row].then.append(name)
        return row

    def _charge(self, row: int, weights: list[Tensor], y: Tensor, own: bool) -> None:
        new = {id(p): p.numel() for p in weights if id(p) not in self.charged}
        self.charged |= new.keys()
        self.rows[row].parameters += sum(new.values())
        self.rows[row].weights += sum(new.values()) if own else 0
        self.rows[row].activation_bytes += BYTES * y.numel()


def _layer(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], data: list[Tensor], ways: list[Paths | None],
    outputs: list[Tensor], weighted: bool,
) -> Layer | None:  # fmt: skip
    """The row that an operation makes, yet without a name; None where it makes none."""
    op, x, y, paths = func.overloadpacket.__name__, data[0], outputs[0], ways[0]
    if op in _CONV:
        return _convolution(op, args, x, y, paths)
    counted = flop_registry.get(func.overloadpacket)
    if op in _LINEAR:
        macs = counted(*args, **kwargs, out_val=y) // 2 if counted else y.numel() * x.shape[-1]
        kind = "linear" if weighted else "product"
        return Layer("", kind, _shape(y), macs=macs, paths=paths if x.dim() < 4 else None)
    if counted is not None:
        macs = counted(*args, **kwargs, out_val=outputs if len(outputs) > 1 else y) // 2
        return Layer("", op.strip("_").replace("_", " "), _shape(y), macs=macs)
    if op in _POOL:
        return _pooling(op, args, y, paths)
    if op in _WHOLE and x.dim() == 4 and (op != "mean" or _spatial(args)):
        return Layer("", _WHOLE[op], _shape(y), paths=_pooled(paths, x, y))
    if op in _JOIN and len(data) > 1:
        return Layer("", _JOIN[op], _shape(y), paths=joined(ways))
    return None


def _convolution(op: str, args: tuple[Any, ...], x: Tensor, y: Tensor, paths: Paths | None) -> Layer:
    kernel = args[1].shape[2:]
    stride, padding, dilation = (_pair(args[i]) for i in (3, 4, 5))
    transposed, groups = (args[6], args[8]) if op == "convolution" else (False, 1)
    macs = (x if transposed else y).numel() * args[1].shape[1] * kernel.numel()
    kind = "transposed conv" if transposed else f"conv, {groups} groups" if groups > 1 else "conv"
    size = _pair(kernel)
    moved = None if transposed or paths is None else paths.window(size, stride, padding, dilation)
    return Layer("", kind, _shape(y), size, stride, padding, macs=macs, paths=moved)


def _pooling(op: str, args: tuple[Any, ...], y: Tensor, paths: Paths | None) -> Layer:
    size = _pair(args[1])
    stride = _pair(args[2]) if len(args) > 2 and args[2] else size
    padding = _pair(args[3]) if len(args) > 3 else (0, 0)
    dilation = _pair(args[4]) if op.startswith("max") and len(args) > 4 else (1, 1)
    moved = paths.window(size, stride, padding, dilation) if paths else None
    return Layer("", _POOL[op], _shape(y), size, stride, padding, paths=moved)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape[1:])


def _pair(value: Any) -> tuple[int, int]:
    numbers = [int(number) for number in value]
    return (numbers[0], numbers[-1])


def _spatial(args: tuple[Any, ...]) -> bool:
    return len(args) > 1 and sorted(axis % 4 for axis in args[1] or ()) == [2, 3]


def _pooled(paths: Paths | None, x: Tensor, y: Tensor) -> Paths | None:
    """Over cells of an adaptive pooling, if they are of one size; a mean is one cell."""
    cells = tuple(y.shape[2:]) if y.dim() == 4 else (1, 1)
    if paths is None or any(side % cell for side, cell in zip(x.shape[2:], cells, strict=True)):
        return None
    size = (x.shape[2] // cells[0], x.shape[3] // cells[1])
    return paths.window(size, size, (0, 0), (1, 1))


def _seen(op: str, args: tuple[Any, ...], paths: Paths | None, x: Tensor, y: Tensor) -> Paths | None:
    """The same numbers seen another way: every s-th pixel, or maps as one vector, each number of which sees all."""
    if paths is None:
        return None
    if op == "slice" and x.dim() == 4 and len(args) > 1 and args[1] % 4 in (2, 3):
        start = args[2] if len(args) > 2 and args[2] is not None else 0
        step = args[4] if len(args) > 4 else 1
        return paths.sliced(args[1] % 4 - 2, start % x.shape[args[1] % 4] if start else 0, step)
    if x.dim() == 4 and y.dim() < 4:
        size = (x.shape[2], x.shape[3])
        return paths.window(size, size, (0, 0), (1, 1)) if size != (1, 1) else paths
    return paths if x.dim() == y.dim() or x.dim() < 4 else None
