"""Copies of studies and plans without the folders of the machine that made them.

The folders of one machine are private, and they do not help to repeat the study on another one.
"""

from __future__ import annotations

from dataclasses import replace

from resnetlab.data.config import DataConfig
from resnetlab.models.configs import ModelConfig
from resnetlab.models.configs.external import ExternalConfig
from resnetlab.runs.records import RunFile
from resnetlab.shell import strip_folders
from resnetlab.studies.plan import Plan
from resnetlab.studies.study import Condition, Study


def data_without_paths(data: DataConfig) -> DataConfig:
    """Return the data config with its files named without their folders."""
    source = strip_folders(data.source)
    data = replace(data, source=source if source.strip("./\\") else "data")
    return data if data.split is None else replace(data, split=strip_folders(data.split))


def model_without_paths(model: ModelConfig) -> ModelConfig:
    """Return the config of a network with its file of weights named without its folder."""
    if isinstance(model, ExternalConfig):
        return replace(model, weights=strip_folders(model.weights))
    return model


def study_without_paths(study: Study) -> Study:
    """Return the study with data and weights named without their folders."""
    return replace(study, conditions=tuple(map(_condition_without_paths, study.conditions)))


def plan_without_paths(plan: Plan) -> Plan:
    """Return the plan without folders, and without the command that continues it here."""
    runs = tuple(replace(run, file=file_without_paths(run.file)) for run in plan.runs)
    return replace(plan, study=study_without_paths(plan.study), runs=runs, resume_command="")


def file_without_paths(file: RunFile) -> RunFile:
    """Return the content of run.json with data and weights named without their folders.

    The id of the run does not depend on them.
    """
    run = replace(file.run, model=model_without_paths(file.run.model))
    return replace(file, run=run, data=data_without_paths(file.data))


def _condition_without_paths(condition: Condition) -> Condition:
    file = condition.file_protocol
    if file is not None:
        file = replace(file, data=data_without_paths(file.data))
    return replace(
        condition,
        data=data_without_paths(condition.data),
        model=model_without_paths(condition.model),
        file_protocol=file,
    )
