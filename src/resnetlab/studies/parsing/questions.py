"""Questions of the sources that the studies of the catalog answer, as data. Free of torch.

This module defines the files of `catalog/questions`, one for each study.
`resnetlab.reports.study.source_questions.answers` writes the answers from the values of the runs.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from resnetlab.schema import decode, strict_dataclass
from resnetlab.schema_errors import FieldError
from resnetlab.studies.parsing.toml_tables import catalog_names, read_named
from resnetlab.studies.published.bibliography import Citation

EvidenceKind = Literal[
    "claims",
    "compare",
    "accuracy",
    "overfitting",
    "stability",
    "first loss",
    "parameters",
    "time",
    "grid",
    "ensemble",
    "first that converged",
]


@strict_dataclass
class Evidence:
    """Values of the runs that answer a question."""

    kind: EvidenceKind
    conditions: tuple[str, ...] = ()
    """Labels of conditions. Not for `claims`, `grid`, `ensemble` and `first that converged`, which
    take those of the study.
    """
    against: str = ""
    """Label of the condition with which the others are compared."""
    claims: tuple[str, ...] = ()
    """Beginnings of the statements of claims, for the kind `claims`."""

    def __post_init__(self) -> None:
        if (self.kind == "claims") != bool(self.claims):
            raise FieldError("claims", 'only for kind = "claims", which needs them', "one of both")
        if self.kind == "compare" and not self.against:
            raise FieldError("against", "missing", "the label of a condition")


@strict_dataclass
class Question:
    """Question of a source, with an explanation that holds whatever the runs give."""

    number: str
    """Number or place in the source: `question 19`, `figure 2.7`."""
    number_fr: str = ""
    """Number in French, if it is not the same."""
    source: Citation
    """Source, without a place in it."""
    mark: Literal["", "star", "bonus"] = ""
    """Mark that the source gives to the question."""
    en: str
    """Question in English."""
    fr: str
    """Question in French."""
    why_en: str
    """General explanation in English. It states no result of the study's runs."""
    why_fr: str
    """General explanation in French."""
    evidence: tuple[Evidence, ...] = ()
    """Values that answer the question; none if the explanation alone answers it."""


@strict_dataclass
class _QuestionsFile:
    question: tuple[Question, ...]


@cache
def catalog_questions(study: str, study_question: str) -> tuple[Question, ...]:
    """Return the questions of a study of the catalog.

    There are none for a study of another file: it may have the name of a study of the catalog, but
    not its question.
    """
    if study not in catalog_names("questions") or study not in catalog_names("studies"):
        return ()
    if read_named("studies", study, "study")[0]["question"] != study_question:
        return ()
    return load_questions(study)


@cache
def load_questions(study: str) -> tuple[Question, ...]:
    """Return the questions in the file of a study of the catalog.

    Raises InputError if it is invalid.
    """
    tables, where = read_named("questions", study, "questions")
    loaded: _QuestionsFile = decode(_QuestionsFile, tables, where)
    return loaded.question
