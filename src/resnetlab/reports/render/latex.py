"""LaTeX renderer for papers: the same words, tables (booktabs) and numbers, with PDF figures.

It is used on request only. The document needs only a plain TeX Live: pdflatex, booktabs, longtable,
Times.
"""

from __future__ import annotations

import re
from pathlib import Path

from resnetlab import files
from resnetlab.analysis.study_data import StudyData
from resnetlab.reports import figures
from resnetlab.reports.document import Cell, Detail, Report, Table, split_note
from resnetlab.reports.plot_data import Plot
from resnetlab.reports.render.outline import Block, Command, Heading, sections
from resnetlab.reports.study.assemble import build_report
from resnetlab.translation import NARROW_NBSP, NBSP, tr, use_language

PREAMBLE = r"""\documentclass[10pt,a4paper]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{textcomp}
\usepackage{mathptmx}
\usepackage{courier}
\usepackage[margin=18mm]{geometry}
\usepackage{array,booktabs,longtable,graphicx}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}
\setlength{\tabcolsep}{3pt}
\newcommand{\note}[1]{\newline{\tiny #1}}
\sloppy
\begin{document}"""

LATEX_ESCAPES = {
    "²": r"\ensuremath{^2}",
    "³": r"\ensuremath{^3}",
    "Œ": r"\OE{}",
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\N{MINUS SIGN}": r"\ensuremath{-}",
    "\N{EN DASH}": r"\textendash{}",
    "\N{EM DASH}": r"\textemdash{}",
    "\N{GREEK SMALL LETTER NU}": r"\ensuremath{\nu}",
    "\N{PLUS-MINUS SIGN}": r"\ensuremath{\pm}",
    "\N{MULTIPLICATION SIGN}": r"\ensuremath{\times}",
    "\N{RIGHTWARDS ARROW}": r"\ensuremath{\rightarrow}",
    "\N{MIDDLE DOT}": r"\textperiodcentered{}",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    NBSP: "~",
    NARROW_NBSP: r"\,",
    "\N{LEFT DOUBLE QUOTATION MARK}": r"\textquotedblleft{}",
    "\N{RIGHT DOUBLE QUOTATION MARK}": r"\textquotedblright{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": r"\textquoteright{}",
    "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}": r"\guillemotleft{}",
    "\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}": r"\guillemotright{}",
    "\N{LATIN SMALL LIGATURE OE}": r"\oe{}",
    "\N{BLACK STAR}": r"\ensuremath{\star}",
}
"""LaTeX code of characters; a bracket or star after the end of a line would be an argument."""

SEPARATORS = "-_./,="
"""Letters after which a long word may break."""
LONG_WORD, LONG_WORD_IN_CELL, LONG_PIECE, BREAK_DISTANCE = 18, 10, 40, 8
"""Numbers of letters above which a word may break after a separator, in text and in a table; from
which a piece without a separator (a checksum) may break anywhere; and between these breaks.
"""

CHARS_PER_LINE = 150
"""Approximate number of letters of the tables' font size in a line."""


def write_latex(report_or_data: Report | StudyData, folder: Path) -> Path:
    """Write `figures/*.pdf`, then `report.tex` into `folder`, each atomically; return its path.

    Raises ResourceError if the disk is full.
    """
    report = (
        build_report(report_or_data) if isinstance(report_or_data, StudyData) else report_or_data
    )
    path = folder / "report.tex"
    with use_language(report.language):
        for picture in report.plots:
            drawing = figures.draw_pdf(picture)
            with files.atomic_write(folder / "figures" / f"{picture.key}.pdf", "wb") as file:
                file.write(drawing)
        files.write_text(path, render(report))
    return path


def render(report: Report) -> str:
    """Return the document. It expects figures in `figures/<key>.pdf`."""
    parts = [PREAMBLE, rf"{{\Large\bfseries {escape(report.question)}\par}}"]
    kicker = escape(tr(report.kicker))
    parts.append(rf"\emph{{{kicker}}} \textperiodcentered{{}} {escape(report.name)}")
    if report.banner:
        parts.append(rf"\textbf{{{escape(report.banner)}}}")
    if report.verdicts:
        items = "\n".join(
            r"\item "
            + tr(
                "{term}: {text}",
                term=rf"\textbf{{{escape(item.note)}}}",
                text=escape(item.text),
            ).replace(NARROW_NBSP, LATEX_ESCAPES[NARROW_NBSP])
            for item in report.verdicts
        )
        parts.append(f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}")
    parts += [escape(report.answer), *_plot(report.dot_plot)]
    parts.append(rf"\textbf{{{escape(tr('Limitations.'))}}} {escape(report.limits)}")
    for block in sections(report):
        parts += _render_block(block)
    return "\n\n".join(part for part in [*parts, r"\end{document}"] if part) + "\n"


def _render_block(block: Block) -> list[str]:
    match block:
        case Heading():
            command = "section" if block.level == 2 else "subsection"
            return [rf"\{command}*{{{escape(block.text)}}}"]
        case Command():
            return [rf"{{\ttfamily\raggedright {escape(block.text)}\par}}"]
        case Plot():
            return _plot(block)
        case Table():
            return _table(block)
        case str():
            return [escape(block)]
        case _:
            return [_details(block)]


def _details(details: tuple[Detail, ...]) -> str:
    texts = [" ".join(dict.fromkeys(filter(None, (detail.text, detail.url)))) for detail in details]
    items = "\n".join(
        rf"\item[{{{escape(detail.term)}}}] {escape(text)}"
        for detail, text in zip(details, texts, strict=True)
    )
    return f"{{\\small\\begin{{description}}\n{items}\n\\end{{description}}}}" if items else ""


def escape(text: str, long_word: int = LONG_WORD) -> str:
    """Escape text for LaTeX: no commands, no ligatures, and a long word may break.

    Args:
        text: Text without LaTeX.
        long_word: Number of letters above which a word may break after a separator.
    """
    words = re.split(r"(\s+)", text)
    return "".join(
        " "
        if word.isspace() and not {NBSP, NARROW_NBSP} & set(word)
        else _escape_word(word, long_word)
        for word in words
    )


def _escape_word(word: str, long_word: int) -> str:
    is_long = len(word) > long_word
    parts: list[str] = []
    for match in re.finditer(rf"[^{SEPARATORS}]*[{SEPARATORS}]?", word):
        for offset, letter in enumerate(match[0]):
            if offset and len(match[0]) >= LONG_PIECE and offset % BREAK_DISTANCE == 0:
                parts.append(r"\allowbreak{}")
            position = match.start() + offset
            parts.append(_escape_char(letter, word[position - 1] if position else ""))
        if is_long and match[0][-1:] in tuple(SEPARATORS):
            parts.append(r"\allowbreak{}")
    return "".join(parts)


def _escape_char(char: str, previous: str) -> str:
    if char in LATEX_ESCAPES:
        return LATEX_ESCAPES[char]
    if char == previous and char in "-,":  # LaTeX would join two of them to another character
        return f"{{{char}}}"
    if char.isascii() and char.isprintable():
        return char
    # Latin-1, for French and German.
    if char.isalpha() and char <= "\N{LATIN SMALL LETTER Y WITH DIAERESIS}":
        return char
    return rf"{{[}}U+{ord(char):04X}{{]}}"  # the fonts of the document lack this letter


def _plot(plot: Plot) -> list[str]:
    graphic = rf"\includegraphics[width=\linewidth]{{figures/{plot.key}.pdf}}"
    return [
        f"% {' '.join(escape(plot.alt).split())}\n{graphic}",
        rf"{{\small {escape(plot.caption)}\par}}",
    ]


def _table(table: Table) -> list[str]:
    columns = "".join(
        rf">{{\ragged{'left' if column.numeric else 'right'}\arraybackslash}}"
        rf"p{{{width:.4f}\linewidth}}"
        for column, width in zip(table.columns, _widths(table), strict=True)
    )
    head = " & ".join(escape(column.name, LONG_WORD_IN_CELL) for column in table.columns) + r" \\"
    lines = [
        rf"{{\scriptsize\begin{{longtable}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        head,
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endlastfoot",
        *(" & ".join(_cell(cell) for cell in row) + r" \\" for row in table.rows),
        r"\end{longtable}}",
    ]
    return ["\n".join(lines), rf"{{\small {escape(table.note)}\par}}" if table.note else ""]


def _widths(table: Table) -> list[float]:
    """Return each column's share of the line: by its longest text, at most a third."""
    natural = []
    for index, column in enumerate(table.columns):
        lines = [
            line for row in table.rows for line in (row[index].text, *split_note(row[index].note))
        ]
        word = max(len(part) for part in re.split(rf"\s+|(?<=[{SEPARATORS}])", column.name))
        natural.append(2 + max([word, *(min(len(line), CHARS_PER_LINE // 3) for line in lines)]))
    gaps = 0.014 * (len(natural) - 1)
    scale = min(1 / CHARS_PER_LINE, (1 - gaps) / sum(natural))
    return [scale * letters for letters in natural]


def _cell(cell: Cell) -> str:
    notes = (
        "".join(rf"\note{{{escape(part, LONG_WORD_IN_CELL)}}}" for part in split_note(cell.note))
        if cell.note
        else ""
    )
    return escape(cell.text, LONG_WORD_IN_CELL) + notes
