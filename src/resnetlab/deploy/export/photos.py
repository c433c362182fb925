"""Export of a model as a file that takes photographs: ONNX with its preprocessing, or a page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resnetlab.data.photo_loader import LazyImage
from resnetlab.deploy.checks import check_exportable, too_few_images_error
from resnetlab.deploy.export.html import classifier_page
from resnetlab.deploy.export.network import (
    ExportCheck,
    ImageKind,
    check_difference,
    compare_logits,
    comparison_images,
    generate_images,
    metadata,
    onnx_proto,
    read_onnx,
    suppress_output,
)
from resnetlab.deploy.export.photo_graph import (
    IMAGE,
    PROBABILITIES,
    add_photo_input,
    common_metadata,
)
from resnetlab.deploy.export.web_runtime import WebRuntime
from resnetlab.deploy.inputs import find_images
from resnetlab.deploy.optional_imports import optional_import
from resnetlab.deploy.predict import Classifier
from resnetlab.errors import first_line, input_error
from resnetlab.files import atomic_write
from resnetlab.messages import Notify, silent

MAX_CHECK_PHOTOGRAPHS = 500
"""Largest number of photographs on which a file that takes photographs is compared."""
CHECK_SHAPES = (
    *product((48, 223, 256, 640, 1001), (33, 224, 427, 768)),
    (1500, 12),
    (9, 400),
)
"""Width and height of the generated images for a file that takes photographs."""


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


def onnx_with_preprocessing(
    model: Classifier, check_on: Path | None = None, notify: Notify = silent
) -> tuple[bytes, ExportCheck]:
    """Return an ONNX file from a photograph of any size to probabilities, after a comparison.

    The input is `image`, RGB pixels (H, W, 3) uint8; the outputs are `probabilities` (K,) and
    `classes` (K,). The temperature of the model, if it has one, is part of the file. onnxruntime
    reads the bytes of the file and must name the same class as `predict` for each photograph in
    `check_on`, or for each of several generated images of many shapes.

    Raises:
        InputError: A class differs, the network cannot be traced, or the model takes images of
            any shape.
    """
    check_exportable(model.file)
    pixels, _ = comparison_images(model, None)
    with suppress_output():
        notify(f"writing {model.file.name} as onnx: tracing the network takes some seconds")
        try:
            proto = onnx_proto(model, model.preprocess(pixels[:2]))
        except (RuntimeError, torch.onnx.OnnxExporterError) as error:
            message = f"cannot be written as onnx: {first_line(error)}"
            raise input_error(model.file.name, message, "choose another network") from None
    largest = compare_logits(model, read_onnx(proto.SerializeToString()), pixels)
    check_difference(model, "onnx", largest)
    confidence = model.confidence
    add_photo_input(proto, model.file, confidence.temperature if confidence else 1.0)
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
