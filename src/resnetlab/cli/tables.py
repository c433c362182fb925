"""Options of the commands that print a table: JSON, CSV or Markdown instead of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.errors import input_error

if TYPE_CHECKING:
    from resnetlab.inspection.table_format import TableFormat

Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]


def output_format(json: bool, csv: bool, markdown: bool) -> TableFormat:
    """Return the format of the one given option. Raises InputError for more than one."""
    if json + csv + markdown > 1:
        raise input_error(
            "--json, --csv, --markdown", "more than one output format", "give one of them"
        )
    if json:
        return "json"
    if csv:
        return "csv"
    return "markdown" if markdown else "text"
