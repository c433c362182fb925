"""Data of a report's page for its script: words, conditions, claims, curves and table rows.

The page is complete without them. The script (`templates/report.js`) reads them to sort, filter,
highlight and zoom.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnetlab.reports.document import Report, RunKey, Table
from resnetlab.reports.figures import COLORS
from resnetlab.reports.figures.curves import PAIRS_SUFFIX, drawn_lines
from resnetlab.reports.plot_data import DepthPlot, Panel
from resnetlab.translation import tr

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class ClaimRuns:
    """Runs behind a claim: each of its conditions with a title and its runs."""

    statement: str
    conditions: tuple[tuple[str, tuple[RunKey, ...]], ...]


def claim_runs(report: Report) -> tuple[ClaimRuns, ...]:
    """Return the runs behind each claim."""
    by_condition: dict[str, list[RunKey]] = {}
    for key in report.run_table.runs:
        by_condition.setdefault(key.condition, []).append(key)
    claims = []
    for verdict, sides in zip(report.verdicts, report.claim_sides, strict=True):
        titles = [(label, label) for label in sides.left]
        if sides.right:
            titles = [(tr("{condition} (left)", condition=x), x) for x in sides.left]
            titles += [(tr("{condition} (right)", condition=x), x) for x in sides.right]
        conditions = tuple((title, tuple(by_condition.get(x, ()))) for title, x in titles)
        claims.append(ClaimRuns(verdict.text, conditions))
    return tuple(claims)


def row_attributes(report: Report) -> Callable[[Table, int], Markup]:
    """Return a function that gives the attributes of a table's row: `data-condition="plain 8"`.

    A row about a condition begins with its label. A row of the table of claims has the number of
    its claim; the direction of a claim stays below it when the table is sorted.
    """
    labels = {row.label for row in report.dot_plot.rows}
    claims = list(_claim_rows(report))

    def attributes(table: Table, index: int) -> Markup:
        first = table.rows[index][0].text
        if table.runs:
            run = table.runs[index]
            return _format_attributes(
                {"id": run.anchor, "data-condition": run.condition, "data-seed": run.seed}
            )
        if table is report.claims:
            number, is_direction = claims[index]
            joined = {"data-joined": "true"} if is_direction else {}
            return _format_attributes({"data-claim": number} | joined)
        if table is report.outcomes and index == len(table.rows) - 1:
            return _format_attributes({"data-total": "true"})
        return _format_attributes({"data-condition": first} if first in labels else {})

    return attributes


def _claim_rows(report: Report) -> Iterable[tuple[int, bool]]:
    """Yield the number of the claim of each row, and True for the row of its direction."""
    number = -1
    for row in report.claims.rows if report.claims else ():
        following = report.verdicts[number + 1].text if number + 1 < len(report.verdicts) else None
        is_direction = row[0].text != following
        number += not is_direction
        yield number, is_direction


def _format_attributes(values: dict[str, str | int]) -> Markup:
    from markupsafe import Markup

    return Markup("").join(Markup(' {}="{}"').format(*pair) for pair in values.items())


def page_data(report: Report) -> Markup:
    """Return the data as JSON that may stand in an element of a page."""
    from markupsafe import Markup

    data = {
        "name": report.name,
        "words": _words(report.dot_plot.numbered_by),
        "colors": dict(COLORS.values()),
        "conditions": [row.label for row in report.dot_plot.rows],
        "claims": [
            {"statement": verdict.text, "conditions": [*sides.left, *sides.right]}
            for verdict, sides in zip(report.verdicts, report.claim_sides, strict=True)
        ],
        "curves": _curve_sets(report),
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _curve_sets(report: Report) -> dict[str, Any]:
    sets = {
        plot.key: _curve_set(plot.panels, plot.unit, tr("epoch"), (plot.y_min, plot.y_max))
        for plot in report.curves
        if not plot.key.endswith(PAIRS_SUFFIX)
    }
    for plot in report.diagnostics:
        if isinstance(plot, DepthPlot):
            for number, quantity in enumerate(plot.quantities):
                ends = (quantity.low, quantity.high)
                sets[f"{plot.key}-{number}"] = _curve_set(quantity.panels, "", tr("layer"), ends)
    return sets


def _curve_set(
    panels: Sequence[Panel], unit: str, axis: str, ends: tuple[float, float]
) -> dict[str, Any]:
    """Return the drawn curves of a figure; runs that were evaluated together share x values."""
    x_values: dict[tuple[float, ...], int] = {}
    lines = []
    for panel in panels:
        runs = drawn_lines(panel, len(panels))
        for line in (*runs, *([panel.mean] if panel.mean else [])):
            points = [pair for pair in zip(line.x, line.y, strict=True) if math.isfinite(pair[1])]
            x = x_values.setdefault(tuple(_rounded(x) for x, _ in points), len(x_values))
            lines.append([panel.label, line.seed, x, [_rounded(y) for _, y in points]])
    return {"unit": unit, "axis": axis, "ends": ends, "x": [*x_values], "lines": lines}


def _rounded(value: float) -> float:
    """Round to 6 significant digits: a page of 60 runs has tens of thousands of values."""
    return float(f"{value:.6g}")


def _words(numbered_by: str) -> dict[str, str]:
    """Return the words of the script. The script fills in their placeholders."""
    point = {name: f"{{{name}}}" for name in ("condition", "seed", "axis", "x", "value")}
    seed = tr("{condition}, seed {seed}, {axis} {x}: {value}", **point)
    run = tr("{condition}, run {seed}, {axis} {x}: {value}", **point)
    return {
        "filter": tr("Filter rows"),
        "rows": tr("{shown} of {total} rows", shown="{shown}", total="{total}"),
        "sort": tr("Sort by"),
        "order": tr("order of the report"),
        "up": tr("{column}, ascending", column="{column}"),
        "down": tr("{column}, descending", column="{column}"),
        "highlighted": tr("Highlighted: {name}", name="{name}"),
        "release": tr("Release (Escape)"),
        "runs": tr("Show the runs"),
        "seed": run if numbered_by == "run" else seed,
        "mean": tr("{condition}, mean, {axis} {x}: {value}", **point),
        "together": tr("One chart with zoom"),
        "panels": tr("One panel per condition"),
        "chart": tr("Chart of all conditions"),
        "keys": tr(
            "Drag over a part to enlarge it. Keys: + and − zoom, arrows move, 0 shows everything."
        ),
        "lines": tr(
            "Bold: mean of the trained runs. Thin: the runs, for at most {count} conditions.",
            count="{count}",
        ),
        "closer": tr("Zoom in"),
        "wider": tr("Zoom out"),
        "reset": tr("Show everything"),
        "every": tr("All conditions"),
        "none": tr("No condition"),
        "show": tr("Show the curves of {condition}", condition="{condition}"),
        "png": tr("Save as PNG"),
        "svg": tr("Save as SVG"),
    }
