"""Values of the figures of a report, as the figures draw them. Free of matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnetlab.stats.outcomes import Outcome
from resnetlab.studies.measure import Unit


@dataclass(frozen=True)
class Dot:
    """Dot of a run in the first figure; without a value it is drawn at the edge of the axis."""

    seed: int
    outcome: Outcome
    value_pct: float | None


@dataclass(frozen=True)
class ReferenceMark:
    """Mark of a published number in the first figure, with the interval if it has a badge."""

    value_pct: float
    low_pct: float | None
    high_pct: float | None


@dataclass(frozen=True)
class DotRow:
    """Row of a condition in the first figure."""

    label: str
    series_index: int
    chance_pct: float
    """Value of a constant guess; NaN if it is unknown."""
    dots: tuple[Dot, ...]
    mean_pct: float | None
    low_pct: float | None
    high_pct: float | None
    texts: tuple[str, str]
    """Texts beside the row: `4/5 trained`, `23.4 % [18.2, 28.6]`."""
    reference_marks: tuple[ReferenceMark, ...] = ()


@dataclass(frozen=True)
class Plot:
    """Figure with a file name, a title, a caption and a text alternative."""

    key: str
    title: str
    caption: str
    alt: str


@dataclass(frozen=True)
class DotPlot(Plot):
    """Dot plot of all runs by condition, on an axis from `low_pct` to `high_pct`."""

    rows: tuple[DotRow, ...]
    low_pct: float
    high_pct: float
    unit: Unit = "%"
    """Unit of the values: percent, or none for imported runs of another measure."""
    numbered_by: Literal["seed", "run"] = "seed"
    """Number of a dot: its seed, or for imported runs a seed, a fold or the number of the run."""
    drawn_labels: tuple[str, ...] = ()
    """Conditions that are drawn; empty for all."""


@dataclass(frozen=True)
class Line:
    """Curve of a run: `x` in epochs."""

    outcome: Outcome
    x: tuple[float, ...]
    y: tuple[float, ...]
    seed: int | None = None
    """Seed of the run; None for a mean."""


@dataclass(frozen=True)
class Panel:
    """Panel of a condition; `mean` and `band` (low, high at its x) are over trained runs."""

    label: str
    series_index: int
    runs: tuple[Line, ...]
    mean: Line | None
    band: tuple[tuple[float, ...], tuple[float, ...]] | None
    other_split_mean: Line | None = None
    """Mean of another split, drawn thinner."""
    partner: Panel | None = None
    """Other condition of a claim, drawn into the same panel."""
    published: Line | None = None
    """Mean of published runs, drawn dashed and labeled `published`."""
    condition: str = ""
    """Label of the condition, if `label` names two of them."""


MAX_GRAY_PANELS = 8
"""Largest number of panels that repeat the means of the others; more lines cannot be read apart."""


@dataclass(frozen=True)
class LearningCurves(Plot):
    """Curves of a quantity over the epochs, with a panel for each condition, on one scale."""

    unit: str
    panels: tuple[Panel, ...]
    uniform_loss: float | None
    """Height of a horizontal line: ln K, the loss of a uniform guess."""
    uniform_loss_label: str
    y_max: float
    """Upper end of the scale."""
    omitted_conditions: int = 0
    """Number of conditions without a panel."""
    y_min: float = 0.0
    """Lower end of the scale."""

    @property
    def has_gray_means(self) -> bool:
        """True if a panel repeats the means of the other conditions in gray."""
        return not self.omitted_conditions and len(self.panels) <= MAX_GRAY_PANELS


@dataclass(frozen=True)
class ReferenceEffect:
    """Effect of a claim in published numbers, with their sources."""

    effect: float
    sources: tuple[str, ...]


@dataclass(frozen=True)
class ForestRow:
    """Row of a claim in the forest plot; without an effect it has only text."""

    label: str
    unit: str
    region: tuple[float, float]
    effect: float | None
    low: float | None
    high: float | None
    verdict: str
    trained_runs_only: bool
    """True if only trained runs were compared although others failed."""
    texts: tuple[str, str, str]
    """Texts or "": `+67.3 [59.4, 75.2] points`, `5/5 and 3/5 trained`, `2 at chance`."""
    reference_effects: tuple[ReferenceEffect, ...] = ()
    training_share: tuple[float | None, float | None] = (None, None)
    """Lowest and highest share of the training behind the verdict, if it is not all of it."""


@dataclass(frozen=True)
class ForestPlot(Plot):
    """Forest plot: a row for each claim with region, effect and interval; an axis for each unit."""

    rows: tuple[ForestRow, ...]


@dataclass(frozen=True)
class RungRow:
    """Row of a rung in the figure of a ladder; `parent` is the index of its parent's row."""

    label: str
    is_side_rung: bool
    parent: int | None
    mean_pct: float | None
    low_pct: float | None
    high_pct: float | None
    train_pct: float | None
    texts: tuple[str, str]
    """Texts beside the row: `82.4 %`, `+7.3 [6.5, 8.1]`."""


@dataclass(frozen=True)
class LadderPlot(Plot):
    """Figure of a ladder on an axis from `low_pct` to `high_pct`, a row for each rung."""

    rows: tuple[RungRow, ...]
    low_pct: float
    high_pct: float


@dataclass(frozen=True)
class GridCell:
    """Cell of a grid: the mean of its trained runs, and how many of its runs failed."""

    row: float
    column: float
    mean_pct: float | None
    low_pct: float | None
    high_pct: float | None
    failed: int
    runs: int
    condition: str = ""
    """Label of the cell's condition."""


@dataclass(frozen=True)
class GridPlot(Plot):
    """Heat map of accuracy on a grid of two axes with numbers."""

    row_axis: str
    column_axis: str
    rows: tuple[float, ...]
    columns: tuple[float, ...]
    cells: tuple[GridCell, ...]


@dataclass(frozen=True)
class LayerQuantity:
    """Quantity by depth, with a panel for each condition, on one (perhaps logarithmic) scale."""

    title: str
    log_scale: bool
    panels: tuple[Panel, ...]
    low: float
    high: float


@dataclass(frozen=True)
class DepthPlot(Plot):
    """Figure of layers by depth after an epoch; `x` of a line is the number of the layer."""

    quantities: tuple[LayerQuantity, ...]


@dataclass(frozen=True)
class AblationPanel:
    """Block ablation of a condition: accuracy in percent without each block; `x` is its number."""

    panel: Panel
    full_accuracy_pct: float
    chance_pct: float
    stage_starts: tuple[int, ...]
    """Numbers of the blocks that begin a stage, except the first stage."""


@dataclass(frozen=True)
class AblationPlot(Plot):
    """Figure of block ablations, with a panel for each condition, on one scale."""

    ablations: tuple[AblationPanel, ...]
    axis_label: str = ""
    """Label of the horizontal axis; empty for the numbers of the blocks."""


@dataclass(frozen=True)
class LandscapePanel:
    """Loss landscape of a condition on one plane through the weights of a run."""

    label: str
    losses_nats: tuple[tuple[float | None, ...], ...]
    """A row for each y, a column for each x, from -1 to 1; None: not finite."""


@dataclass(frozen=True)
class LandscapePlot(Plot):
    """Figure of loss landscapes, with a panel for each condition, on one scale of colors."""

    panels: tuple[LandscapePanel, ...]


@dataclass(frozen=True)
class ScatterPoint:
    """Point of a network in a scatter plot: its cost and its accuracy, maybe with an interval."""

    x: float
    label: str
    y_pct: float
    low_pct: float | None
    high_pct: float | None
    series_index: int


@dataclass(frozen=True)
class ScatterPlot(Plot):
    """Scatter plot of accuracy against cost (logarithmic); `published`: numbers from sources."""

    unit: str
    points: tuple[ScatterPoint, ...]
    low_pct: float
    high_pct: float
    published: bool


AnyPlot = (
    DotPlot
    | LearningCurves
    | ForestPlot
    | LadderPlot
    | GridPlot
    | DepthPlot
    | AblationPlot
    | LandscapePlot
    | ScatterPlot
)
