"""Verdicts on runs that were trained elsewhere: `judge`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnetlab.imported_runs.report import ImportedReport
    from resnetlab.imported_runs.summaries import SummaryReport


def judge(
    runs: Any,
    claims: Sequence[str] = (),
    *,
    published: Sequence[str] = (),
    out: str | Path | None = None,
    **declared: Any,
) -> ImportedReport | SummaryReport:
    """Judge claims on runs that were trained elsewhere: `rl.judge(frame, ["A > B"]).verdicts`.

    Args:
        runs: Path of a table or of a folder of logs, a frame of pandas or polars, a list of
            dictionaries, or a dictionary of columns.
        claims: Claims as text, such as `A > B` or `A = B within 0.5`.
        published: Published numbers as text, such as `A = 93.57 of 5`.
        out: Folder for the report; None writes none.
        **declared: Fields of a `Declaration`, such as `value="test_acc"` or `paired_by="seed"`.

    Returns:
        The report, with its verdicts and its analysis. Of a table with the columns mean, sd and n,
        the verdicts and the summary of each condition.

    Raises:
        InputError: The table, a claim or a field is invalid.
    """
    from resnetlab.imported_runs.declaration import declare
    from resnetlab.imported_runs.report import report_table

    declaration = declare(claims=claims, published=published, **declared)
    report = report_table(runs, declaration)
    if out is not None:
        report.write(out)
    return report
