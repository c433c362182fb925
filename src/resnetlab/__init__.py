"""resnetlab: controlled experiments with residual networks for image classification.

import resnetlab as rl

rl.load_study("digits").run()                                    # a study, and its report
rl.train("cifar-resnet20", "digits", "digits").result.test      # one network
rl.resume("runs/digits-cifar-resnet20-s0-0123456789")            # what was interrupted
rl.load_model("pets").predict(["cat.jpg"])                       # a trained network, used
rl.judge("runs.csv", ["A > B"]).verdicts                        # runs that were trained elsewhere
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnetlab.api import (
        collect,
        evaluate,
        judge,
        load_study,
        open_study,
        resume,
        train,
    )
    from resnetlab.data.config import DataConfig
    from resnetlab.deploy.predict import Classifier, Prediction, load_model
    from resnetlab.errors import InputError, ResnetlabError, ResourceError, UnfinishedError
    from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
    from resnetlab.loaded_study import LoadedStudy, StudyOutcome
    from resnetlab.models.build import build_model
    from resnetlab.models.configs import CifarConfig, cifar_config
    from resnetlab.models.factory import model_factory
    from resnetlab.recipes.numerics import Numerics, Placement
    from resnetlab.recipes.train import SGD, Adam, AdamW, Recipe, RMSprop
    from resnetlab.runs.records import Evaluation, Result, RunRecord, Scores
    from resnetlab.studies.claims import Claim
    from resnetlab.studies.collect_runs import Collection
    from resnetlab.studies.parsing.conditions import load_recipe
    from resnetlab.studies.study import Condition, Study

# Names are looked up on first use: `import resnetlab` alone takes no seconds for torch.
_NAMES_BY_MODULE = {
    "api": (
        "collect",
        "evaluate",
        "judge",
        "load_study",
        "open_study",
        "resume",
        "train",
    ),
    "data.config": ("DataConfig",),
    "deploy.predict": ("Classifier", "Prediction", "load_model"),
    "errors": ("InputError", "ResnetlabError", "ResourceError", "UnfinishedError"),
    "inspection.diagnostics_config": ("DiagnosticsConfig",),
    "loaded_study": ("LoadedStudy", "StudyOutcome"),
    "models.build": ("build_model",),
    "models.configs": ("CifarConfig", "cifar_config"),
    "models.factory": ("model_factory",),
    "runs.records": ("Evaluation", "Result", "RunRecord", "Scores"),
    "studies.claims": ("Claim",),
    "studies.collect_runs": ("Collection",),
    "studies.parsing.conditions": ("load_recipe",),
    "studies.study": ("Condition", "Study"),
    "recipes.numerics": ("Numerics", "Placement"),
    "recipes.train": ("SGD", "Adam", "AdamW", "RMSprop", "Recipe"),
}
_MODULE_BY_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CifarConfig",
    "Claim",
    "Classifier",
    "Collection",
    "Condition",
    "DataConfig",
    "DiagnosticsConfig",
    "Evaluation",
    "InputError",
    "LoadedStudy",
    "Numerics",
    "Placement",
    "Prediction",
    "RMSprop",
    "Recipe",
    "ResnetlabError",
    "ResourceError",
    "Result",
    "RunRecord",
    "Scores",
    "Study",
    "StudyOutcome",
    "UnfinishedError",
    "build_model",
    "cifar_config",
    "collect",
    "evaluate",
    "judge",
    "load_model",
    "load_recipe",
    "load_study",
    "model_factory",
    "open_study",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module 'resnetlab' has no attribute {name!r}")
    return getattr(importlib.import_module(f"resnetlab.{_MODULE_BY_NAME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
