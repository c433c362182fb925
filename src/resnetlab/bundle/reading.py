"""What is known of the model in a folder, read without its weights, so that a mistake is told before torch is imported.

Beside model folders, the folder of a finished run can be read as a model, and what `import-weights` wrote. Their
`weights.safetensors` say in their own metadata what they are. Free of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnetlab.bundle.spec import FILE, SCHEMA, WEIGHTS, ModelFile
from resnetlab.codec import decode
from resnetlab.errors import InputError, mistake
from resnetlab.files import read_json, sha256
from resnetlab.models.spec import External, Model
from resnetlab.models.tensorfile import describe_weights

NEXT = ".model.json.next"
"""The model.json of a save that has begun: valid from the moment that its weights are in place."""

HERE = "a model's folder: one with model.json, a run's, or what `resnetlab import-weights` wrote"


def read_file(folder: Path) -> ModelFile:
    """What is known of the model in `folder`, without its weights. Raises InputError."""
    if (folder / FILE).is_file():
        table = next_table(folder) or read_json(folder / FILE)
        schema = table.get("schema") if isinstance(table, dict) else None
        if schema != SCHEMA:
            fix = "read it with the resnetlab that wrote it"
            raise mistake(str(folder / FILE), "another schema", fix, got=schema, allowed=str(SCHEMA))
        file: ModelFile = decode(ModelFile, table, str(folder / FILE))
        return file
    path = folder / WEIGHTS
    if (folder / "run.json").is_file() and not path.is_file():
        raise mistake(str(folder), "a run that keeps no weights", "give a run that ended as converged or dead")
    if not path.is_file():
        raise mistake(str(folder), "no model in it", HERE)
    return _described(folder, describe_weights(path))


def next_table(folder: Path) -> Any:
    """The model.json of a save that was interrupted after its weights were in place; None where there is none."""
    if not (folder / NEXT).exists():
        return None
    with suppress(InputError, OSError, KeyError, TypeError):  # also where the save goes on, and is done, just now
        table = read_json(folder / NEXT)
        if table["weights_sha256"] == sha256(folder / WEIGHTS):
            return table
    return None


def check_licence(folder: Path, file: ModelFile, accept_licence: bool) -> None:
    """Raise InputError when the licence rules out commercial use, unless it is accepted."""
    if file.licence.non_commercial and not accept_licence:
        fix = "if your use is not commercial: --accept-licence (in Python, accept_licence=True)"
        raise mistake(str(folder), f"the licence of the weights rules out commercial use: {file.licence}", fix)


def _described(folder: Path, held: Mapping[str, Any]) -> ModelFile:
    """The file of a folder that has none, from the words of its weights."""
    where = str(folder / WEIGHTS)
    if "model" not in held:
        raise mistake(where, "does not say of which network it is", HERE)
    if "normalise" in held:
        what = f"a network whose pixels are scaled by {held['normalise']}, which a model's folder cannot say"
        raise mistake(where, what, 'train it with recipe.normalise = "train"')
    resize = {"rule": "crop", "resize": held["resize"]} if "resize" in held else {"rule": "square"}
    view = resize | {name: held.get(name) for name in ("mean", "deviation")}
    view |= {"size": held.get("side"), "channels": held.get("channels", 3)}
    result = read_json(folder / "result.json") if (folder / "result.json").is_file() else {}
    named = {key: held[key] for key in ("run", "imported_from", "imported_sha256") if key in held}
    table = {
        "name": folder.resolve().name, "model": held["model"], "classes": held.get("classes"),
        "view": held.get("view", view), "caveats": held.get("caveats", []),
        "licence": {"name": held.get("licence", "")},
        "weights_sha256": result.get("weights_sha256", ""), "provenance": named,
    }  # fmt: skip
    file: ModelFile = decode(ModelFile, table, where)
    return replace(file, model=portable(file.model, len(file.classes)))


def portable(model: Model, classes: int) -> Model:
    """The architecture alone: weights, and what is known of them, lie in the folder."""
    if not isinstance(model, External):
        return model
    kwargs = model.kwargs | ({"num_classes": classes} if "num_classes" in model.kwargs else {})
    return replace(model, kwargs=kwargs, weights="", sha256="", mean=(), deviation=(), class_names=(), licence=None)
