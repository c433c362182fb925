"""ONNX graph from a photograph to probabilities: an exported network with its evaluation transform.

The resizing is ONNX's `Resize` of uint8 values with antialias, which onnxruntime computes with the
fixed-point arithmetic of Pillow, rows first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.transforms.eval_transform import MAX_ASPECT_RATIO, EvalTransform
from resnetlab.deploy.optional_imports import optional_import
from resnetlab.model_folder.card import describe_transform
from resnetlab.model_folder.model_file import ModelFile

IMAGE, PROBABILITIES, CLASSES = "image", "probabilities", "classes"
"""Names of the input, (H, W, 3) uint8 RGB, and of the outputs, (K,) fp32 and (K,) text."""

_GRAY_WEIGHTS, _GRAY_SHIFT = (19595, 38470, 7471), 65536
"""Pillow's weights of red, green and blue for gray (ITU-R 601-2), in units of 1 / 65536."""


class _Graph:
    """Nodes and constants of an ONNX graph under construction."""

    def __init__(self) -> None:
        self.helper = optional_import("onnx.helper", "export")
        self.numpy_helper = optional_import("onnx.numpy_helper", "export")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: object, dtype: type = np.int64) -> str:
        """Add a constant; return its name."""
        name = f"photo_constant_{len(self.constants)}"
        array: NDArray[Any] = np.asarray(value, dtype)
        self.constants.append(self.numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        """Add a node; return the name of its output."""
        output = output or f"photo_{operator.lower()}_{len(self.nodes)}"
        node = self.helper.make_node(operator, list(inputs), [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def cast(self, value: str, dtype: str) -> str:
        """Add a cast to the ONNX type `dtype`, such as FLOAT."""
        onnx = optional_import("onnx", "export")
        return self.add("Cast", value, to=getattr(onnx.TensorProto, dtype))


def add_photo_input(proto: Any, file: ModelFile, temperature: float = 1.0) -> None:
    """Put the evaluation transform before an exported network, and the temperature and a softmax
    behind it, in place.

    Args:
        proto: ONNX model from `images` (N, C, H, W) to `logits` (N, K).
        file: Description of the model; its transform takes squares.
        temperature: Temperature that divides the logits before the softmax.
    """
    helper, onnx = (optional_import(name, "export") for name in ("onnx.helper", "onnx"))
    graph, transform = _Graph(), file.eval_transform
    pixels = _resized_square(graph, transform)
    channels, size = transform.channels, transform.size
    shape = graph.constant([1, channels, size, size])
    values = graph.cast(graph.add("Reshape", pixels, shape), "FLOAT")
    mean, std = (
        255 * np.array(numbers, np.float32).reshape(1, channels, 1, 1)
        for numbers in (transform.mean, transform.std)
    )
    centered = graph.add("Sub", values, graph.constant(mean, np.float32))
    graph.add("Div", centered, graph.constant(std, np.float32), output=proto.graph.input[0].name)
    before, graph.nodes = graph.nodes, []
    logits = graph.cast(proto.graph.output[0].name, "DOUBLE")
    if temperature != 1:
        logits = graph.add("Div", logits, graph.constant([[temperature]], np.float64))
    probabilities = graph.cast(graph.add("Softmax", logits, axis=1), "FLOAT")
    count = len(file.classes)
    graph.add("Reshape", probabilities, graph.constant([count]), output=PROBABILITIES)
    names = helper.make_tensor(
        "photo_names", onnx.TensorProto.STRING, [count], [name.encode() for name in file.classes]
    )
    graph.constants.append(names)
    graph.add("Identity", "photo_names", output=CLASSES)
    nodes = [*before, *proto.graph.node, *graph.nodes]
    del proto.graph.node[:], proto.graph.input[:], proto.graph.output[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(graph.constants)
    types, describe = onnx.TensorProto, helper.make_tensor_value_info
    proto.graph.input.append(describe(IMAGE, types.UINT8, ["height", "width", 3]))
    proto.graph.output.extend(
        [describe(PROBABILITIES, types.FLOAT, [count]), describe(CLASSES, types.STRING, [count])]
    )


def _resized_square(graph: _Graph, transform: EvalTransform) -> str:
    """Add the nodes from the image to the crop (1, C, S, S) uint8; return its name."""
    height, width = (
        graph.add("Gather", graph.add("Shape", IMAGE), graph.constant([axis])) for axis in (0, 1)
    )
    shorter = graph.add("Min", height, width)
    if transform.crop_mode == "square":
        longest = shorter
    else:
        longest = graph.add("Mul", shorter, graph.constant([MAX_ASPECT_RATIO]))
    # The middle of a strip that is too long, or the center square.
    sides = [graph.add("Min", edge, longest) for edge in (height, width)]
    starts = [
        graph.add("Div", graph.add("Sub", edge, side), graph.constant([2]))
        for edge, side in zip((height, width), sides, strict=True)
    ]
    image = _slice(graph, IMAGE, starts, sides, axes=(0, 1))
    if transform.channels == 1:
        image = _to_gray(graph, image)
    image = graph.add("Transpose", image, perm=[2, 0, 1])
    image = graph.add("Unsqueeze", image, graph.constant([0]))
    side = transform.size if transform.crop_mode == "square" else transform.shorter_side
    targets = [
        graph.add("Div", graph.add("Mul", edge, graph.constant([side])), shorter) for edge in sides
    ]
    lead = graph.constant([1, transform.channels])
    image = graph.add(
        "Resize",
        image,
        "",
        "",
        graph.add("Concat", lead, *targets, axis=0),
        mode="linear" if transform.interpolation == "bilinear" else "cubic",
        antialias=1,
        exclude_outside=1,
        cubic_coeff_a=-0.5,
        coordinate_transformation_mode="half_pixel",
    )
    if transform.crop_mode == "square":
        return image
    size = graph.constant([transform.size])
    corners = [_rounded_half(graph, graph.add("Sub", edge, size)) for edge in targets]
    return _slice(graph, image, corners, [size, size], axes=(2, 3))


def _slice(
    graph: _Graph, image: str, starts: Sequence[str], sizes: Sequence[str], axes: tuple[int, int]
) -> str:
    ends = [graph.add("Add", start, size) for start, size in zip(starts, sizes, strict=True)]
    begin, end = (graph.add("Concat", *values, axis=0) for values in (starts, ends))
    return graph.add("Slice", image, begin, end, graph.constant(axes))


def _rounded_half(graph: _Graph, value: str) -> str:
    """Add half of an integer, rounded to even as Python and torchvision's CenterCrop do."""
    half = graph.add("Div", graph.cast(value, "FLOAT"), graph.constant([2], np.float32))
    return graph.cast(graph.add("Round", half), "INT64")


def _to_gray(graph: _Graph, image: str) -> str:
    """Add Pillow's conversion to gray of an image (H, W, 3)."""
    weighted = graph.add("Mul", graph.cast(image, "INT32"), graph.constant(_GRAY_WEIGHTS, np.int32))
    total = graph.add("ReduceSum", weighted, graph.constant([2]), keepdims=1)
    rounded = graph.add("Add", total, graph.constant([_GRAY_SHIFT // 2], np.int32))
    return graph.cast(graph.add("Div", rounded, graph.constant([_GRAY_SHIFT], np.int32)), "UINT8")


def common_metadata(file: ModelFile) -> dict[str, str]:
    """Return metadata under the names that other programs use, as strings.

    `Image.*`, `model_author` and `model_license` are those of the ONNX specification
    (docs/MetadataProps.md), `id2label` is that of Hugging Face, and `task`, `names` and `imgsz`
    are those of Ultralytics.
    """
    names = ", ".join(
        f"{number}: {json.dumps(name, ensure_ascii=False)}"
        for number, name in enumerate(file.classes)
    )
    labels = {str(number): name for number, name in enumerate(file.classes)}
    return {
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255",
        "model_author": "",
        "model_license": file.license.name,
        "description": str(describe_transform(file)),
        "task": "classify",
        "names": f"{{{names}}}",
        "id2label": json.dumps(labels, ensure_ascii=False),
        "imgsz": json.dumps([file.eval_transform.size] * 2),
        "input": "image: RGB pixels (height, width, 3) uint8, upright, of any size",
        "output": "probabilities (K,), after the temperature if the model has one, and classes "
        "(K,) with their names in the same order",
    }
