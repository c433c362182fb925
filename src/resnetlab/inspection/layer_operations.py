"""Rows of a layer table, one for each operation of torch that has a row of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.flop_counter import flop_registry

from resnetlab.inspection.layer_rows import Layer
from resnetlab.inspection.receptive_field import ReceptiveField, merge_receptive_fields

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
JOIN_OPS = {"add": "add", "add_": "add", "cat": "concatenate"}
VIEW_OPS = {
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
OP_NAMES = {
    "_native_batch_norm_legit_no_training": "norm",
    "native_batch_norm": "norm",
    "native_layer_norm": "layer norm",
    "cudnn_batch_norm": "norm",
    "constant_pad_nd": "pad",
    "hardtanh": "clip",
    "relu_": "relu",
    "mul": "multiply",
    "mul_": "multiply",
    "rsub": "subtract",
}


def make_layer(
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    data: list[Tensor],
    receptive_fields: list[ReceptiveField | None],
    outputs: list[Tensor],
    weighted: bool,
) -> Layer | None:
    """Return the row of an operation, without a name yet, or None if it has no row of its own."""
    op, x, y = func.overloadpacket.__name__, data[0], outputs[0]
    field = receptive_fields[0]
    if op in _CONV:
        return _convolution(op, args, x, y, field)
    counted = flop_registry.get(func.overloadpacket)
    if op in _LINEAR:
        macs = counted(*args, **kwargs, out_val=y) // 2 if counted else y.numel() * x.shape[-1]
        kind = "linear" if weighted else "product"
        return Layer(
            "", kind, output_shape(y), macs=macs, receptive_field=field if x.dim() < 4 else None
        )
    if counted is not None:
        macs = counted(*args, **kwargs, out_val=outputs if len(outputs) > 1 else y) // 2
        return Layer("", op.strip("_").replace("_", " "), output_shape(y), macs=macs)
    if op in _POOL:
        return _pooling(op, args, y, field)
    if op in _ADAPTIVE_POOL and x.dim() == 4 and (op != "mean" or _is_spatial_mean(args)):
        return Layer(
            "",
            _ADAPTIVE_POOL[op],
            output_shape(y),
            receptive_field=_after_adaptive_pool(field, x, y),
        )
    if op in JOIN_OPS and len(data) > 1:
        return Layer(
            "",
            JOIN_OPS[op],
            output_shape(y),
            receptive_field=merge_receptive_fields(receptive_fields),
        )
    return None


def _convolution(
    op: str, args: tuple[Any, ...], x: Tensor, y: Tensor, receptive_field: ReceptiveField | None
) -> Layer:
    kernel = args[1].shape[2:]
    stride, padding, dilation = (_pair(args[i]) for i in (3, 4, 5))
    transposed, groups = (args[6], args[8]) if op == "convolution" else (False, 1)
    macs = (x if transposed else y).numel() * args[1].shape[1] * kernel.numel()
    kind = f"conv, {groups} groups" if groups > 1 else "conv"
    if transposed:
        kind = "transposed conv"
    size = _pair(kernel)
    new_field = (
        None
        if transposed or receptive_field is None
        else receptive_field.after_window(size, stride, padding, dilation)
    )
    return Layer(
        "", kind, output_shape(y), size, stride, padding, macs=macs, receptive_field=new_field
    )


def _pooling(
    op: str, args: tuple[Any, ...], y: Tensor, receptive_field: ReceptiveField | None
) -> Layer:
    size = _pair(args[1])
    stride = _pair(args[2]) if len(args) > 2 and args[2] else size
    padding = _pair(args[3]) if len(args) > 3 else (0, 0)
    dilation = _pair(args[4]) if op.startswith("max") and len(args) > 4 else (1, 1)
    new_field = (
        receptive_field.after_window(size, stride, padding, dilation) if receptive_field else None
    )
    return Layer("", _POOL[op], output_shape(y), size, stride, padding, receptive_field=new_field)


def output_shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of one image's output: the shape of `tensor` without its batch axis."""
    return tuple(tensor.shape[1:])


def _pair(value: Any) -> tuple[int, int]:
    numbers = [int(number) for number in value]
    return (numbers[0], numbers[-1])


def _is_spatial_mean(args: tuple[Any, ...]) -> bool:
    return len(args) > 1 and sorted(axis % 4 for axis in args[1] or ()) == [2, 3]


def _after_adaptive_pool(
    receptive_field: ReceptiveField | None, x: Tensor, y: Tensor
) -> ReceptiveField | None:
    """Return the field after an adaptive pooling, or None if its cells differ in size."""
    cells = tuple(y.shape[2:]) if y.dim() == 4 else (1, 1)
    if receptive_field is None or any(
        side % cell for side, cell in zip(x.shape[2:], cells, strict=True)
    ):
        return None
    size = (x.shape[2] // cells[0], x.shape[3] // cells[1])
    return receptive_field.after_window(size, size, (0, 0), (1, 1))


def after_view_op(
    op: str, args: tuple[Any, ...], receptive_field: ReceptiveField | None, x: Tensor, y: Tensor
) -> ReceptiveField | None:
    """Return the receptive field after a view: every s-th pixel, or maps flattened to a vector.

    Each number of the vector depends on all pixels that its maps depend on.
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
        if size != (1, 1):
            return receptive_field.after_window(size, size, (0, 0), (1, 1))
        return receptive_field
    return receptive_field if x.dim() == y.dim() or x.dim() < 4 else None
