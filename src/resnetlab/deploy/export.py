"""Export of a model to ONNX or torch.export, with metadata and a comparison with PyTorch."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnetlab.bundle.card import describe_transform
from resnetlab.data.photo_loader import LazyImage, load_batches
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.deploy.export_html import classifier_page
from resnetlab.deploy.inputs import find_images
from resnetlab.deploy.optional_imports import optional_import
from resnetlab.deploy.photo_graph import IMAGE, PROBABILITIES, add_photo_input, common_metadata
from resnetlab.deploy.predict import Classifier
from resnetlab.deploy.request import NUM_CHECK_IMAGES, check_export_format, too_few_images_error
from resnetlab.deploy.web_runtime import WebRuntime
from resnetlab.errors import first_line, input_error
from resnetlab.files import atomic_write
from resnetlab.messages import Notify, silent
from resnetlab.schema import encode
from resnetlab.training.photo_predictions import check_outputs

ImageKind = Literal["photographs", "generated images"]
InferenceFunction = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Function from images (N, C, H, W) to logits (N, K)."""

TOLERANCE = 1e-4
"""Maximum difference of an output, relative to max(1, largest output)."""
BATCH_SIZES = (1, 3, 8)
"""Batch sizes of the comparison.

Several sizes detect a graph with a fixed batch size (pytorch issue 157621).
"""
MAX_CHECK_PHOTOGRAPHS = 500
"""Largest number of photographs on which a file that takes photographs is compared."""
CHECK_SHAPES = (
    *product((48, 223, 256, 640, 1001), (33, 224, 427, 768)),
    (1500, 12),
    (9, 400),
)
"""Width and height of the generated images for a file that takes photographs."""
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


def export_photo_model(
    model: Classifier,
    out: Path,
    check_on: Path | None = None,
    notify: Notify = silent,
    web_runtime: WebRuntime | None = None,
) -> ExportCheck:
    """Export the model to the file `out`, as ONNX from a photograph to probabilities, or with a
    `web_runtime` as one page for a browser that contains this ONNX file.

    Raises InputError as `onnx_with_preprocessing` does.
    """
    raw, check = onnx_with_preprocessing(model, check_on, notify)
    data = classifier_page(model.file, raw, web_runtime).encode() if web_runtime else raw
    with atomic_write(out, "wb") as file:
        file.write(data)
    return check


def export(
    model: Classifier,
    export_format: str,
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
    check_export_format(model.file, export_format)
    images, kind = _check_images(model, check_on)
    write, read = (
        (_write_onnx, _read_onnx) if export_format == "onnx" else (_write_program, _read_program)
    )
    example = model.preprocess(images[:2])
    try:
        with _suppress_output():
            notify(
                f"writing {model.file.name} as {export_format}: tracing the network takes "
                "some seconds"
            )
            raw = write(model, example)
            notify(f"comparing it with PyTorch on {len(images)} {kind}")
            largest = _compare(model, read(raw), images)
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        message = (
            f"cannot be written as {export_format}: "
            f"{(str(error).strip().splitlines() or ['?'])[0][:200]}"
        )
        raise input_error(
            model.file.name, message, "choose another network, or the other format"
        ) from None
    _check_difference(model, export_format, largest)
    with atomic_write(out, "wb") as file:
        file.write(raw)
    return ExportCheck(len(images), kind, largest, ", ".join(map(str, BATCH_SIZES)))


def _check_difference(model: Classifier, export_format: str, largest: float) -> None:
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


def onnx_with_preprocessing(
    model: Classifier, check_on: Path | None = None, notify: Notify = silent
) -> tuple[bytes, ExportCheck]:
    """Return an ONNX file from a photograph of any size to probabilities, after a comparison.

    The input is `image`, RGB pixels (H, W, 3) uint8; the outputs are `probabilities` (K,) and
    `classes` (K,). onnxruntime reads the bytes of the file and must name the same class as
    `predict` for each photograph in `check_on`, or for each of several generated images of many
    shapes.

    Raises:
        InputError: A class differs, the network cannot be traced, or the model takes images of
            any shape.
    """
    check_export_format(model.file, "onnx")
    pixels, _ = _check_images(model, None)
    with _suppress_output():
        notify(f"writing {model.file.name} as onnx: tracing the network takes some seconds")
        try:
            proto = _onnx_proto(model, model.preprocess(pixels[:2]))
        except (RuntimeError, torch.onnx.OnnxExporterError) as error:
            message = f"cannot be written as onnx: {first_line(error)}"
            raise input_error(model.file.name, message, "choose another network") from None
    largest = _compare(model, _read_onnx(proto.SerializeToString()), pixels)
    _check_difference(model, "onnx", largest)
    add_photo_input(proto, model.file)
    onnx = optional_import("onnx", "export")
    onnx.helper.set_model_props(proto, metadata(model) | common_metadata(model.file))
    onnx.checker.check_model(proto)
    raw: bytes = proto.SerializeToString()
    photographs, kind = _photographs(check_on)
    notify(f"comparing it with predict on {len(photographs)} {kind}")
    probability = _compare_photographs(model, raw, photographs)
    return raw, ExportCheck(len(photographs), kind, largest, "1", probability)


def _photographs(folder: Path | None) -> tuple[list[LazyImage], ImageKind]:
    """Return the photographs in a folder, at most `MAX_CHECK_PHOTOGRAPHS`, or generated images."""
    if folder is not None:
        return find_images([folder])[0][:MAX_CHECK_PHOTOGRAPHS], "photographs"
    images = list(generate_images(CHECK_SHAPES))
    return [
        LazyImage(f"generated image {number}", partial(Image.Image.copy, image))
        for number, image in enumerate(images)
    ], "generated images"


def _compare_photographs(model: Classifier, raw: bytes, photographs: list[LazyImage]) -> float:
    """Return the largest difference of a probability between the file and the model.

    Raises InputError if a class differs or no photograph can be decoded.
    """
    infer = read_photo_onnx(raw)
    differences: list[float] = []
    other_class: list[str] = []
    for prediction in model.predict_images(photographs):
        if prediction.probabilities is None:
            continue
        image = prediction.image.load().convert("RGB")
        theirs = infer(np.asarray(image))
        differences.append(float(np.abs(theirs - prediction.probabilities).max()))
        if theirs.argmax() != prediction.probabilities.astype(np.float32).argmax():
            other_class.append(prediction.image.name)
    if not differences:
        raise too_few_images_error(Path(photographs[0].name if photographs else "."), 0)
    if other_class:
        message = (
            f"the file names another class than predict for {len(other_class)} of "
            f"{len(differences)} images (first: {other_class[0]}); nothing was written"
        )
        fix = "export without --with-preprocessing, and preprocess as its metadata say"
        raise input_error(model.file.name, message, fix)
    return max(differences)


def read_photo_onnx(raw: bytes) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return the function of a file that takes photographs: (H, W, 3) to probabilities (K,)."""
    runtime = optional_import("onnxruntime", "export")
    session = runtime.InferenceSession(raw, providers=["CPUExecutionProvider"])

    def infer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return session.run([PROBABILITIES], {IMAGE: pixels})[0]  # type: ignore[no-any-return]

    return infer


def metadata(model: Classifier) -> dict[str, str]:
    """Return the metadata that a program needs to use the file, as strings by name."""
    file = model.file
    return {
        "name": file.name,
        "classes": json.dumps(file.classes, ensure_ascii=False),
        "preprocessing": describe_transform(file),
        "eval_transform": json.dumps(encode(file.eval_transform)),
        "license": str(file.license),
        "non_commercial": json.dumps(file.license.non_commercial),
        "caveats": json.dumps(file.caveats, ensure_ascii=False),
        "weights_sha256": file.weights_sha256,
        "output": "logits; softmax gives probabilities",
        "made_by": "resnetlab export",
    }


def _check_images(
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
    draw = np.random.default_rng(0)
    for width, height in shapes:
        rows, columns = np.mgrid[0:height, 0:width] / 40
        waves = [
            np.sin(
                draw.uniform(0.2, 3) * rows + draw.uniform(0.2, 3) * columns + draw.uniform(0, 6)
            )
            for _ in "rgb"
        ]
        noise = draw.normal(0, 0.1, (height, width, 3))
        yield Image.fromarray(
            ((np.stack(waves, 2) + noise) * 100 + 128).clip(0, 255).astype(np.uint8)
        )


def _compare(model: Classifier, exported: InferenceFunction, pixels: NDArray[np.uint8]) -> float:
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


def _write_onnx(model: Classifier, example: Tensor) -> bytes:
    proto = _onnx_proto(model, example)
    raw: bytes = proto.SerializeToString()
    return raw


def _onnx_proto(model: Classifier, example: Tensor) -> Any:
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


def _read_onnx(raw: bytes) -> InferenceFunction:
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
def _suppress_output() -> Iterator[None]:
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
