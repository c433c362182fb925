"""Markdown renderer for repository pages: the same words and numbers, with SVG figures."""

from __future__ import annotations

import html
import re

from resnetlab.reports.document import Cell, Detail, Report, Table
from resnetlab.reports.plot_data import Plot
from resnetlab.reports.render.outline import Block, Command, Heading, contents, sections
from resnetlab.translation import tr


def render(report: Report) -> str:
    """Return the document. It expects figures in `figures/<key>.svg`."""
    parts = [
        f"# {escape(report.question)}",
        f"*{tr(report.kicker)}* · {escape(report.name)}",
    ]
    if report.banner:
        parts.append(f"> **{escape(report.banner)}**")
    if report.verdicts:
        parts.append(
            "\n".join(
                "- " + tr("{term}: {text}", term=f"**{escape(item.note)}**", text=escape(item.text))
                for item in report.verdicts
            )
        )
    parts += [escape(report.answer), *_plot(report.dot_plot)]
    parts.append(f"**{tr('Limitations.')}** {escape(report.limits)}")
    links = [f"[{heading.text}](#{heading.anchor})" for heading in contents(report)]
    parts.append(tr("Contents: {links}", links=" · ".join(links)))
    for block in sections(report):
        parts += _render_block(block)
    return "\n\n".join(part for part in parts if part) + "\n"


def _render_block(block: Block) -> list[str]:
    match block:
        case Heading():
            return [f"{'#' * block.level} {escape(block.text)}"]
        case Command():
            return [_code_block(block.text)]
        case Plot():
            return _plot(block)
        case Table():
            return markdown_table(block)
        case str():
            return [escape(block)]
        case _:
            return [_details(block)]


def escape(text: str) -> str:
    """Escape text: no Markdown or HTML takes effect, and no bare address becomes a link."""
    text = html.escape(text, quote=False)
    text = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)
    text = re.sub(r"(?<=\w)(://|@)", r"<span>\1</span>", text)
    text = re.sub(r"^([#+-])", r"\\\1", text)  # else it would be a heading or a list
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)


def _details(details: tuple[Detail, ...]) -> str:
    return "\n".join(
        "- " + tr("{term}: {text}", term=escape(detail.term), text=_linked(detail.text, detail.url))
        for detail in details
    )


def _linked(text: str, url: str) -> str:
    return f"[{escape(text)}]({url})" if url else escape(text)


def _plot(plot: Plot) -> list[str]:
    return [f"![{escape(plot.alt)}](figures/{plot.key}.svg)", escape(plot.caption)]


def markdown_table(table: Table) -> list[str]:
    """Return a table and its note as Markdown."""
    lines = [
        "| " + " | ".join(escape(column.name) for column in table.columns) + " |",
        "|" + "|".join(" ---: " if column.numeric else " --- " for column in table.columns) + "|",
        *("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows),
    ]
    return ["\n".join(lines), escape(table.note)]


def _cell(cell: Cell) -> str:
    text = escape(cell.text) + (f"<br>{escape(cell.note)}" if cell.note else "")
    if cell.url:
        return text.replace(escape(cell.cited), f"[{escape(cell.cited)}]({cell.url})", 1)
    return text


def _code_block(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}sh\n{text}\n{fence}"
