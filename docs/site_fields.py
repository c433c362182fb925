"""Reference pages of the fields of a configuration and of the file formats, from the code."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
import sys
import types
import typing
from typing import Any

from resnetlab import schema
from resnetlab.analysis import study_data
from resnetlab.analysis.ensembles import EnsembleRow
from resnetlab.analysis.study_data import CurvePoint, RunRow
from resnetlab.data import config as data
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.imported_runs import declaration
from resnetlab.inspection import diagnostics_config, diagnostics_records
from resnetlab.model_folder import model_file
from resnetlab.models import configs
from resnetlab.recipes import finetune, numerics, train
from resnetlab.runs import records
from resnetlab.runs.config import RunConfig
from resnetlab.studies import claims, imported_design, study
from resnetlab.studies.parsing import ladder, study_file
from resnetlab.studies.published import bibliography, references


def _members(union: Any) -> tuple[type, ...]:
    """Return the classes of a union, inside an annotation or not."""
    if typing.get_origin(union) is typing.Annotated:
        union = typing.get_args(union)[0]
    members = typing.get_args(union) or (union,)
    return tuple(part for member in members for part in _nested(member))


def _nested(member: Any) -> tuple[type, ...]:
    return _members(member) if typing.get_args(member) else (member,)


FIELDS_INTRODUCTION = """# Fields of a configuration

This page lists every field of a study file, a recipe, a model file and a file of published numbers,
with its type, its default and its meaning, as the code states them.
[Study files and recipes](../study-files.md) explains them with examples. A field that is not listed
is refused.

A field without a default is required. In a grid or in `--set`, a field has the name of its table
before it: `recipe.optimizer.lr`.
"""

FILES_INTRODUCTION = """# File formats

resnetlab writes JSON, JSON lines, CSV and safetensors, all as UTF-8. A file is written completely
or not at all. Numbers carry their unit in the name: `_pct` is percent, `_nats`, `_seconds`.
`schema` is the version of the names; a file of an older version is refused with a line that says
so. [Architecture](../architecture.md#the-folder-of-a-run) shows the folder of a run.

## Every file
"""

FIELD_GROUPS: dict[str, tuple[type, ...]] = {
    "Study": (
        study_file._StudyFile,
        ladder._RungTable,
        study_file.Variant,
        study.Distance,
        study.Ensemble,
        diagnostics_config.DiagnosticsConfig,
        diagnostics_config.LandscapeConfig,
    ),
    "Claims": _members(claims.Claim),
    "Published numbers": (
        references.ReferenceSource,
        references.Protocol,
        references.ProtocolDifference,
        references.ReferenceValue,
        bibliography.Work,
    ),
    "Judging runs": (declaration.Declaration, imported_design.PublishedValue),
    "Data": (data.DataConfig, data.Augment, data.RandAugment, data.ChannelStats),
    "Models": _members(configs.ModelConfig),
    "Recipes": (train.Recipe, *_members(train.Optimizer), *_members(train.Schedule)),
    "Fine-tuning": (finetune.FinetuneRecipe, finetune.Stage),
    "Numerics and placement": (numerics.Numerics, numerics.Placement),
}
"""Classes of a configuration by section of the page of fields."""

TABLE_TITLES = {
    study_file._StudyFile: "The file itself",
    ladder._RungTable: "`[[rung]]`",
    study_file.Variant: "`[budget]` and `[evidence]`",
    study.Distance: "`[[distance]]`",
    study.Ensemble: "`[[ensemble]]`",
    diagnostics_config.DiagnosticsConfig: "`diagnostics`",
    diagnostics_config.LandscapeConfig: "`loss_landscape` of `diagnostics`",
    references.ReferenceSource: "A file of references",
    references.Protocol: "`[protocol]`",
    references.ProtocolDifference: "`[[protocol.differences]]`",
    references.ReferenceValue: "`[[value]]`",
    bibliography.Work: "A work of the bibliography",
    declaration.Declaration: "A declaration of `resnetlab judge`",
    imported_design.PublishedValue: "`[[reference]]` of a declaration",
    data.DataConfig: "`data`",
    data.Augment: "`recipe.augment`",
    data.RandAugment: "`recipe.augment.randaugment`",
    data.ChannelStats: "`recipe.normalize` as a table",
    train.Recipe: "`recipe`",
    finetune.FinetuneRecipe: "A recipe with stages",
    finetune.Stage: "`[[stages]]`",
    numerics.Numerics: "`numerics`",
    numerics.Placement: "Placement",
}
"""Headings of tables that a file has once; other tables are named by their tag."""

VARIED_COLUMNS = (
    "After `seed`, it has a column for each field in which the conditions differ, by its name in "
    "`--set`, such as `recipe.optimizer.lr`; empty where a condition has no such field. Reports "
    "of older versions lack these columns, and are read all the same."
)

FILE_FORMATS: dict[str, tuple[str, tuple[type, ...]]] = {
    "run.json": (
        "The configuration of a run, in its folder. It is written first.",
        (records.RunFile, RunConfig, data.DataIdentity),
    ),
    "metrics.jsonl": (
        "One line for each evaluation and split, in the folder of a run.",
        (records.Evaluation,),
    ),
    "result.json": (
        "The outcome of a run. It is written once, at the end; its presence means finished.",
        (records.Result, records.Scores),
    ),
    "diagnostics/train-mode.json": (
        "Evaluations of a run in training mode, if they were requested.",
        (records.TrainModeEvaluation,),
    ),
    "diagnostics/gradient-norms-EPOCH.json": (
        "Norms of each layer after an epoch, if they were requested.",
        (diagnostics_records.GradientNorms, diagnostics_records.LayerNorms),
    ),
    "diagnostics/block-ablation.json": (
        "Accuracy of a run without each of its blocks, if it was requested.",
        (
            diagnostics_records.BlockAblations,
            diagnostics_records.BlockAblation,
            diagnostics_records.BlockSet,
        ),
    ),
    "diagnostics/loss-landscape.json": (
        "Losses on random planes through the weights of a run, if they were requested.",
        (diagnostics_records.LossLandscape, diagnostics_records.PlaneLosses),
    ),
    "model.json": (
        "Everything that a program needs to use the weights, in the folder of a model.",
        (model_file.ModelFile, model_file.Metric, model_file.License, EvalTransform),
    ),
    "results.csv": (
        f"One line for each planned run, in the folder of a report. {VARIED_COLUMNS}",
        (RunRow,),
    ),
    "curves.csv": (
        f"One line for each evaluation, in the folder of a report. {VARIED_COLUMNS}",
        (CurvePoint,),
    ),
    "layers.csv": (
        "One line for each layer and epoch, in the folder of a report, if norms were measured.",
        (study_data.GradientNormRow,),
    ),
    "blocks.csv": (
        "One line for each block of a run, in the folder of a report, if blocks were ablated.",
        (study_data.BlockRow,),
    ),
    "landscape.csv": (
        "One line for each point of a loss landscape, in the folder of a report, if measured.",
        (study_data.LandscapePoint,),
    ),
    "ensembles.csv": (
        "One line for each ensemble, in the folder of a report, if the study has ensembles.",
        (EnsembleRow,),
    ),
}
"""Formats whose fields are a class: a sentence about the file, and its classes."""

OTHER_FILES = {
    "provenance.jsonl": "folder of a run: a line for each start, resumption, stop and failed "
    "attempt, with commit, packages, machine, and the SHA-256 of the data",
    "weights.safetensors": "folder of a run: the evaluated weights, with classes and preprocessing "
    "in the metadata",
    "logits-test.safetensors": "folder of a run: the outputs for the test images",
    "checksums.json": "folder of a run or of a report: the SHA-256 of each other file",
    "checkpoints/STEP/": "folder of an unfinished run: `state.safetensors` and `MANIFEST.json`, "
    "which is written last",
    "model.safetensors": "folder of a model: the weights",
    "config.json": "folder of a model: timm's description of the network, if timm has it",
    "studies/NAME.toml": "study file of a study that Python gave as a dictionary, or of "
    "`rl.sweep`; the command of its report takes it",
    "plan.json": "folder of a report: the study with all planned runs, from which `study status` "
    "and `study report` start",
    "report.json": "folder of a report: all values of the report, from which it can be built again",
    "finetune.json": "folder of a fine-tuning: the keys of `finetune --json` in "
    "[the command line](../command-line.md#finetune)",
    "confidence.safetensors": "folder of a fine-tuned model: temperature, values for prediction "
    "sets and features of training photographs; see [What a model does not "
    "know](../models.md#what-a-model-does-not-know)",
    "extend.json": "folder of an extended model: the keys of `extend --json` in "
    "[the command line](../command-line.md#extend)",
    "folds.json": "folder of a cross-validation: a fine-tuning for each fold",
    "fixres.json": "folder of a table of sizes: the keys of `fixres --json` in "
    "[the command line](../command-line.md#fixres)",
    "cells.csv": "folder of a table of sizes: a line for each pair of a train and a test size",
    "evaluation.json": "folder that `evaluate --out` names: the keys of `evaluate --json` in "
    "[the command line](../command-line.md#evaluate)",
    "classes.csv": "folder that `evaluate --out` names: a line for each class, with recall, "
    "precision, F1, ROC-AUC and average precision",
    "confusions.csv": "folder that `evaluate --out` names: true class, predicted class, images",
    "mistakes.csv": "folder that `evaluate --out` names: the most confident mistakes",
    "heat-maps.json": "folder that `explain --check --out` names: the keys of `explain --check "
    "--json` in [the command line](../command-line.md#explain-check)",
    "heat-maps.csv": "folder that `explain --check --out` names: a line for each photograph",
    "images.csv": "folder that `data describe --out` names: a line for each image, with its "
    "size and SHA-256",
    "suspects.json": "folder that `data suspects --out` names: the keys of `data suspects "
    "--json` in [the command line](../command-line.md#data-suspects)",
    "suspects.csv": "folder that `data suspects --out` names: a line for each suspicious label",
    "decisions.csv": "saved by the page of `data suspects`: the columns `path`, `old`, `new` and "
    "`decision`",
    "NAME-labels.csv": "written by `data suspects --apply`: the labels after the decisions",
    "enough.json": "folder that `data enough --out` names: the keys of `data enough --json` in "
    "[the command line](../command-line.md#data-enough)",
    "manifest.json": "folder that `data pack --out` names: the data sets with their SHA-256",
    "course/student.json": "folder of a student of the course: name and seed",
    "course/answers.json": "folder of a student of the course: the answers",
    ".sorted.jsonl": "folder that `predict --sort-into` names: each file that was written",
    "labels.csv": "folder of images: a table with a column of paths and a column of classes; "
    "also `labels.tsv`, `labels.jsonl`, `labels.txt`, and `metadata.csv` and `metadata.jsonl` as "
    "of Hugging Face",
    "NAME-split.csv": "written by `data split`: the columns `path`, `label`, `split` and `sha256`",
    "cache/NAME-splits.csv": "the split that was drawn for a folder of images",
    "cache/NAME-bad.csv": "the files of a folder that are not images, with the reason",
    "DATA.npz": "data set as arrays: `x_train` (N, H, W[, C]) uint8, `y_train` (N,), `x_test`, "
    "`y_test`, and optionally `classes`, `x_validation`, `y_validation` and `about`",
    "config.toml": "configuration of the user: `cache`, `offline`, `trusted_packages`; see "
    "[Use your own data](../how-to/own-data.md#the-cache)",
}
"""Files without fields of a class, each with its folder and content."""


def files_page() -> str:
    """Return the page of the file formats."""
    parts = [FILES_INTRODUCTION]
    linked = {n: f"[`{n}`](#{slug(n)})" for n in FILE_FORMATS}
    rows = [(linked[name], about) for name, (about, _) in FILE_FORMATS.items()]
    parts += [table(("file", "content"), rows + [(f"`{n}`", a) for n, a in OTHER_FILES.items()])]
    for name, (about, classes) in FILE_FORMATS.items():
        parts += [f"## `{name}` {{ #{slug(name)} }}\n", about + "\n"]
        for cls in classes:
            parts += [f"### {cls.__name__}\n", escape(describe_class(cls)) + "\n", field_table(cls)]
    return "\n".join(parts)


# Fields
# --------------------------------------------------------------------------------------------------


def fields_page() -> str:
    """Return the page with every field of a configuration."""
    parts = [FIELDS_INTRODUCTION]
    for title, classes in FIELD_GROUPS.items():
        parts += [f"## {title}\n", *(class_section(cls) for cls in classes)]
    return "\n".join(parts)


def class_section(cls: type) -> str:
    """Return the heading, the description and the table of fields of a class."""
    return "\n".join([f"### {_title(cls)}\n", escape(describe_class(cls)) + "\n", field_table(cls)])


def field_table(cls: type) -> str:
    """Return the table of the fields of a class."""
    docs = field_docs(cls)
    rows = [
        (f"`{f.name}`", escape(docs[f.name]), _type_words(cls, f.name), _field_default(f))
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
    ]
    return table(("field", "meaning", "type", "default"), rows)


def _title(cls: type) -> str:
    if cls in TABLE_TITLES:
        return TABLE_TITLES[cls]
    tags = [f for f in dataclasses.fields(cls) if f.name in ("family", "kind", "name")]  # type: ignore[arg-type]
    return f'`{tags[0].name} = "{tags[0].default}"`' if tags else cls.__name__


def describe_class(cls: type) -> str:
    """Return the docstring of a class."""
    return inspect.cleandoc(cls.__doc__ or "")


def field_docs(cls: type) -> dict[str, str]:
    """Return the description of each field of a class; empty for a field without one.

    A field has its docstring, or that of the field of the same name in a base class or elsewhere
    in the module: the name means the same there. A field with one possible value is a tag.
    """
    hints = typing.get_type_hints(cls)
    result = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        values = typing.get_args(hints[field.name])
        if typing.get_origin(hints[field.name]) is typing.Literal and len(values) == 1:
            result[field.name] = "The tag that selects this table."
            continue
        texts = [_docs_by_class(base.__module__).get(base.__name__, {}) for base in cls.__mro__]
        texts += list(_docs_by_class(cls.__module__).values())
        result[field.name] = next((t[field.name] for t in texts if field.name in t), "")
    return result


@functools.cache
def _docs_by_class(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of fields in a module, by class and field."""
    if module == "builtins":
        return {}
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: _class_docs(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _class_docs(node: ast.ClassDef) -> dict[str, str]:
    docs = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            docs[field.target.id] = inspect.cleandoc(text.value.value)
    return docs


_NAMED_TYPES = {
    schema.PositiveInt: "whole number from 1",
    schema.NonNegativeInt: "whole number from 0",
    schema.PositiveFloat: "number above 0",
    schema.NonNegativeFloat: "number from 0",
    schema.UnitInterval: "number from 0 to below 1",
    schema.Name: "name",
    schema.RunId: "id of a run",
    schema.HttpsUrl: "HTTPS address",
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    type(None): "none",
    Any: "any",
}


def _type_words(cls: type, name: str) -> str:
    return _words(typing.get_type_hints(cls, include_extras=True)[name])


def _words(hint: Any) -> str:
    """Return a type in words."""
    try:
        if hint in _NAMED_TYPES:
            return _NAMED_TYPES[hint]
    except TypeError:  # an annotation that cannot be hashed
        pass
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _words(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f'`"{v}"`' if isinstance(v, str) else f"`{v}`" for v in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in arguments))
    if origin in (tuple, list):
        parts = [part for part in arguments if part is not Ellipsis]
        count = "" if Ellipsis in arguments or origin is list else f"{len(parts)} of: "
        return f"list ({count}{_words(parts[0])})"
    if origin is dict or hint is dict:
        return "table"
    if dataclasses.is_dataclass(hint):
        return f"table `{getattr(hint, '__name__', hint)}`"
    return f"`{getattr(hint, '__name__', hint)}`"


def _field_default(field: Any) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "empty"
    value = field.default
    if value is dataclasses.MISSING:
        return ""
    if dataclasses.is_dataclass(value):
        tag = getattr(value, "name", "")
        return f'`"{tag}"`' if tag else "its defaults"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`' if value else "empty"
    if isinstance(value, tuple):
        return f"`{list(value)}`" if value else "empty"
    return "none" if value is None else f"`{value}`"


def slug(title: str) -> str:
    """Return a title as the name of a file or an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text).replace("|", "\\|")


def escape(text: str) -> str:
    """Escape characters of a docstring that Markdown would read as HTML, outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if i % 2 else part.replace("<", "&lt;").replace("*", r"\*").replace("_", r"\_")
        for i, part in enumerate(parts)
    )
