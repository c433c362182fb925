"""A model as a file for other programs: held against PyTorch before it is kept, with all that is needed to use it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnetlab.bundle.card import view_words
from resnetlab.codec import encode
from resnetlab.data.sources.images import BadImageError, quiet
from resnetlab.data.view import show
from resnetlab.deploy.asked import CHECKED, check_form, too_few
from resnetlab.deploy.extras import need
from resnetlab.deploy.pictures import find_pictures
from resnetlab.deploy.predict import Classifier
from resnetlab.errors import mistake
from resnetlab.files import atomic

Kind = Literal["photographs", "generated pictures"]
Say = Callable[[str], None]
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Images (N, C, H, W) to logits (N, K)."""

TOLERANCE = 1e-4
"""Between an output here and there, of the larger of 1 and the largest output."""
BATCHES = (1, 3, 8)
"""A batch of one has been frozen into graphs, and more than one size shows it (pytorch issue 157621)."""
ONNX_BYTES = 2**31
"""No protobuf is larger, and weights in a second file are a path to follow."""


@dataclass(frozen=True)
class Parity:
    """How the file was held against PyTorch."""

    pictures: int
    kind: Kind
    largest: float
    """The largest difference of an output, of the larger of 1 and the largest output."""
    batches: str


def export(
    model: Classifier, form: str, out: Path, check_on: Path | None = None, say: Say = lambda _: None
) -> Parity:  # fmt: skip
    """Write the model as `out`: (N, C, H, W) fp32, any N, to logits (N, K).

    Classes, preprocessing, licence and provenance stand in the file's metadata. It is read back and held against
    PyTorch on photographs of `check_on`, or on generated pictures, and is kept when they agree to 1e-4. Raises
    InputError when they do not, when the network cannot be traced, or when the model sees whole photographs.
    """
    check_form(model.file, form)
    shown, kind = _shown(model, check_on)
    write, read = (_write_onnx, _read_onnx) if form == "onnx" else (_write_program, _read_program)
    example = model.images(shown[:2])
    try:
        with _quietly():
            say(f"writing {model.file.name} as {form}: tracing the network takes some seconds")
            raw = write(model, example)
            say(f"comparing it with PyTorch on {len(shown)} {kind}")
            largest = _compare(model, read(raw), shown)
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        what = f"cannot be written as {form}: {(str(error).strip().splitlines() or ['?'])[0][:200]}"
        raise mistake(model.file.name, what, "another network, or the other form") from None
    if not largest <= TOLERANCE:  # not a number is no agreement either
        what = f"the {form} differs from PyTorch by {largest:.1e}; it was not kept"
        raise mistake(model.file.name, what, "another version of torch or onnxruntime", allowed=f"{TOLERANCE:g}")
    with atomic(out, "wb") as file:
        file.write(raw)
    return Parity(len(shown), kind, largest, ", ".join(map(str, BATCHES)))


def metadata(model: Classifier) -> dict[str, str]:
    """What a program must know to use the file, as text by name."""
    file = model.file
    return {
        "name": file.name, "classes": json.dumps(file.classes, ensure_ascii=False),
        "preprocessing": view_words(file), "view": json.dumps(encode(file.view)),
        "licence": str(file.licence), "non_commercial": json.dumps(file.licence.non_commercial),
        "caveats": json.dumps(file.caveats, ensure_ascii=False), "weights_sha256": file.weights_sha256,
        "output": "logits; softmax gives probabilities", "made_by": "resnetlab export",
    }  # fmt: skip


def _shown(
    model: Classifier, folder: Path | None
) -> tuple[NDArray[np.uint8], Literal["photographs", "generated pictures"]]:
    """Eight pictures (N, H, W, C) as the network is shown them."""
    view = model.file.view
    if folder is None:
        return np.stack([show(image, view) for image in _generated()]), "generated pictures"
    found = []
    with quiet():
        for one in islice(find_pictures([folder])[0], 10 * CHECKED):
            with contextlib.suppress(BadImageError):
                found.append(show(one.load(), view))
            if len(found) == CHECKED:
                return np.stack(found), "photographs"
    raise too_few(folder, len(found))


def _generated() -> Iterator[Image.Image]:
    """Pictures with edges, textures and colours, each its own; never twice the same values in a row."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[0:240, 0:320] / 40
    for _ in range(CHECKED):
        waves = [
            np.sin(draw.uniform(0.2, 3) * rows + draw.uniform(0.2, 3) * columns + draw.uniform(0, 6)) for _ in "rgb"
        ]
        noise = draw.normal(0, 0.1, (240, 320, 3))
        yield Image.fromarray(((np.stack(waves, 2) + noise) * 100 + 128).clip(0, 255).astype(np.uint8))


def _compare(model: Classifier, other: Run, shown: NDArray[np.uint8]) -> float:
    """The largest difference over batches of several sizes, of the larger of 1 and the largest output."""
    images = model.images(shown).contiguous()
    with torch.inference_mode():
        here = model.module(images).numpy()
    differences = [
        np.abs(other(images[start : start + size].numpy()) - here[start : start + size]).max()
        for size in BATCHES
        for start in range(0, len(images), size)
    ]
    return float(np.max(differences) / max(1.0, float(np.abs(here).max())))


def _dynamic() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


def _write_onnx(model: Classifier, example: Tensor) -> bytes:
    need("onnxscript", "export")
    onnx = need("onnx", "export")
    if 4 * model.file.parameters >= ONNX_BYTES:
        what = f"{model.file.parameters:,} parameters are more than one ONNX file holds"
        raise mistake(model.file.name, what, "--to torch-export")
    program = torch.onnx.export(
        model.module, (example.contiguous(),), dynamo=True, dynamic_shapes=_dynamic(), input_names=["images"],
        output_names=["logits"], verbose=False,
    )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, metadata(model))
    proto.doc_string = f"{model.file.name}. {view_words(model.file)} Licence: {model.file.licence}."
    onnx.checker.check_model(proto)
    raw: bytes = proto.SerializeToString()
    return raw


def _read_onnx(raw: bytes) -> Run:
    runtime = need("onnxruntime", "export")
    session = runtime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})[0]


def _write_program(model: Classifier, example: Tensor) -> bytes:
    program = torch.export.export(model.module, (example.contiguous(),), dynamic_shapes=_dynamic(), strict=False)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"model.json": json.dumps(encode(model.file)), **metadata(model)})
    return buffer.getvalue()


def _read_program(raw: bytes) -> Run:
    program = torch.export.load(io.BytesIO(raw)).module()

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: Tensor = program(torch.from_numpy(images))
            return logits.numpy()

    return run


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what exporters tell of themselves."""
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
