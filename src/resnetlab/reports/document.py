"""A report as plain values: what every renderer shows, already rounded and worded. Draws nothing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from resnetlab.errors import printable
from resnetlab.stats.outcomes import Outcome

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, a smaller second line, and the badge that it wears, if any."""

    text: str
    note: str = ""
    badge: str = ""
    cited: str = ""
    """The part of text or note that names a source,"""
    url: str = ""
    """and where that is."""


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers stand to the right."""

    name: str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of cells; `narrow` says how a phone shows it."""

    key: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    narrow: Literal["cards", "scroll"] = "cards"


@dataclass(frozen=True)
class Dot:
    """A run in the first figure; without a value it stands at the edge of the axis."""

    seed: int
    outcome: Outcome
    value_pct: float | None


@dataclass(frozen=True)
class Mark:
    """A published number in the first figure, with its prediction interval where a badge is due."""

    value_pct: float
    low_pct: float | None
    high_pct: float | None


@dataclass(frozen=True)
class DotRow:
    """A condition in the first figure."""

    label: str
    style: int
    chance_pct: float
    dots: tuple[Dot, ...]
    mean_pct: float | None
    low_pct: float | None
    high_pct: float | None
    said: tuple[str, str]
    """`4/5 converged`, `23.4 % [18.2, 28.6]`."""
    published: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Picture:
    """What stands with every figure: a file name, a caption, and words for those who cannot see it."""

    key: str
    title: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Dots(Picture):
    """Every run as a dot by condition, on an axis from `low_pct` to `high_pct`."""

    rows: tuple[DotRow, ...]
    low_pct: float
    high_pct: float


@dataclass(frozen=True)
class Line:
    """A run's curve: `x` in epochs."""

    outcome: Outcome
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """The curves of a condition; `band` is (low, high) at the mean's x, of converged runs as the mean is."""

    label: str
    style: int
    runs: tuple[Line, ...]
    mean: Line | None
    band: tuple[tuple[float, ...], tuple[float, ...]] | None
    beside: Line | None = None
    """The mean of another split, drawn thinner."""


@dataclass(frozen=True)
class Curves(Picture):
    """One quantity over the epochs, a panel a condition, on one scale."""

    unit: str
    panels: tuple[Panel, ...]
    reference: float | None
    """A line across: ln K, the loss of a guess."""
    reference_label: str
    top: float
    """Where the scale ends."""
    left_out: int = 0
    """Conditions without a panel; where there are such, no panel shows the means of the others: it would be a wall."""


@dataclass(frozen=True)
class Known:
    """The effect that a claim has in published numbers, and where they stand."""

    d: float
    sources: tuple[str, ...]


@dataclass(frozen=True)
class ForestRow:
    """A claim in the forest plot; without an effect its words stand alone."""

    label: str
    unit: str
    region: tuple[float, float]
    d: float | None
    low: float | None
    high: float | None
    word: str
    conditional: bool
    """Converged runs alone were compared."""
    said: tuple[str, str, str]
    """`+67.3 [59.4, 75.2] points`, `5/5 and 3/5 converged`, `2 dead`; empty where there is nothing to say."""
    published: tuple[Known, ...] = ()


@dataclass(frozen=True)
class Forest(Picture):
    """A row a claim: its region, the effect and its interval, on one axis a unit."""

    rows: tuple[ForestRow, ...]


@dataclass(frozen=True)
class StepRow:
    """A rung of a ladder; `parent` is the place of its row."""

    label: str
    side: bool
    parent: int | None
    mean_pct: float | None
    low_pct: float | None
    high_pct: float | None
    train_pct: float | None
    said: tuple[str, str]
    """`82.4 %`, `+7.3 [6.5, 8.1]`."""


@dataclass(frozen=True)
class Steps(Picture):
    """A row a rung, each led to from its parent, on an axis from `low_pct` to `high_pct`."""

    rows: tuple[StepRow, ...]
    low_pct: float
    high_pct: float


@dataclass(frozen=True)
class Ladder:
    """What a ladder's rungs reach and add."""

    table: Table
    steps: Steps


@dataclass(frozen=True)
class Quantity:
    """One quantity by depth, a panel a condition, on one scale; with `log` the scale is of powers of ten."""

    title: str
    log: bool
    panels: tuple[Panel, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Depths(Picture):
    """What was measured layer by layer after an epoch; `x` of a line is the layer's number."""

    quantities: tuple[Quantity, ...]


@dataclass(frozen=True)
class Worth:
    """A condition's accuracy in percent without each of its blocks; `x` of a line is the block's number."""

    panel: Panel
    whole_pct: float
    chance_pct: float
    stages: tuple[int, ...]
    """Blocks with which a stage begins, but for the first."""


@dataclass(frozen=True)
class Worths(Picture):
    """What each block is worth, a panel a condition, on one scale."""

    worths: tuple[Worth, ...]


@dataclass(frozen=True)
class Spot:
    """A network in a scatter: what it costs, and its accuracy with an interval where there is one."""

    x: float
    label: str
    y_pct: float
    low_pct: float | None
    high_pct: float | None
    style: int


@dataclass(frozen=True)
class Scatter(Picture):
    """Accuracy against a cost of that unit, on a logarithmic axis; `published`: of numbers that were not measured."""

    unit: str
    spots: tuple[Spot, ...]
    low_pct: float
    high_pct: float
    published: bool


Figure = Dots | Curves | Forest | Steps | Depths | Worths | Scatter


@dataclass(frozen=True)
class Fact:
    """A term and what it is."""

    term: str
    said: str


@dataclass(frozen=True)
class Report:
    """A study's report. Both renderers show all of it, in this order."""

    name: str
    question: str
    about: str
    banner: str
    """Of a study that is not finished; else empty."""
    verdicts: tuple[Cell, ...]
    """A badge a claim: what it says, the verdict."""
    answer: str
    dots: Dots
    limits: str
    conditions: Table
    claims: Table | None
    forest: Forest | None
    outcomes: Table
    curves: tuple[Curves, ...]
    ledger: Table
    test_split: str
    command: str
    facts: tuple[Fact, ...]
    common: Table
    differing: Table | None
    made_by: str
    beside: Table | None = None
    """Published beside measured."""
    protocols: tuple[Fact, ...] = ()
    """How the sources came to their numbers, in words."""
    distances: Table | None = None
    """How far apart curves lie."""
    ensembles: Table | None = None
    """What runs reach together."""
    alone: Table | None = None
    """Published, with nothing measured beside it."""
    ladder: Ladder | None = None
    exploratory: Table | None = None
    """Differences that no claim declared."""
    inside: tuple[Depths | Worths, ...] = ()
    """What the runs measured of themselves, where the study asked."""
    costs: tuple[Scatter, ...] = ()
    """Accuracy against what a network costs."""

    @property
    def pictures(self) -> tuple[Figure, ...]:
        """Every figure, in order."""
        steps = [self.ladder.steps] if self.ladder else []
        forest = [self.forest] if self.forest else []
        return (self.dots, *steps, *forest, *self.costs, *self.curves, *self.inside)


def shown(value: T) -> T:
    """The same values with control characters of every string escaped: a name cannot drive a terminal or a page."""
    held: Any = value
    if isinstance(held, str):
        held = printable(held)
    elif isinstance(held, tuple):
        held = tuple(shown(item) for item in held)
    elif dataclasses.is_dataclass(held) and not isinstance(held, type):
        held = type(held)(**{field.name: shown(getattr(held, field.name)) for field in dataclasses.fields(held)})
    safe: T = held
    return safe
