"""Numbers and sentences about loss landscapes. Free of torch.

A landscape is known at the grid points of a plane alone, so that every number is exact for the grid
and an estimate for the plane. None stands for a loss that is not finite; it is counted and never
replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from resnetlab.inspection.diagnostics_records import LossLandscape
from resnetlab.messages import format_count

LOW_LOSS_NATS = 1.0
"""Increase of the loss over that of the center below which a grid point counts as low."""

ROUNDING = 1e-5
"""Share of the losses below which a negative second difference is rounding."""

Grid = Sequence[Sequence[float | None]]
"""Losses in nats: a row for each y, a column for each x, from -1 to 1. None: not finite."""


@dataclass(frozen=True)
class PlaneSummary:
    """Numbers of a landscape on one plane; None if a loss that they need is not finite."""

    center_loss_nats: float | None
    """Mean loss in nats at the trained weights."""
    low_loss_pct: float | None
    """Grid points, in percent of all, with a loss below that of the center plus 1 nat."""
    rise_nats: float | None
    """Mean of the losses at the four grid points (1, 0), (-1, 0), (0, 1) and (0, -1), minus the
    loss at the center.
    """
    negative_curvature_pct: float | None
    """Second differences, in percent, that are negative; see `second_differences`."""
    not_finite: int
    """Number of grid points whose loss is not finite."""


NUMBERS = {
    "low_loss_pct": "low loss, %",
    "rise_nats": "rise, nats",
    "negative_curvature_pct": "negative curvature, %",
}
"""Fields of a summary with a spread over planes, and their titles."""

NOTES = (
    (
        "A plane has two Gaussian directions, scaled filter by filter to the norms of the weights "
        "(Li et al. 2018, sec. 4). At distance 1 each filter has moved by its norm."
    ),
    (
        "low loss: grid points with a loss below that of the center plus 1 nat. A network at "
        "chance has many such points too: read it with the loss of the center."
    ),
    "rise: mean loss of the four grid points at distance 1 on the axes, minus that of the center.",
    (
        "negative curvature: second differences of neighboring grid points, in four directions, "
        "that are negative. Where one is, the loss is not convex."
    ),
)
"""Sentences that explain the columns of a table of summaries."""

STATISTICS_NOTES = {
    "running": "Batch norm keeps its running statistics. Away from the center they do not fit: the "
    "outputs grow from layer to layer, most in deep plain networks, and the loss with them. "
    "--batch-statistics shows the landscape without this growth.",
    "batch": "Batch norm uses the statistics of these images at each point, so that the growth of "
    "the outputs from layer to layer is normalized away. The article keeps the running statistics.",
}
"""Sentences about the statistics of batch norm."""


def axis_values(points: int) -> tuple[float, ...]:
    """Return the coordinates of an axis: `points` equal steps from -1 to 1, with 0 exactly."""
    half = points // 2
    return tuple(step / half for step in range(-half, half + 1))


def summarize_plane(grid: Grid) -> PlaneSummary:
    """Return the numbers of one plane.

    Args:
        grid: Losses in nats on a square grid with an odd number of points per side.
    """
    half = len(grid) // 2
    center = grid[half][half]
    losses = [loss for row in grid for loss in row]
    low = None
    if center is not None:
        low_points = sum(loss is not None and loss < center + LOW_LOSS_NATS for loss in losses)
        low = 100 * low_points / len(losses)
    ends = [grid[half][-1], grid[half][0], grid[-1][half], grid[0][half]]
    known_ends = [loss for loss in ends if loss is not None]
    rise = None
    if center is not None and len(known_ends) == len(ends):
        rise = sum(known_ends) / len(ends) - center
    signs = [difference < 0 for difference in second_differences(grid)]
    return PlaneSummary(
        center_loss_nats=center,
        low_loss_pct=low,
        rise_nats=rise,
        negative_curvature_pct=100 * sum(signs) / len(signs) if signs else None,
        not_finite=sum(loss is None for loss in losses),
    )


def second_differences(grid: Grid) -> Iterator[float]:
    """Yield f(p - s) - 2 f(p) + f(p + s) for each point p and each step s to a neighbor.

    The steps are those along x, along y and along both diagonals. Triples beyond the edge or with a
    loss that is not finite have no difference, and a difference within rounding is 0. A negative
    one proves that the loss is not convex: somewhere on this line its second derivative is
    negative, and with it an eigenvalue of the Hessian. Li et al. 2018, sec. 6, compare these
    eigenvalues; here no Hessian is computed.
    """
    side = len(grid)
    for row in range(side):
        for column in range(side):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                ends = (row - down, column - right), (row + down, column + right)
                if not all(0 <= i < side and 0 <= j < side for i, j in ends):
                    continue
                before, after = (grid[i][j] for i, j in ends)
                middle = grid[row][column]
                if before is None or middle is None or after is None:
                    continue
                difference = before - 2 * middle + after
                scale = abs(before) + 2 * abs(middle) + abs(after)
                yield difference if abs(difference) > ROUNDING * scale else 0.0


@dataclass(frozen=True)
class Spread:
    """Median and range of a number over planes, without the planes where it is not finite."""

    middle: float
    low: float
    high: float
    count: int
    """Number of planes with a finite value."""


def spread(values: Sequence[float | None]) -> Spread | None:
    """Return the median and the range of the finite values, or None if there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(median(known), min(known), max(known), len(known))


@dataclass(frozen=True)
class NamedLandscape:
    """Loss landscapes of a run, with its name and the title of its network."""

    name: str
    network: str
    """Title of the network."""
    config: str
    """Hash of the config without its seed: runs with the same hash differ in their seed alone."""
    landscape: LossLandscape

    @property
    def summaries(self) -> tuple[PlaneSummary, ...]:
        """Numbers of each plane."""
        return tuple(summarize_plane(plane.losses_nats) for plane in self.landscape.planes)


def plane_rows(runs: Sequence[NamedLandscape], with_losses: bool = False) -> list[dict[str, Any]]:
    """Return a row for each run and plane, perhaps with the losses of its grid."""
    return [
        {"run": run.name, "network": run.network, "plane": plane.plane}
        | vars(summary)
        | ({"losses_nats": plane.losses_nats} if with_losses else {})
        for run in runs
        for plane, summary in zip(run.landscape.planes, run.summaries, strict=True)
    ]


def spread_rows(runs: Sequence[NamedLandscape]) -> list[dict[str, Any]]:
    """Return a row for each run: each number as its median and its range over the planes."""
    rows = []
    for run in runs:
        row: dict[str, Any] = {"run": run.name}
        row["center loss, nats"] = _number(run.summaries[0].center_loss_nats)
        for field, title in NUMBERS.items():
            row[title] = format_spread([getattr(s, field) for s in run.summaries])
        points = sum(len(plane.losses_nats) ** 2 for plane in run.landscape.planes)
        lost = sum(summary.not_finite for summary in run.summaries)
        row["not finite"] = f"{lost} of {points}"
        rows.append(row)
    return rows


def format_spread(values: Sequence[float | None]) -> str:
    """Return the median and the range, `12 (9 to 15)`, and the number of values that are None."""
    known = spread(values)
    if known is None:
        return "not finite"
    text = f"{known.middle:.3g}"
    if len(values) > 1:
        text += f" ({known.low:.3g} to {known.high:.3g})"
    lost = len(values) - known.count
    return text + (f"; {format_count(lost, 'value')} not finite" if lost else "")


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def landscape_sentences(runs: Sequence[NamedLandscape]) -> list[str]:
    """Return the sentences that the landscapes support, computed by rule."""
    first = runs[0].landscape
    planes, side = len(first.planes), len(first.planes[0].losses_nats)
    sentences = [
        (
            f"Loss of {format_count(first.images, 'train image')} on "
            f"{format_count(planes, 'plane')} of {side} x {side} points by seed {first.seed}, in "
            "evaluation mode. Each number is the median and, in brackets, the range over the "
            "planes."
        ),
        *NOTES,
        STATISTICS_NOTES[first.batch_norm],
    ]
    by_config: dict[str, list[NamedLandscape]] = {}
    for run in runs:
        by_config.setdefault(run.config, []).append(run)
    if len(by_config) > 1 and min(map(len, by_config.values())) == 1:
        sentences.append(
            "A network with one run shows no spread between runs: the comparison of the networks "
            "is a description without a verdict."
        )
    for group in by_config.values():
        if len(group) > 1:
            numbers = "; ".join(
                f"{title} {format_spread([_middle(run, field) for run in group])}"
                for field, title in NUMBERS.items()
            )
            runs_text = format_count(len(group), "run")
            sentences.append(f"{group[0].network}, medians of {runs_text}: {numbers}.")
    return sentences


def _middle(run: NamedLandscape, field: str) -> float | None:
    known = spread([getattr(summary, field) for summary in run.summaries])
    return known.middle if known else None
