"""Export to OpenVINO: a description of the network (.xml) and its weights (.bin), from ONNX."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnetlab.deploy.optional_imports import optional_import

WEIGHTS_SUFFIX, NETWORK_SUFFIX = ".bin", ".xml"

PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
"""Precision of the computation; OpenVINO takes bf16 by default where the processor has it."""


def write_openvino(proto: Any) -> dict[str, bytes]:
    """Return the bytes of the two files of an ONNX model, by suffix; the weights stay fp32.

    The metadata of the ONNX model become the section `framework` of the runtime information.
    """
    openvino = optional_import("openvino", "openvino")
    network = openvino.Core().read_model(proto.SerializeToString())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"network{NETWORK_SUFFIX}"
        openvino.save_model(network, path, compress_to_fp16=False)
        # The first file is replaced last: an interruption leaves no new network without weights.
        return {
            suffix: path.with_suffix(suffix).read_bytes()
            for suffix in (NETWORK_SUFFIX, WEIGHTS_SUFFIX)
        }


def read_openvino(
    files: Mapping[str, bytes],
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the function from images (N, C, H, W) to logits (N, K) of the bytes of both files."""
    openvino = optional_import("openvino", "openvino")
    core = openvino.Core()
    network = core.read_model(files[NETWORK_SUFFIX], files[WEIGHTS_SUFFIX])
    compiled = core.compile_model(network, "CPU", PRECISION)

    def infer(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = compiled(images)[0]
        return logits.copy()  # the memory of the result is used again

    return infer
