"""Front matter of a model card: the lines of YAML from which the Hugging Face Hub reads license,
library, task, tags and metrics. Free of torch.
"""

from __future__ import annotations

import json
import re
from typing import Any

from resnetlab.model_folder.model_file import License, Metric, ModelFile
from resnetlab.model_folder.timm_folder import timm_architecture

HUB_DATASETS = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "svhn": "ufldl-stanford/svhn",
}
"""Names of data sets here and on the Hub."""

_HUB_LICENSES = re.compile(
    r"apache-2\.0|mit|bsd(-[23]-clause(-clear)?)?|isc|zlib|unlicense|cc0-1\.0"
    r"|cc-by(-nc)?(-sa|-nd)?-[234]\.[05]|[al]?gpl-[23]\.[01]|mpl-2\.0|apple-(ascl|amlr)|gemma"
    r"|openrail(\+\+)?"
)
"""Identifiers of licenses that the Hub knows; any other license has a name of its own there."""


_ACCURACY, _ERROR = "top1_accuracy_pct", "top1_error_pct"
"""Metrics of model.json from which the Hub's metric `accuracy` follows."""


def front_matter(file: ModelFile) -> str:
    """Return the front matter, between lines of `---`. Each line is one field as JSON."""
    fields: dict[str, Any] = {
        **_license_fields(file.license),
        "library_name": "timm" if timm_architecture(file.model) else "resnetlab",
        "pipeline_tag": "image-classification",
        "tags": _tags(file),
    }
    names = dict.fromkeys(metric.data for metric in file.metrics)
    if datasets := [HUB_DATASETS[name] for name in names if name in HUB_DATASETS]:
        fields["datasets"] = datasets
    if results := [
        _result(metric) for metric in file.metrics if metric.name in (_ACCURACY, _ERROR)
    ]:
        fields["model-index"] = [{"name": file.name, "results": results}]
    lines = [f"{name}: {_to_yaml(value)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---", "", ""])


def _license_fields(weights_license: License) -> dict[str, str]:
    """Return the license by the Hub's identifier, else as `other` with its name."""
    name = weights_license.name.lower()
    if not name:
        return {"license": "unknown"}
    if _HUB_LICENSES.fullmatch(name):
        return {"license": name}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", name).strip("-")}


def _tags(file: ModelFile) -> list[str]:
    libraries = ["timm"] if timm_architecture(file.model) else []
    return ["image-classification", "pytorch", *libraries, "resnetlab"]


def _result(metric: Metric) -> dict[str, Any]:
    accuracy = 100 - metric.value if metric.name == _ERROR else metric.value
    return {
        "task": {"type": "image-classification"},
        "dataset": {
            "name": metric.data,
            "type": HUB_DATASETS.get(metric.data, metric.data),
            "split": metric.split,
        },
        "metrics": [
            {
                "type": "accuracy",
                "name": f"top-1 accuracy in percent, {metric.images} images",
                "value": round(accuracy, 4),
            }
        ],
    }


def _to_yaml(value: Any) -> str:
    """Return a value as JSON in one line, which is YAML too; markup and controls are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(
        character if character.isprintable() and character not in "<>&" else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
