"""Document model of a report: plain values, rounded and in words, for every renderer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from resnetlab.analysis.study_data import ClaimVerdict, QuestionAnswer
from resnetlab.errors import escape_controls
from resnetlab.reports.plot_data import (
    AblationPlot,
    AnyPlot,
    DepthPlot,
    DotPlot,
    ForestPlot,
    GridPlot,
    LadderPlot,
    LandscapePlot,
    LearningCurves,
    ScatterPlot,
)
from resnetlab.translation import NARROW_NBSP, Language, deferred, tr

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """Cell of a table: its text, a smaller second line, and a badge if it has one."""

    text: str
    note: str = ""
    badge: str = ""
    cited: str = ""
    """Part of the text or note that names a source."""
    url: str = ""
    """Address of that source."""


@dataclass(frozen=True)
class Column:
    """Column of a table; numbers are aligned right."""

    name: str
    numeric: bool = True


def split_note(note: str) -> list[str]:
    """Return the lines of a cell's note, which `join_clauses` joined."""
    return [part.rstrip(NARROW_NBSP) for part in note.split("; ")]


def number_columns(*names: str) -> tuple[Column, ...]:
    """Return columns of numbers, with their names in the language in use."""
    return tuple(Column(tr(name)) for name in names)


def text_columns(*names: str) -> tuple[Column, ...]:
    """Return columns of words, with their names in the language in use."""
    return tuple(Column(tr(name), numeric=False) for name in names)


@dataclass(frozen=True)
class RunKey:
    """Run of a table's row. `anchor` is the id of the row on a page: `run-8bae93ed9f`."""

    condition: str
    seed: int
    anchor: str


@dataclass(frozen=True)
class Table:
    """Table of rows of cells. `narrow_layout` is its form on a phone."""

    key: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    narrow_layout: Literal["cards", "scroll"] = "cards"
    runs: tuple[RunKey, ...] = ()
    """Run of each row, if the rows are runs."""


@dataclass(frozen=True)
class GridSection:
    """Section on a grid of two axes: a heat map and its table."""

    table: Table
    plot: GridPlot


@dataclass(frozen=True)
class LadderSection:
    """Section on a ladder: a table and a figure of its rungs."""

    table: Table
    plot: LadderPlot


@dataclass(frozen=True)
class Detail:
    """Detail: a term and its text."""

    term: str
    text: str
    url: str = ""


@dataclass(frozen=True)
class ClaimSides:
    """Conditions that a claim compares. The trend of an axis has one side, in `left`."""

    left: tuple[str, ...]
    right: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Report of a study. Every renderer writes all of it, in this order."""

    name: str
    question: str
    about: str
    banner: str
    """Note that the study is not finished; empty once it is."""
    verdicts: tuple[Cell, ...]
    """Sentence and verdict of each claim, with a badge."""
    claim_verdicts: tuple[ClaimVerdict, ...]
    """Verdicts with the shares of their training, for other programs."""
    answer: str
    dot_plot: DotPlot
    limits: str
    conditions: Table
    claims: Table | None
    forest: ForestPlot | None
    outcomes: Table
    curves: tuple[LearningCurves, ...]
    run_table: Table
    test_split: str
    command: str
    details: tuple[Detail, ...]
    common: Table | None
    """Table of settings that all conditions share; None for imported runs."""
    differing: Table | None
    made_by: str
    kicker: str = deferred("resnetlab study")
    """Line above the title: the command that made the report."""
    references: Table | None = None
    """Table of published beside measured numbers."""
    protocols: tuple[Detail, ...] = ()
    """Protocols of the sources, in words."""
    distances: Table | None = None
    """Table of distances between curves."""
    ensembles: Table | None = None
    """Table of ensembles."""
    unmatched_references: Table | None = None
    """Table of published numbers without a measured one."""
    ladder: LadderSection | None = None
    grid: GridSection | None = None
    answers: tuple[QuestionAnswer, ...] = ()
    """Answers to the questions of the study's sources, in every language."""
    language: Language = "en"
    """Language of the report."""
    first_converged: tuple[Table, ...] = ()
    """Tables on the bias of keeping the first run that converged."""
    exploratory: Table | None = None
    """Table of differences that no claim declared."""
    diagnostics: tuple[DepthPlot | AblationPlot | LandscapePlot, ...] = ()
    """Figures of layers, blocks and loss landscapes, if the study asks for these measurements."""
    costs: tuple[ScatterPlot, ...] = ()
    """Figures of accuracy against cost."""
    sources: tuple[Detail, ...] = ()
    """Works that the study cites, with their addresses."""
    files: tuple[Detail, ...] = ()
    """Files of values and figures beside the report, with their relative paths."""
    first_loss: tuple[str, ...] = ()
    """Loss before the first step, for each mode and number of classes; also in `details`."""
    claim_sides: tuple[ClaimSides, ...] = ()
    """Conditions of each claim, in the order of `verdicts`."""

    @property
    def diagnostics_title(self) -> str:
        """Heading of the figures of layers, blocks and loss landscapes."""
        if all(isinstance(plot, LandscapePlot) for plot in self.diagnostics):
            return tr("Loss landscapes")
        return tr("Layers and blocks")

    @property
    def plots(self) -> tuple[AnyPlot, ...]:
        """All figures, in order."""
        steps = [section.plot for section in (self.ladder, self.grid) if section]
        forest = [self.forest] if self.forest else []
        return (self.dot_plot, *steps, *forest, *self.costs, *self.curves, *self.diagnostics)


def escape_strings(value: T) -> T:
    """Return the values with the control characters of every string escaped.

    So a name in a study file cannot control a terminal or a page.
    """
    escaped: Any = value
    if isinstance(escaped, str):
        escaped = escape_controls(escaped)
    elif isinstance(escaped, tuple):
        escaped = tuple(escape_strings(item) for item in escaped)
    elif isinstance(escaped, dict):
        escaped = {escape_strings(key): escape_strings(item) for key, item in escaped.items()}
    elif dataclasses.is_dataclass(escaped) and not isinstance(escaped, type):
        escaped = type(escaped)(
            **{
                field.name: escape_strings(getattr(escaped, field.name))
                for field in dataclasses.fields(escaped)
            }
        )
    result: T = escaped
    return result
