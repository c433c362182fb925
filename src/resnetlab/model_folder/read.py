"""Description of the model in a folder, read without its weights, so that errors come before the
import of torch.

A model can be read from a model folder, the folder of a finished run, or the output of
`import-weights`. The last two have the description in the metadata of `weights.safetensors`, which
is also the name of the weights in older model folders. Free of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnetlab.errors import InputError, input_error
from resnetlab.files import MAX_GENERATED_BYTES, json_sha256, read_json, sha256
from resnetlab.model_folder.model_file import MODEL_FILE, OLD_WEIGHTS_FILE, WEIGHTS_FILE, ModelFile
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.configs.external import record_origin
from resnetlab.models.tensorfile import read_metadata
from resnetlab.schema import check_schema, decode

PENDING_FILE = ".model.json.next"
"""Name of the model.json of an unfinished save.

It becomes valid once the new weights are in place.
"""

RUN_PRECISION = "run_precision"
"""Key of the provenance with the precision in which a run evaluated itself."""

EXPECTED_FOLDER = (
    "give a folder with model.json, of a finished run, or of `resnetlab import-weights`"
)


def read_model_file(folder: Path) -> ModelFile:
    """Read the description of the model in `folder`, without its weights.

    Raises InputError if there is none or it is damaged.
    """
    if (folder / MODEL_FILE).is_file():
        table = read_pending_table(folder) or read_json(folder / MODEL_FILE, MAX_GENERATED_BYTES)
        check_schema(table, str(folder / MODEL_FILE))
        if table.get("sha256") and table["sha256"] != description_sha256(table):
            fix = "restore it from a copy; if you changed it on purpose, remove its line sha256"
            raise input_error(str(folder / MODEL_FILE), "differs from its SHA-256", fix)
        file: ModelFile = decode(ModelFile, table, str(folder / MODEL_FILE))
        record_origin(file.model, str(folder / MODEL_FILE))
        return replace(file, model=without_weights_source(file.model, len(file.classes)))
    path = folder / OLD_WEIGHTS_FILE
    if (folder / "run.json").is_file() and not path.is_file():
        raise input_error(
            str(folder),
            "a run without weights",
            "give a run with the status trained or at chance",
        )
    if not path.is_file():
        raise input_error(str(folder), "contains no model", EXPECTED_FOLDER)
    return _describe_folder(folder, read_metadata(path))


def weights_path(folder: Path) -> Path:
    """Return the path of the weights of the model in `folder`, also if there are none."""
    path = folder / WEIGHTS_FILE
    has_description = (folder / MODEL_FILE).is_file() or (folder / PENDING_FILE).is_file()
    old = folder / OLD_WEIGHTS_FILE
    return path if has_description and (path.is_file() or not old.is_file()) else old


def description_sha256(table: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the fields of a model.json or confidence, without `sha256` itself."""
    return json_sha256({name: value for name, value in table.items() if name != "sha256"})


def read_pending_table(folder: Path) -> Any:
    """Return the model.json of a save interrupted after its weights were moved, or None."""
    if not (folder / PENDING_FILE).exists():
        return None
    # Also if another process finishes the save at this moment.
    with suppress(InputError, OSError, KeyError, TypeError):
        table = read_json(folder / PENDING_FILE, MAX_GENERATED_BYTES)
        if table["weights_sha256"] == sha256(weights_path(folder)):
            return table
    return None


def check_license(folder: Path, file: ModelFile, accept_license: bool) -> None:
    """Raise InputError if the license forbids commercial use and is not accepted."""
    if file.license.non_commercial and not accept_license:
        fix = "if your use is not commercial: --accept-license (in Python, accept_license=True)"
        raise input_error(
            str(folder), f"the license of the weights forbids commercial use: {file.license}", fix
        )


def _describe_folder(folder: Path, metadata: Mapping[str, Any]) -> ModelFile:
    """Build the description of a folder without model.json from the metadata of its weights."""
    where = str(folder / OLD_WEIGHTS_FILE)
    if "model" not in metadata:
        raise input_error(where, "does not name its network", EXPECTED_FOLDER)
    if "normalize" in metadata:
        message = (
            f"a network whose pixels are normalized by {metadata['normalize']}, which model.json "
            "cannot describe"
        )
        raise input_error(where, message, 'train it with recipe.normalize = "train"')
    resize = (
        {"crop_mode": "crop", "resize": metadata["resize"]}
        if "resize" in metadata
        else {"crop_mode": "square"}
    )
    transform_table = resize | {name: metadata.get(name) for name in ("mean", "std")}
    transform_table |= {"size": metadata.get("side"), "channels": metadata.get("channels", 3)}
    result = read_json(folder / "result.json") if (folder / "result.json").is_file() else {}
    origin = {
        key: metadata[key] for key in ("run", "imported_from", "imported_sha256") if key in metadata
    }
    table = {
        "name": folder.resolve().name,
        "model": metadata["model"],
        "classes": metadata.get("classes"),
        "eval_transform": metadata.get("eval_transform", transform_table),
        "caveats": metadata.get("caveats", []),
        "license": {"name": metadata.get("license", "")},
        "weights_sha256": result.get("weights_sha256", "") or sha256(folder / OLD_WEIGHTS_FILE),
        "provenance": origin,
    }
    if precision := _run_precision(folder):
        table["provenance"] = origin | {RUN_PRECISION: precision}
    file: ModelFile = decode(ModelFile, table, where)
    record_origin(file.model, where)
    return replace(file, model=without_weights_source(file.model, len(file.classes)))


def _run_precision(folder: Path) -> str:
    """Return the precision of the run in `folder`, or an empty text if it has none."""
    if not (folder / "run.json").is_file():
        return ""
    with suppress(InputError, KeyError, TypeError):
        return str(read_json(folder / "run.json")["run"]["numerics"]["precision"])
    return ""


def without_weights_source(model: ModelConfig, num_classes: int) -> ModelConfig:
    """Return the architecture alone, without the path and the metadata of pre-trained weights."""
    if not isinstance(model, ExternalConfig):
        return model
    kwargs = model.kwargs | ({"num_classes": num_classes} if "num_classes" in model.kwargs else {})
    return replace(
        model,
        kwargs=kwargs,
        weights="",
        sha256="",
        mean=(),
        std=(),
        class_names=(),
        license=None,
    )
