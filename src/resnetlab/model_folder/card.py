"""Model card of a model folder, from model.json alone. Free of torch."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator

from resnetlab.messages import format_count
from resnetlab.model_folder.front_matter import front_matter
from resnetlab.model_folder.model_file import Metric, ModelFile
from resnetlab.model_folder.timm_folder import timm_architecture, transform_difference
from resnetlab.schema import encode
from resnetlab.translation import Message

MAX_LISTED_CLASSES = 120

_TERMS = {
    "allowed": "",
    "forbidden": " **No commercial use.**",
    "unknown": " Its terms are not known here: look them up before you publish or sell.",
}


def model_card(file: ModelFile) -> str:
    """Return the model card in Markdown, with front matter as the Hugging Face Hub reads it.

    All its numbers come from model.json.
    """
    return front_matter(file) + "\n\n".join(_sections(file)) + "\n"


def describe_transform(file: ModelFile) -> Message:
    """Describe the evaluation transform in a sentence."""
    transform = file.eval_transform
    match transform.crop_mode:
        case "crop":
            crop = Message(
                "the shorter side is resized to {side} pixels, then the center square of {size} "
                "pixels is cropped",
                {"side": transform.shorter_side, "size": transform.size},
            )
        case "whole":
            crop = Message(
                "the longer side is resized to {side} pixels, without a crop",
                {"side": transform.size},
            )
        case "square":
            crop = Message(
                "the largest center square is resized to {width} x {height} pixels",
                {"width": transform.size, "height": transform.size},
            )
    mean, deviation = (
        ", ".join(f"{value:.4g}" for value in values) for values in (transform.mean, transform.std)
    )
    return Message(
        "Upright, {color}; {crop} ({interpolation}); (x / 255 - [{mean}]) / [{deviation}].",
        {
            "color": Message("gray") if transform.channels == 1 else "RGB",
            "crop": crop,
            "interpolation": transform.interpolation,
            "mean": mean,
            "deviation": deviation,
        },
    )


def _sections(file: ModelFile) -> Iterator[str]:
    yield f"# {_escape(file.name)}"
    yield (
        f"An image classifier: {_escape(file.model.title)}, {file.parameters:,} parameters, "
        f"{format_count(len(file.classes), 'class')}. Written by resnetlab; `model.json` contains "
        "the same metadata as data."
    )
    yield "## Use"
    yield "\n".join(
        [
            "```sh",
            "resnetlab predict . photo.jpg",
            "resnetlab evaluate . photos",
            "resnetlab serve .",
            "```",
        ]
    )
    yield (
        '```python\nimport resnetlab as rl\n\nprint(rl.load_model(".").predict(["photo.jpg"]))\n```'
    )
    yield f"Preprocessing of a photograph: {describe_transform(file)}"
    yield "### In timm"
    yield from _timm_section(file)
    yield "## License"
    source = f" Source: {_escape(file.license.source)}." if file.license.source else ""
    yield f"{_escape(str(file.license))}.{source}{_TERMS[file.license.commercial_use]}"
    if file.caveats:
        yield "## Caveats"
        yield "\n".join(f"- {_escape(line)}" for line in file.caveats)
    if file.metrics:
        yield "## Metrics"
        yield "\n".join(_metrics_table(file.metrics))
    yield "## Classes"
    names = ", ".join(_escape(name) for name in file.classes[:MAX_LISTED_CLASSES])
    yield names + (
        f" and {len(file.classes) - MAX_LISTED_CLASSES:,} more"
        if len(file.classes) > MAX_LISTED_CLASSES
        else ""
    )
    yield "## Provenance"
    model = encode(file)["model"] | {"weights_sha256": file.weights_sha256}
    yield f"```json\n{json.dumps(model, indent=1)}\n```"
    if file.provenance:
        yield "\n".join(
            f"- {_escape(name)}: {_escape(str(value))}" for name, value in file.provenance.items()
        )


def _timm_section(file: ModelFile) -> Iterator[str]:
    if not timm_architecture(file.model):
        yield (
            f"timm cannot load this folder: it has no network with the tensors of "
            f"{_escape(file.model.title)}. resnetlab loads it, and onnxruntime the file that "
            "`resnetlab export . --to onnx` writes."
        )
        return
    yield "\n".join(
        [
            "```python",
            "import timm",
            "",
            'model = timm.create_model("local-dir:.", pretrained=True).eval()',
            "settings = timm.data.resolve_model_data_config(model)",
            "transform = timm.data.create_transform(**settings, is_training=False)",
            "```",
        ]
    )
    difference = transform_difference(file.eval_transform)
    yield (
        "The folder is given as `local-dir:FOLDER`, and on the Hugging Face Hub as "
        f"`hf-hub:OWNER/NAME`. {difference}".rstrip()
    )


def _metrics_table(metrics: tuple[Metric, ...]) -> Iterator[str]:
    yield "| metric | value | 95 % interval over images | data | split | images |"
    yield "| --- | ---: | ---: | --- | --- | ---: |"
    for metric in metrics:
        span = (
            f"[{metric.low:.4g}, {metric.high:.4g}]"
            if metric.low is not None and metric.high is not None
            else "–"
        )
        yield (
            f"| {_escape(metric.name)} | {metric.value:.4g} | {span} | {_escape(metric.data)} | "
            f"{metric.split} | {metric.images:,} |"
        )


def _escape(text: str) -> str:
    """Escape Markdown and HTML in a text, since a class may have any name."""
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
