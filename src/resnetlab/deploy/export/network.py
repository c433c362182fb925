"""Export of a model to ONNX, OpenVINO or torch.export, with a comparison with PyTorch."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnetlab.data.photo_loader import load_batches
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.deploy.checks import (
    NUM_CHECK_IMAGES,
    ExportFormat,
    check_exportable,
    too_few_images_error,
)
from resnetlab.deploy.inputs import find_images
from resnetlab.deploy.optional_imports import optional_import
from resnetlab.deploy.predict import Classifier
from resnetlab.errors import first_line, input_error
from resnetlab.files import atomic_write
from resnetlab.messages import Notify, silent
from resnetlab.model_folder.card import describe_transform
from resnetlab.models.photo_predictions import check_outputs
from resnetlab.schema import encode

ImageKind = Literal["photographs", "generated images"]
InferenceFunction = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Function from images (N, C, H, W) to logits (N, K)."""

TOLERANCE = 1e-4
"""Maximum difference of an output, relative to max(1, largest output)."""
BATCH_SIZES = (1, 3, 8)
"""Batch sizes of the comparison.

Several sizes detect a graph with a fixed batch size (pytorch issue 157621).
"""
ONNX_BYTES = 2**31
"""Maximum size of a protobuf file.

Weights in a second file are not supported, since they need a path.
"""


@dataclass(frozen=True)
class ExportCheck:
    """Result of the comparison of the exported file with PyTorch."""

    num_images: int
    image_kind: ImageKind
    max_difference: float
    """Largest difference of an output, relative to max(1, largest output)."""
    batch_sizes: str
    max_probability_difference: float | None = None
    """Largest difference of a probability, for a file that takes photographs."""


def export(
    model: Classifier,
    export_format: ExportFormat,
    out: Path,
    check_on: Path | None = None,
    notify: Notify = silent,
) -> ExportCheck:
    """Export the model to the file `out`: a function from fp32 images (N, C, H, W), for any N, to
    logits (N, K).

    The metadata of the file contain classes, preprocessing, license and provenance. The exported
    file is loaded and compared with PyTorch on the photographs in `check_on`, or on generated
    images. It is written only if they agree to 1e-4.

    Raises:
        InputError: The outputs differ, the network cannot be traced, or the model takes images of
            any shape.
    """
    check_exportable(model.file)
    images, kind = comparison_images(model, check_on)
    example = model.preprocess(images[:2])
    try:
        with suppress_output():
            notify(
                f"writing {model.file.name} as {export_format}: tracing the network takes "
                "some seconds"
            )
            files = _write_files(model, export_format, example)
            notify(f"comparing it with PyTorch on {len(images)} {kind}")
            largest = compare_logits(model, _read_files(export_format, files), images)
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        message = f"cannot be written as {export_format}: {first_line(error)}"
        raise input_error(
            model.file.name, message, "choose another network, or the other format"
        ) from None
    check_difference(model, export_format, largest)
    with contextlib.ExitStack() as stack:  # all files are complete before one is replaced
        for suffix, content in files.items():
            path = out.with_suffix(suffix) if suffix else out
            stack.enter_context(atomic_write(path, "wb")).write(content)
    return ExportCheck(len(images), kind, largest, ", ".join(map(str, BATCH_SIZES)))


def _write_files(
    model: Classifier, export_format: ExportFormat, example: Tensor
) -> dict[str, bytes]:
    """Return the bytes of each file of an export, by the suffix that replaces that of its name."""
    if export_format == "torch-export":
        return {"": _write_program(model, example)}
    if export_format == "openvino":
        optional_import("openvino", "openvino")  # before the network is traced
    proto = onnx_proto(model, example)
    if export_format == "onnx":
        return {"": proto.SerializeToString()}
    from resnetlab.deploy.export.openvino import write_openvino

    return write_openvino(proto)


def _read_files(export_format: ExportFormat, files: dict[str, bytes]) -> InferenceFunction:
    """Return the function of the files of an export."""
    if export_format == "openvino":
        from resnetlab.deploy.export.openvino import read_openvino

        return read_openvino(files)
    return read_onnx(files[""]) if export_format == "onnx" else _read_program(files[""])


def check_difference(model: Classifier, export_format: ExportFormat, largest: float) -> None:
    """Raise InputError if the largest difference of an output is above the tolerance."""
    if not largest <= TOLERANCE:  # also true for NaN
        message = (
            f"the {export_format} output differs from PyTorch by {largest:.1e}; nothing was written"
        )
        raise input_error(
            model.file.name,
            message,
            "install another version of torch or onnxruntime",
            allowed=f"{TOLERANCE:g}",
        )


def metadata(model: Classifier) -> dict[str, str]:
    """Return the metadata that a program needs to use the file, as strings by name."""
    file = model.file
    return {
        "name": file.name,
        "classes": json.dumps(file.classes, ensure_ascii=False),
        "preprocessing": str(describe_transform(file)),
        "eval_transform": json.dumps(encode(file.eval_transform)),
        "license": str(file.license),
        "non_commercial": json.dumps(file.license.non_commercial),
        "caveats": json.dumps(file.caveats, ensure_ascii=False),
        "weights_sha256": file.weights_sha256,
        "output": "logits; softmax gives probabilities",
        **temperature_metadata(model),
        "made_by": "resnetlab export",
    }


def temperature_metadata(model: Classifier) -> dict[str, str]:
    """Return the temperature of the model as metadata, or {} for a model without one."""
    if model.confidence is None:
        return {}
    return {
        "temperature": f"{model.confidence.temperature:.17g}",
        "output": "logits; softmax of logits divided by the temperature gives probabilities",
    }


def comparison_images(
    model: Classifier, folder: Path | None
) -> tuple[NDArray[np.uint8], Literal["photographs", "generated images"]]:
    """Return eight images (N, H, W, C) after the evaluation transform."""

    def transform(image: Image.Image) -> NDArray[np.uint8]:
        return apply_eval_transform(image, model.file.eval_transform)

    if folder is None:
        shapes = [(320, 240)] * NUM_CHECK_IMAGES
        return np.stack([transform(image) for image in generate_images(shapes)]), "generated images"
    images: list[NDArray[np.uint8]] = []
    candidates = find_images([folder])[0][: 10 * NUM_CHECK_IMAGES]
    for batch in load_batches(candidates, transform, NUM_CHECK_IMAGES):
        images += [loaded.pixels for loaded in batch if loaded.pixels is not None]
    if len(images) < NUM_CHECK_IMAGES:
        raise too_few_images_error(folder, len(images))
    return np.stack(images[:NUM_CHECK_IMAGES]), "photographs"


def generate_images(shapes: Sequence[tuple[int, int]]) -> Iterator[Image.Image]:
    """Generate a distinct image with edges, textures and colors for each (width, height)."""
    generator = np.random.default_rng(0)
    for width, height in shapes:
        rows, columns = np.mgrid[0:height, 0:width] / 40
        waves = [
            np.sin(
                generator.uniform(0.2, 3) * rows
                + generator.uniform(0.2, 3) * columns
                + generator.uniform(0, 6)
            )
            for _ in "rgb"
        ]
        noise = generator.normal(0, 0.1, (height, width, 3))
        yield Image.fromarray(
            ((np.stack(waves, 2) + noise) * 100 + 128).clip(0, 255).astype(np.uint8)
        )


def compare_logits(
    model: Classifier, exported: InferenceFunction, pixels: NDArray[np.uint8]
) -> float:
    """Return the largest difference over batch sizes, relative to max(1, largest output)."""
    images = model.preprocess(pixels).contiguous()
    with torch.inference_mode():
        logits = model.module(images)
    check_outputs(logits, model.file.name)
    expected = logits.numpy()
    differences = [
        np.abs(
            exported(images[start : start + size].numpy()) - expected[start : start + size]
        ).max()
        for size in BATCH_SIZES
        for start in range(0, len(images), size)
    ]
    return float(np.max(differences) / max(1.0, float(np.abs(expected).max())))


def _dynamic_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


def onnx_proto(model: Classifier, example: Tensor) -> Any:
    """Return the network as an ONNX model from images (N, C, H, W) to logits (N, K).

    Raises InputError if it is too large for one file.
    """
    optional_import("onnxscript", "export")
    onnx = optional_import("onnx", "export")
    if 4 * model.file.parameters >= ONNX_BYTES:
        message = f"{model.file.parameters:,} parameters do not fit in one ONNX file"
        raise input_error(model.file.name, message, "--to torch-export")
    program = torch.onnx.export(
        model.module,
        (example.contiguous(),),
        dynamo=True,
        dynamic_shapes=_dynamic_batch(),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, metadata(model))
    proto.doc_string = (
        f"{model.file.name}. {describe_transform(model.file)} License: {model.file.license}."
    )
    onnx.checker.check_model(proto)
    return proto


def read_onnx(raw: bytes) -> InferenceFunction:
    """Return the function of the bytes of an ONNX file."""
    runtime = optional_import("onnxruntime", "export")
    session = runtime.InferenceSession(raw, providers=["CPUExecutionProvider"])

    def infer(images: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return session.run(["logits"], {"images": images})[0]  # type: ignore[no-any-return]
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise RuntimeError(str(error)) from error

    return infer


def _write_program(model: Classifier, example: Tensor) -> bytes:
    program = torch.export.export(
        model.module, (example.contiguous(),), dynamic_shapes=_dynamic_batch(), strict=False
    )
    buffer = io.BytesIO()
    torch.export.save(
        program,
        buffer,
        extra_files={"model.json": json.dumps(encode(model.file)), **metadata(model)},
    )
    return buffer.getvalue()


def _read_program(raw: bytes) -> InferenceFunction:
    program = torch.export.load(io.BytesIO(raw)).module()

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: Tensor = program(torch.from_numpy(images))
            return logits.numpy()

    return run


@contextlib.contextmanager
def suppress_output() -> Iterator[None]:
    """Suppress warnings and log messages of the exporters in the `with` block."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
