"""Page of the check of a model's heat maps.

It contains photographs of the user, so it stays on the user's machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.data.class_names import class_titles
from resnetlab.deploy.explain.heat_map_scores import (
    BORDER_CAVEAT,
    HeatMapCheck,
    Mean,
    PhotoScore,
    describe_border,
    describe_other,
    describe_rating,
    describe_removal,
)
from resnetlab.files import write_json, write_text
from resnetlab.reports.document import Cell, Detail, Table, number_columns, text_columns
from resnetlab.reports.evaluation import data_uri
from resnetlab.reports.figures.values import csv_text
from resnetlab.reports.format import format_interval, format_number, format_pct
from resnetlab.schema import encode
from resnetlab.stats.intervals import Interval

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS = tuple(field.name for field in dataclasses.fields(PhotoScore))

METHOD = (
    "Grad-CAM of the predicted class (Selvaraju et al. 2017). The pixels of most heat are removed "
    "first; a removed pixel becomes the weighted mean of its neighbors, with noise (ROAD, Rong et "
    "al. 2022), so that no edge shows what was removed. A random map is the map of another "
    "photograph, mirrored or not and shifted at random around the edges: it is as smooth and as "
    "concentrated as a heat map, and its position means nothing. The differences are paired by "
    "photograph; intervals are 95 % intervals by Student's t over photographs, for this one model."
)


def border_photos(check: HeatMapCheck, count: int) -> list[PhotoScore]:
    """Return the photographs with the most heat on the frame, the highest share first."""
    return sorted(check.photos, key=lambda score: (-score.border_heat_pct, score.path))[:count]


def write_heat_map_page(
    check: HeatMapCheck,
    images: Mapping[str, tuple[Image, Image]],
    folder: Path,
    *,
    command: str = "",
    made_by: str = "Written by resnetlab.",
) -> Path:
    """Write heat-maps.json, heat-maps.csv and report.html, and return the path of the page.

    Args:
        check: Check of a model's heat maps.
        images: Network's input and the heat map on it, by path, of the photographs to show.
        folder: Folder of the page.
        command: Command that wrote it.
        made_by: Sentence on the program.
    """
    write_json(folder / "heat-maps.json", encode(check))
    rows = [tuple(getattr(score, name) for name in COLUMNS) for score in check.photos]
    write_text(folder / "heat-maps.csv", csv_text(COLUMNS, rows))
    page = folder / "report.html"
    write_text(page, render_heat_map_page(check, images, command, made_by))
    return page


def render_heat_map_page(
    check: HeatMapCheck,
    images: Mapping[str, tuple[Image, Image]],
    command: str,
    made_by: str,
) -> str:
    """Return the page as HTML; see `write_heat_map_page`."""
    from resnetlab.reports.render.html import jinja_environment

    return (
        jinja_environment()
        .get_template("heat_maps.html")
        .render(
            check=check,
            rating=describe_rating(check),
            removal=describe_removal(check),
            other=describe_other(check),
            border=describe_border(check),
            border_caveat=BORDER_CAVEAT,
            removal_table=_removal_table(check),
            shown=border_photos(check, len(images)),
            images=images,
            title=class_titles(sorted({score.predicted for score in check.photos})),
            details=_details(check, command),
            data_uri=data_uri,
            pct=format_pct,
            made_by=made_by,
        )
    )


def _removal_table(check: HeatMapCheck) -> Table:
    columns = (
        *text_columns("Pixels removed"),
        *number_columns("By the heat map", "By a random map", "Difference of the two"),
        *number_columns("By another photograph's map"),
    )
    rows = tuple(
        (
            Cell(f"{row.removed_pct:g} %"),
            *map(_cell, (row.drop, row.random_drop, row.over_random, row.other_drop)),
        )
        for row in check.removal
    )
    note = (
        "Mean drop of the probability of the predicted class in percentage points, with its 95 % "
        "interval."
    )
    return Table("removal", columns, rows, note)


def _cell(value: Mean) -> Cell:
    return Cell(format_number(value.mean), format_interval(Interval(value.low, value.high)))


def _details(check: HeatMapCheck, command: str) -> Sequence[Detail]:
    sha256 = check.model_sha256[:12] or "without a SHA-256"
    details = [
        Detail("Model", f"{check.model}, weights {sha256}"),
        Detail("License of the weights", str(check.license)),
        Detail("Photographs", f"{check.data}: {check.photographs:,}"),
        Detail("Layer", check.layer),
        Detail("Method", METHOD),
        Detail("Seed", f"{check.seed}"),
    ]
    if check.without_evidence:
        details.append(
            Detail("Without evidence", f"{', '.join(check.without_evidence)}: their maps are empty")
        )
    details += [Detail("Unreadable file", f"{name}: {reason}") for name, reason in check.bad_files]
    return [*details, *([Detail("Command", command)] if command else [])]
