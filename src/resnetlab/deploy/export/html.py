"""Export of a model as one page that classifies photographs in a browser, without a network."""

from __future__ import annotations

import base64
import gzip

from resnetlab.deploy.export.web_runtime import WebRuntime
from resnetlab.deploy.html_templates import mark_safe, read_template, template_environment
from resnetlab.model_folder.card import describe_transform
from resnetlab.model_folder.model_file import ModelFile


def classifier_page(file: ModelFile, network: bytes, runtime: WebRuntime) -> str:
    """Return the page as HTML: it contains the network and its runtime and loads nothing.

    Args:
        file: Description of the model.
        network: ONNX file from a photograph to probabilities, of `onnx_with_preprocessing`.
        runtime: ONNX Runtime Web.
    """
    return (
        template_environment()
        .get_template("classifier.html")
        .render(
            file=file,
            transform_text=describe_transform(file),
            style=mark_safe(read_template("page.css")),
            script=mark_safe(read_template("classifier.js")),
            runtime=_pack(runtime.script),
            wasm=_pack(runtime.wasm),
            network=_pack(network),
            runtime_version=runtime.version,
        )
    )


def _pack(data: bytes) -> str:
    """Return base64 of the compressed bytes. The same bytes give the same text."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
