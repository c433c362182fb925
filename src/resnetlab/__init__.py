"""resnetlab: controlled experiments with residual networks for image classification.

import resnetlab as rl

rl.load_study("digits").run()                                    # a study, and its report
rl.train("cifar-resnet20", "digits", "digits").result.test      # one network
rl.sweep("cifar-resnet20", "digits", "digits", grid={"lr": [1e-3, 1e-2]}, seeds=3).runs()
rl.resume("runs/digits-cifar-resnet20-s0-0123456789")            # what was interrupted
rl.finetune("photos")                                            # a network for photographs
rl.load_model("pets").predict(["cat.jpg"])                       # a trained network, used
rl.judge("runs.csv", ["A > B"]).verdicts                        # runs that were trained elsewhere
"""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnetlab.api.evaluation import evaluate
    from resnetlab.api.landscapes import inspect_landscape
    from resnetlab.api.loaded_study import LoadedStudy
    from resnetlab.api.networks import inspect_blocks, inspect_gradients, inspect_model
    from resnetlab.api.photographs import (
        FixresComparison,
        check_data,
        describe_data,
        finetune,
        fixres,
    )
    from resnetlab.api.single_runs import resume, train
    from resnetlab.api.studies import collect, load_study, open_study
    from resnetlab.api.study_summary import StudySummary
    from resnetlab.api.sweep import sweep
    from resnetlab.api.verdicts import judge
    from resnetlab.api.verification import Verification, verify
    from resnetlab.data.config import Augment, DataConfig, FolderChoices
    from resnetlab.deploy.predict import Classifier, Prediction, Predictions, load_model
    from resnetlab.errors import InputError, ResnetlabError, ResourceError, UnfinishedError
    from resnetlab.finetuning.finetune_photos import FinetunedModel
    from resnetlab.inspection.diagnostics_config import DiagnosticsConfig, LandscapeConfig
    from resnetlab.models.build import build_model
    from resnetlab.models.configs import CifarConfig, cifar_config
    from resnetlab.models.factory import model_factory
    from resnetlab.recipes.numerics import Numerics, Placement
    from resnetlab.recipes.train import (
        SGD,
        Adam,
        AdamW,
        Constant,
        Cosine,
        Exponential,
        MultiStep,
        OneCycle,
        Recipe,
        RMSprop,
    )
    from resnetlab.runs.records import Evaluation, Result, RunRecord, Scores
    from resnetlab.studies.claims import Claim
    from resnetlab.studies.compare import Comparison, compare
    from resnetlab.studies.exchange.collect_runs import Collection
    from resnetlab.studies.executors.messages import RunEvent
    from resnetlab.studies.parsing.conditions import load_recipe
    from resnetlab.studies.study import Condition, Study
    from resnetlab.table import Table

# Names are looked up on first use: `import resnetlab` alone takes no seconds for torch.
_NAMES_BY_MODULE = {
    "api.evaluation": ("evaluate",),
    "api.landscapes": ("inspect_landscape",),
    "api.loaded_study": ("LoadedStudy",),
    "api.networks": (
        "inspect_blocks",
        "inspect_gradients",
        "inspect_model",
    ),
    "api.photographs": (
        "FixresComparison",
        "check_data",
        "describe_data",
        "finetune",
        "fixres",
    ),
    "api.single_runs": (
        "resume",
        "train",
    ),
    "api.studies": (
        "collect",
        "load_study",
        "open_study",
    ),
    "api.study_summary": ("StudySummary",),
    "api.sweep": ("sweep",),
    "api.verdicts": ("judge",),
    "api.verification": (
        "Verification",
        "verify",
    ),
    "data.config": ("Augment", "DataConfig", "FolderChoices"),
    "deploy.predict": (
        "Classifier",
        "Prediction",
        "Predictions",
        "load_model",
    ),
    "errors": (
        "InputError",
        "ResnetlabError",
        "ResourceError",
        "UnfinishedError",
    ),
    "finetuning.finetune_photos": ("FinetunedModel",),
    "inspection.diagnostics_config": ("DiagnosticsConfig", "LandscapeConfig"),
    "models.build": ("build_model",),
    "models.configs": (
        "CifarConfig",
        "cifar_config",
    ),
    "models.factory": ("model_factory",),
    "recipes.numerics": (
        "Numerics",
        "Placement",
    ),
    "recipes.train": (
        "SGD",
        "Adam",
        "AdamW",
        "Constant",
        "Cosine",
        "Exponential",
        "MultiStep",
        "OneCycle",
        "Recipe",
        "RMSprop",
    ),
    "runs.records": (
        "Evaluation",
        "Result",
        "RunRecord",
        "Scores",
    ),
    "studies.claims": ("Claim",),
    "studies.compare": (
        "Comparison",
        "compare",
    ),
    "studies.exchange.collect_runs": ("Collection",),
    "studies.executors.messages": ("RunEvent",),
    "studies.parsing.conditions": ("load_recipe",),
    "studies.study": (
        "Condition",
        "Study",
    ),
    "table": ("Table",),
}
_MODULE_BY_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Augment",
    "CifarConfig",
    "Claim",
    "Classifier",
    "Collection",
    "Comparison",
    "Condition",
    "Constant",
    "Cosine",
    "DataConfig",
    "DiagnosticsConfig",
    "Evaluation",
    "Exponential",
    "FinetunedModel",
    "FixresComparison",
    "FolderChoices",
    "InputError",
    "LandscapeConfig",
    "LoadedStudy",
    "MultiStep",
    "Numerics",
    "OneCycle",
    "Placement",
    "Prediction",
    "Predictions",
    "RMSprop",
    "Recipe",
    "ResnetlabError",
    "ResourceError",
    "Result",
    "RunEvent",
    "RunRecord",
    "Scores",
    "Study",
    "StudySummary",
    "Table",
    "UnfinishedError",
    "Verification",
    "build_model",
    "check_data",
    "cifar_config",
    "collect",
    "compare",
    "describe_data",
    "evaluate",
    "finetune",
    "fixres",
    "inspect_blocks",
    "inspect_gradients",
    "inspect_landscape",
    "inspect_model",
    "judge",
    "load_model",
    "load_recipe",
    "load_study",
    "model_factory",
    "open_study",
    "resume",
    "sweep",
    "train",
    "verify",
]

if "ipykernel" in sys.modules:
    # tqdm, which timm imports, warns in a notebook without widgets. No bar here is one of tqdm.
    warnings.filterwarnings("ignore", message="IProgress not found")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module 'resnetlab' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"resnetlab.{_MODULE_BY_NAME[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision"):
            raise
        fix = 'pip install "resnetlab[train]"'
        message = f"resnetlab.{name} needs {error.name}, which is not installed. Fix: {fix}"
        raise ModuleNotFoundError(message, name=error.name) from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__doc__", "__version__"])


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("resnetlab")
    except PackageNotFoundError:
        return "source tree"
