"""Verdict on two groups of values that a reader types: the function behind the web page.

The page writes the values as a table and reads it back, so that the code that judges is that of
the command, and the table with the command can be copied.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from resnetlab.analysis.analyze import analyze
from resnetlab.errors import InputError, input_error
from resnetlab.imported_runs.claim_text import quoted_name
from resnetlab.imported_runs.declaration import Declaration, DeclaredUnit, HigherIs
from resnetlab.imported_runs.imported_study import import_runs
from resnetlab.imported_runs.sentences import ClaimSentences, claim_sentences
from resnetlab.imported_runs.summaries import judge_summaries, parse_summaries
from resnetlab.imported_runs.text_tables import read_csv
from resnetlab.schema import decode, strict_dataclass
from resnetlab.shell import command_line
from resnetlab.stats.intervals import Interval
from resnetlab.stats.verdict_types import Verdict

TABLE = "runs.csv"
"""Name of the table that the page writes and that its command reads."""


@strict_dataclass
class TwoGroupsRequest:
    """Input of the page."""

    names: tuple[str, str] = ("A", "B")
    """Names of the two groups."""
    columns: tuple[str, str] = ("", "")
    """Values of each group as they were pasted."""
    summaries: tuple[str, ...] = ()
    """Lines such as `A: 93.5 ± 0.2, n=5`, in place of the columns."""
    paired: bool = False
    """True if the values in one line share a seed."""
    kind: Literal["greater", "equal"] = "greater"
    """Claim: the first group is better by more than the margin, or both are within it."""
    margin: float = 0.0
    measure: str = "accuracy"
    unit: DeclaredUnit = "auto"
    higher_is: HigherIs = "auto"


@dataclass(frozen=True)
class GroupsVerdict:
    """Verdict with its numbers, for the page."""

    words: ClaimSentences
    label: str
    """Key of the color of the verdict: reproduced, contradicted, inconclusive, ..."""
    estimate: float | None
    interval: Interval | None
    p: float | None
    seeds: int | None
    unit: str
    reading: tuple[str, ...]
    """Sentences about how the values were read."""
    table: str
    """Table of the runs; empty for summaries."""
    command: str
    """Command that gives the same verdict."""


def answer(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Judge the input of the page and return plain values, or `error` with a line.

    Args:
        request: Fields of `TwoGroupsRequest`.
        folder: Folder in which the table is written.
    """
    try:
        decoded: TwoGroupsRequest = decode(TwoGroupsRequest, request, "the page")
        return asdict(_judge(decoded, folder))
    except InputError as error:
        return {"error": str(error).replace(f"{folder}/", "")}


def _judge(request: TwoGroupsRequest, folder: Path) -> GroupsVerdict:
    if not math.isfinite(request.margin) or request.margin < 0:
        raise input_error("the margin", "not a number from 0 on", "0.5", got=request.margin)
    if request.kind == "equal" and request.margin == 0:
        raise input_error("the margin", "two groups within 0 cannot be shown", "0.5", got=0)
    options = ["--measure", request.measure or "accuracy"]
    for name in ("unit", "higher_is"):
        if (value := getattr(request, name)) != "auto":
            options += ["--" + name.replace("_", "-"), value]
    declaration = Declaration(
        measure=request.measure or "accuracy", unit=request.unit, higher_is=request.higher_is
    )
    if request.summaries:
        table = parse_summaries(request.summaries)
        names = [row.cells["condition"] for row in table.rows]
        if len(names) != 2:
            fix = "a line for each group, such as A: 93.5 ± 0.2, n=5"
            raise input_error("the summaries", "not two lines", fix, got=f"{len(names)} lines")
        claim = _claim(names, request)
        report = judge_summaries(table, replace(declaration, claims=(claim,)))
        given = [word for text in request.summaries for word in ("--summary", text.strip())]
        command = ["resnetlab", "judge", *given, *options, "--claim", claim]
        words = (report.sentences[0], report.statistics[0], report.measure.unit)
        return _answer(*words, report.reading, "", command)
    claim = _claim(request.names, request)
    path = folder / TABLE
    text = write_table(request.names, request.columns, is_paired=request.paired)
    path.write_text(text, encoding="utf-8")
    paired: Literal["", "seed"] = "seed" if request.paired else ""
    declaration = replace(declaration, claims=(claim,), paired_by=paired)
    data = import_runs(read_csv(path), declaration)
    imported = data.study.imported
    assert imported is not None
    if imported.untested:
        message = "one run of each group gives no verdict"
        raise input_error("the columns", message, "two values of each group, better five")
    analysis = analyze(data)
    command = ["resnetlab", "judge", TABLE, *options, "--claim", claim]
    command += ["--paired-by", "seed"] if request.paired else []
    words = (claim_sentences(analysis)[0], analysis.verdicts[0], imported.measure.unit)
    return _answer(*words, imported.reading, text, command)


def _answer(
    words: ClaimSentences,
    verdict: Verdict,
    unit: str,
    reading: Sequence[str],
    table: str,
    command: Sequence[str],
) -> GroupsVerdict:
    effect = verdict.effect
    return GroupsVerdict(
        words=words,
        label=verdict.label,
        estimate=effect.estimate if effect else None,
        interval=effect.interval() if effect else None,
        p=verdict.p,
        seeds=verdict.forecast.estimate if verdict.forecast else None,
        unit=unit,
        reading=tuple(reading),
        table=table,
        command=command_line(command),
    )


def _claim(names: Sequence[str], request: TwoGroupsRequest) -> str:
    """Return the claim as text: `A > B + 0.2`, or `A = B within 0.5`."""
    left, right = map(quoted_name, names)
    margin = repr(request.margin).removesuffix(".0")
    if request.kind == "equal":
        return f"{left} = {right} within {margin}"
    return f"{left} > {right}" + (f" + {margin}" if request.margin else "")


def write_table(names: Sequence[str], columns: Sequence[str], *, is_paired: bool = False) -> str:
    """Return the values of pasted columns as CSV, with a row for each run.

    The seed of a value is the number of its line. An empty line is a missing run, except where both
    columns begin with one, and after the last value of a column.

    Raises:
        InputError: A column has no value, both groups have one name, or a line of pairs has several
            values.
    """
    names = [name.strip() for name in names]
    if not all(names) or names[0] == names[1]:
        raise input_error("the names", "empty or equal", "A and B", got=" and ".join(names))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["condition", "seed", "value"])
    lines = [column.rstrip().splitlines() for column in columns]
    for name, of_column in zip(names, lines, strict=True):
        if not any(line.strip() for line in of_column):
            raise input_error(f"the values of {name}", "empty", "a value in each line")
    while not any(of_column[0].strip() for of_column in lines):
        lines = [of_column[1:] for of_column in lines]
    for name, of_column in zip(names, lines, strict=True):
        by_line = [split_line(line) for line in of_column]
        if is_paired and len(by_line) > 1 and any(len(cells) > 1 for cells in by_line):
            message = "several values in a line, and values in one line are a pair"
            raise input_error(f"the values of {name}", message, "a value in each line")
        cells = [cell for cells in by_line for cell in cells]
        writer.writerows([name, number, cell] for number, cell in enumerate(cells))
    return file.getvalue()


def split_line(line: str) -> list[str]:
    """Return the values of a line; a decimal comma becomes a point.

    The values are separated by spaces, semicolons or commas. An empty line is an empty value.
    """
    parts = [part for part in re.split(r"[;\s]+", re.sub(r"\s+%", "%", line)) if part]
    if all(re.fullmatch(r"[+-]?\d+,\d+%?", part) for part in parts):
        return [part.replace(",", ".") for part in parts] or [""]
    return [cell for part in parts for cell in part.split(",") if cell]
