"""Studies as data: conditions, seeds, claims and additional parts of a report. Free of torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from resnetlab.data.config import DataConfig
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.messages import format_count
from resnetlab.models.configs import ModelConfig
from resnetlab.notebook import ObjectSummary, with_summary
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.kinds import RunKind, is_fine_tuning, kind_of
from resnetlab.runs.records import EvaluationMode
from resnetlab.schema import (
    Name,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StoredAsText,
    strict_dataclass,
)
from resnetlab.schema_errors import FieldError
from resnetlab.studies.claims import Better, Claim, Equivalent
from resnetlab.studies.imported_design import ImportedRuns
from resnetlab.studies.measure import TEST_ACCURACY, Measure
from resnetlab.studies.published.bibliography import Citation
from resnetlab.studies.published.references import MatchedReference

DataKey = tuple[DataConfig, bool]
"""Data, with a flag that is true if they are opened as photographs of any size, for fine-tuning."""


@strict_dataclass
class FileProtocol:
    """Training that a study file asks for without the changes of a command."""

    data: DataConfig
    """Data of the condition by the study file."""
    recipe: AnyRecipe
    """Recipe of the condition by the study file."""


@strict_dataclass
class Condition:
    """Condition of a study: a model, data and a recipe."""

    label: str
    """Label that is short and unique within the study: `residual 56 (A)`."""
    values: dict[str, Any]
    """Value on each axis of the grid: `{"model.depth": 56}`."""
    model: ModelConfig
    """Network of the condition."""
    data: DataConfig
    recipe: AnyRecipe
    numerics: Numerics | None = None
    """Numerics of the condition, if the grid varies them; None for those of the study."""
    evaluation_mode: EvaluationMode = "eval"
    """Mode of the model in its evaluations. It changes no bit of the training, so conditions that
    differ in it alone have the same runs."""
    file_protocol: FileProtocol | None = None
    """Training by the file alone; None if a command changed nothing, or in an older report."""

    @property
    def data_key(self) -> DataKey:
        """Data in the form that the recipe needs."""
        return self.data, self.kind.uses_photos

    @property
    def kind(self) -> RunKind:
        """Kind of the condition's runs."""
        return kind_of(self.model, self.recipe)


@strict_dataclass
class Distance:
    """Distance between test curves of `left` and `right`, by pairs: sum of squared residuals."""

    statement: str
    """Statement of a source about it."""
    source: Citation = ""
    """Source of the statement."""
    left: tuple[str, ...]
    """Labels of conditions. A study file gives axes that pick them."""
    right: tuple[str, ...]
    """Labels of the conditions on the other side of each pair."""
    metric: Literal["top1", "loss"] = "top1"
    """Test curve that is compared: accuracy (`top1`) or `loss`."""


@strict_dataclass
class Ensemble:
    """Ensemble of runs by the mean of their probabilities.

    There is an ensemble of all seeds of each condition, and one of a run of each condition for each
    seed.
    """

    statement: str = ""
    """Statement of a source about it."""
    source: Citation = ""
    conditions: tuple[str, ...]
    """Labels of conditions. A study file gives axes that pick them."""


Expect = Literal["greater", "less", "equal", "none"]
"""Expected result of a rung against its parent: better, worse, equal; `none` makes no claim."""


@strict_dataclass
class Rung:
    """Rung of a ladder: a condition and the parent that it is compared with."""

    condition: str
    """Label of the condition, which is the name of the rung."""
    parent: str = ""
    """Condition that the rung adds to; empty for the first rung."""
    instead_of: str = ""
    """For a side rung, the rung with the same parent. No other rung adds to a side rung."""
    adds: tuple[str, ...] = ()
    """Fields that the rung sets: `recipe.normalize = train`."""
    why: str = ""
    """Explanation in a sentence: its effect and the reason that it should help."""
    source: Citation = ""
    expect: Expect = "greater"
    """Expected result against the parent."""
    margin: PositiveFloat | None = None
    """Margin in points, for `equal`."""

    @property
    def claim(self) -> Better | Equivalent | None:
        """Claim about the rung, or None if it is the first or expects nothing."""
        name, parent_name = f"“{self.condition}”", f"“{self.parent}”"
        if not self.parent or self.expect == "none":
            return None
        if self.expect == "equal" and self.margin is not None:
            noun = "point" if self.margin == 1 else "points"
            statement = f"{name} and {parent_name} are within {self.margin:g} {noun}."
            return Equivalent(
                statement=statement,
                source=self.source,
                left=self.condition,
                right=self.parent,
                margin=self.margin,
            )
        better, worse = (
            (self.condition, self.parent)
            if self.expect == "greater"
            else (self.parent, self.condition)
        )
        word = "more" if self.expect == "greater" else "less"
        return Better(
            statement=f"{name} is {word} accurate than {parent_name}.",
            source=self.source,
            left=better,
            right=worse,
        )


@dataclass(frozen=True)
class Override(StoredAsText):
    """Change that a command made to a field of the study file.

    `str` gives it as files and reports have it: `recipe.epochs = 2 (was 10)`.
    """

    key: str
    """Dotted field that was changed: `recipe.epochs`; `looks` for interim looks."""
    value: str
    """New value, as the command gave it."""
    previous: str | None = None
    """Value in the study file, or a description of it; None if the file had none."""

    def __str__(self) -> str:
        if self.key == "looks":
            return f"{_LOOKS}{self.value}"
        was = "" if self.previous is None else f" (was {self.previous})"
        return f"{self.key} = {self.value}{was}"

    @classmethod
    def parse(cls, text: str) -> Override:
        """Return the override of a text as files of studies have it.

        Raises FieldError if the text is not one that `str` gives.
        """
        if text.startswith(_LOOKS):
            return cls("looks", text.removeprefix(_LOOKS))
        match = re.fullmatch(r"(.+?) = (.*?)(?: \(was (.*)\))?", text, re.DOTALL)
        if match is None:
            raise FieldError("", "not a change", "write it as recipe.epochs = 2 (was 10)")
        return cls(*match.groups())


_LOOKS = "seeds added at looks of "
"""Words before the numbers of seeds of interim looks, in files."""


@with_summary
@strict_dataclass
class Study:
    """Study: a question with resolved conditions, seeds and claims."""

    name: Name
    """Name of the study and of the folder of its report."""
    question: str
    """Question that the report answers."""
    about: str = ""
    """Description of the study in a sentence or two."""
    limits: str = ""
    """Limitations of the study."""
    conditions: tuple[Condition, ...]
    """Conditions in the order of the report."""
    seeds: tuple[NonNegativeInt, ...]
    """Seeds of each condition."""
    claims: tuple[Claim, ...] = ()
    """Claims that the report tests."""
    references: tuple[MatchedReference, ...] = ()
    """Published numbers, each with its condition."""
    unmatched_references: tuple[MatchedReference, ...] = ()
    """Published numbers of the same sources that belong to no condition."""
    numerics: Numerics = Numerics()
    """Numerics of all conditions that have none of their own."""
    looks: tuple[PositiveInt, ...] = ()
    """Seeds per condition at each interim look; empty if all seeds run at once."""
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    """Additional measurements during its runs."""
    overrides: tuple[Override, ...] = ()
    """Changes that a command made to the file."""
    variant: tuple[Override, ...] = ()
    """Changes that make the variant of the file, in its `[budget]` or `[evidence]`."""
    left_out: tuple[str, ...] = ()
    """Sentences of the claims that need conditions which a command left out of the grid."""
    distances: tuple[Distance, ...] = ()
    """Distances between pairs of curves, for the report."""
    ensembles: tuple[Ensemble, ...] = ()
    """Ensembles of runs, for the report."""
    ladder: tuple[Rung, ...] = ()
    """Rungs of the ladder, if the conditions form one. Their claims come first in `claims`."""
    imported: ImportedRuns | None = None
    """Table of runs that were trained elsewhere; such a study has no `conditions`."""

    @property
    def file_name(self) -> str:
        """Name of the study in its file, without that of a variant."""
        return self.name.rpartition("-")[0] if self.variant else self.name

    @property
    def measure(self) -> Measure:
        """Measure of the report: test accuracy, or that of the imported runs."""
        return self.imported.measure if self.imported else TEST_ACCURACY

    def condition(self, label: str) -> Condition:
        """Return the condition with a label."""
        return self._conditions_by_label[label]

    @cached_property
    def _conditions_by_label(self) -> dict[str, Condition]:
        return {condition.label: condition for condition in reversed(self.conditions)}

    @property
    def shared_runs(self) -> dict[str, str]:
        """Conditions evaluated in training mode whose runs are those of another one.

        Each has the label of the condition that differs from it in the mode of evaluation alone.
        """

        def training(condition: Condition) -> str:
            return repr({k: v for k, v in condition.values.items() if k != "evaluation_mode"})

        standard = {training(c): c.label for c in self.conditions if c.evaluation_mode == "eval"}
        return {
            c.label: standard[training(c)]
            for c in self.conditions
            if c.evaluation_mode == "train" and training(c) in standard
        }

    @property
    def num_runs(self) -> int:
        """Number of runs with all seeds. A run that several conditions share counts
        once.
        """
        return (len(self.conditions) - len(self.shared_runs)) * len(self.seeds)

    def numerics_of(self, condition: Condition) -> Numerics:
        """Return the numerics for the runs of a condition: its own, or those of the study."""
        return condition.numerics or self.numerics

    def _summary(self) -> ObjectSummary:
        counts = [
            format_count(len(self.conditions), "condition"),
            format_count(len(self.seeds), "seed"),
            format_count(self.num_runs, "run"),
            format_count(len(self.claims), "claim"),
        ]
        rows = [(c.label, c.data.source, _describe_recipe(c.recipe)) for c in self.conditions]
        return ObjectSummary(
            f"{self.name}: {', '.join(counts)}",
            {"question": self.question} if self.question else {},
            ("condition", "data", "recipe"),
            rows,
        )


def _describe_recipe(recipe: AnyRecipe) -> str:
    if is_fine_tuning(recipe):
        return f"{recipe.name}, {format_count(len(recipe.stages), 'stage')}"
    optimizer = recipe.optimizer
    length = format_count(recipe.epochs or recipe.steps or 0, "epoch" if recipe.epochs else "step")
    return f"{optimizer.name}, lr {optimizer.lr:g}, batch size {recipe.batch_size}, {length}"
