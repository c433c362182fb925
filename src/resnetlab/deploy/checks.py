"""Checks of a command before torch is imported: model folder, classes, augmentation, format.

Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from resnetlab.data.class_names import (
    class_indices,
    match_names,
    suggest_lookalike,
    unnamed_classes,
)
from resnetlab.data.paths import is_folder
from resnetlab.data.photo_loader import Tta
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.deploy.inputs import EvaluationImages, find_images
from resnetlab.errors import InputError, Problem, input_error, suggest
from resnetlab.messages import format_count
from resnetlab.model_folder.confidence import MIN_VALIDATION_IMAGES, Confidence
from resnetlab.model_folder.model_file import ModelFile
from resnetlab.model_folder.read import check_license, read_model_file
from resnetlab.models.configs.external import allow_code, check_code

ExportFormat = Literal["onnx", "torch-export", "openvino", "html"]
"""Format of an exported model."""

EXPORT_SUFFIXES: dict[ExportFormat, str] = {
    "onnx": ".onnx",
    "torch-export": ".pt2",
    "openvino": ".xml",
    "html": ".html",
}
"""Suffix of a file of each format."""

NUM_CHECK_IMAGES = 8
"""Number of images for the comparison of an exported file with PyTorch."""


def read_accepted_model(
    folder: Path, accept_license: bool, tta: Tta = "none", trust_code: bool = False
) -> ModelFile:
    """Read the description of the model in `folder`. `trust_code` consents to the code it names.

    Raises InputError if there is no model, its license or its code is not accepted, or it does not
    support `tta`.
    """
    file = read_model_file(folder)
    check_license(folder, file, accept_license)
    if trust_code:
        allow_code(file.model)
    check_code(file.model)
    check_tta(file.eval_transform, tta)
    return file


def check_tta(transform: EvalTransform, tta: Tta) -> None:
    """Raise InputError unless `tta` exists and suits `transform`."""
    if tta not in get_args(Tta):
        raise input_error(
            "--tta",
            "unknown test-time augmentation",
            "--tta flip",
            got=tta,
            allowed=", ".join(get_args(Tta)),
        )
    if tta == "ten-crop" and transform.crop_mode != "crop":
        raise input_error(
            "--tta",
            f"the model takes {transform.crop_mode} images, which have no corner crops",
            "--tta flip",
        )


def check_coverage(
    confidence: Confidence | None, missing: str, coverage: float, tta: Tta = "none"
) -> None:
    """Raise InputError unless the model can give prediction sets of this coverage.

    Args:
        confidence: Temperature, prediction sets and novelty of the model, or None without them.
        missing: Sentence about a model without them.
        coverage: Share of photographs whose set is to contain the right class.
        tta: Test-time augmentation of the predictions.
    """
    if not 0 < coverage < 1:
        message = "not a share between 0 and 1"
        raise input_error("--coverage", message, "--coverage 0.9", got=f"{coverage:g}")
    if confidence is None:
        fix = (
            f"leave --coverage out, or fine-tune again with at least {MIN_VALIDATION_IMAGES} "
            "validation photographs"
        )
        raise input_error("--coverage", missing, fix)
    if tta != "none":
        message = "the prediction sets were fitted without test-time augmentation"
        raise input_error("--coverage, --tta", message, "leave --tta out")
    confidence.thresholds(coverage)


def check_ood(confidence: Confidence | None, missing: str, tta: Tta = "none") -> None:
    """Raise InputError unless the model can recognize photographs of other things.

    The arguments are those of `check_coverage`.
    """
    if confidence is None:
        fix = (
            f"leave --ood out, or fine-tune again with at least {MIN_VALIDATION_IMAGES} validation "
            "photographs"
        )
        raise input_error("--ood", missing, fix)
    if tta != "none":
        message = "the distance to the training images was fitted without test-time augmentation"
        raise input_error("--ood, --tta", message, "leave --tta out")


def match_label(label: str, classes: Sequence[str]) -> str:
    """Return the class of the model that `label` names, or "" for "".

    Raises InputError if it names none.
    """
    matches = match_names([label], classes)
    if label and label not in matches:
        fix = suggest_class(label, classes) or "give a class of model.json"
        raise input_error(
            "--class", f"not one of the model's {len(classes):,} classes", fix, got=label
        )
    return matches.get(label, "")


def suggest_class(name: str, classes: Sequence[str]) -> str:
    """Suggest a class for a name: one that looks like it, with the difference, or a similar one."""
    return suggest_lookalike(name, classes) or suggest(name, classes)


def check_exportable(file: ModelFile) -> None:
    """Raise InputError if the network has no fixed shape of its input."""
    if file.eval_transform.crop_mode == "whole":
        fix = "choose a model that crops, or use predict or serve, which take every shape"
        raise input_error(
            file.name, "takes whole images, so that its input has no fixed shape", fix
        )


def check_export_options(
    export_format: ExportFormat, out: Path | None, with_preprocessing: bool, web_runtime: bool
) -> None:
    """Raise InputError for options of an export that do not go together."""
    if with_preprocessing and export_format in ("torch-export", "openvino"):
        message = f"an export to {export_format} takes normalized images only"
        raise input_error("--with-preprocessing", message, "--to onnx")
    if web_runtime and export_format != "html":
        raise input_error("--onnxruntime-web", "only a page contains it", "--to html")
    if export_format == "openvino" and out is not None and out.suffix != ".xml":
        message = "not a name that ends in .xml, by which OpenVINO finds the weights beside it"
        raise input_error("--out", message, "--out model.xml", got=out)


def check_export_images(folder: Path) -> None:
    """Raise InputError unless there is a folder with enough photographs for the check."""
    if not is_folder(folder):
        message = "not a folder" if folder.exists() else "no such folder"
        fix = "give a folder of photographs, or omit --check-on"
        raise input_error(str(folder), message, fix, field="--check-on")
    count = len(find_images([folder])[0])
    if count < NUM_CHECK_IMAGES:
        raise too_few_images_error(folder, count)


def too_few_images_error(folder: Path, count: int) -> InputError:
    """Return the error of a folder with too few photographs for the check of an export."""
    message = f"has {format_count(count, 'photograph')}; the comparison needs {NUM_CHECK_IMAGES}"
    return input_error(str(folder), message, "add photographs, or omit --check-on")


def match_classes(classes: Sequence[str], data: EvaluationImages) -> dict[str, int]:
    """Map each class of the data to its output. Names are compared in NFC and without case.

    Raises InputError with every class that the model lacks.
    """
    matches = match_names(data.labels, classes)
    missing = [name for name in dict.fromkeys(data.labels) if name not in matches]
    if missing and tuple(classes) == unnamed_classes(len(classes)):
        message = f"the model's {len(classes):,} outputs have no names, so no image can be scored"
        fix = "import its weights again with --classes and the names in the order of the outputs"
        raise input_error(data.name, message, fix)
    if missing:
        options = f"the model's {len(classes):,} classes"
        problems = [
            Problem(
                data.name,
                f'class "{name}" is not one of {options}',
                suggest_class(name, classes) or "rename its folder, or remove it",
            )
            for name in missing
        ]
        raise InputError(*problems)
    index_of = class_indices(classes)
    return {name: index_of[match] for name, match in matches.items()}
