"""Files of a student's report: Markdown, HTML and LaTeX, each with the figures. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnetlab import files
from resnetlab.course.pages import MARKS
from resnetlab.course.report import AnswerSection, ReportPart, StudentReport
from resnetlab.course.texts import Text
from resnetlab.reports import figures
from resnetlab.reports.plot_data import LearningCurves
from resnetlab.reports.render import latex, markdown
from resnetlab.reports.render.html import jinja_environment

TITLES = {
    False: Text(
        "Report on the practical: convolutional networks for images",
        "Compte rendu du TP : réseaux convolutionnels pour l'image",
    ),
    True: Text(
        "Report after the session: the starred questions",
        "Compte rendu de suivi : les questions marquées d'une étoile",
    ),
}
"""Titles of the report, and of the short report of the starred questions."""

NO_ANSWER = Text("No answer yet.", "Pas encore de réponse.")


def write_student_report(report: StudentReport, folder: Path) -> dict[str, Path]:
    """Write the report as Markdown, HTML and LaTeX with its figures into `folder`.

    Returns the path of each document: `markdown`, `html` and `latex`. The HTML page is written
    last.
    """
    drawings = {}
    for figure in report.figures:
        drawings[figure.key] = figures.draw_plot(figure)
        svg = figures.to_standalone_svg(drawings[figure.key].wide)
        files.write_text(folder / "figures" / f"{figure.key}.svg", svg)
        with files.atomic_write(folder / "figures" / f"{figure.key}.pdf", "wb") as file:
            file.write(figures.draw_pdf(figure))
    paths = {
        "markdown": folder / "report.md",
        "latex": folder / "report.tex",
        "html": folder / "report.html",
    }
    files.write_text(paths["markdown"], render_markdown(report))
    files.write_text(paths["latex"], render_latex(report))
    files.write_text(paths["html"], render_html(report, drawings))
    return paths


def _title(report: StudentReport) -> str:
    return TITLES[report.stars].in_language(report.language)


def _author(report: StudentReport) -> str:
    return Text(
        f"{report.student}, seed {report.seed}", f"{report.student}, graine {report.seed}"
    ).in_language(report.language)


def _heading(section: AnswerSection) -> str:
    return f"{section.label}.{MARKS[section.mark]} {section.question}"


def _numbers(section: AnswerSection, language: str) -> str:
    separator, colon = ("; ", ": ") if language == "en" else (" ; ", " : ")
    text = separator.join(f"{name}{colon}{value}" for name, value in section.numbers)
    return f"{text}." if text else ""


def _paragraphs(section: AnswerSection, report: StudentReport) -> list[str]:
    """Return the paragraphs of an answer: words, numbers, runs."""
    texts = [part.strip() for part in section.text.split("\n\n")]
    texts += [_numbers(section, report.language), *(run.text for run in section.runs)]
    paragraphs = [text for text in texts if text]
    return paragraphs or [NO_ANSWER.in_language(report.language)]


def render_markdown(report: StudentReport) -> str:
    """Return the report as Markdown. It expects figures in `figures/<key>.svg`."""
    parts = [f"# {markdown.escape(_title(report))}", f"*{markdown.escape(_author(report))}*"]
    for heading, text in report.free_sections:
        parts += [f"## {markdown.escape(heading)}", text]
    for part in report.parts:
        parts.append(f"## {markdown.escape(part.title)}")
        for section in part.sections:
            parts.append(f"**{markdown.escape(_heading(section))}**")
            parts += [markdown.escape(text) for text in _paragraphs(section, report)]
        if part.figure:
            alt = markdown.escape(part.figure.alt)
            parts.append(f"![{alt}](figures/{part.figure.key}.svg)")
            parts.append(markdown.escape(part.figure.caption))
    return "\n\n".join(parts) + "\n"


def render_latex(report: StudentReport) -> str:
    """Return the report as a LaTeX document. It expects figures in `figures/<key>.pdf`."""
    preamble = latex.PREAMBLE
    if report.language == "fr":
        babel = "\\usepackage[french]{babel}\n\\setlength{\\parindent}"
        preamble = preamble.replace("\\setlength{\\parindent}", babel)
    parts = [preamble, rf"{{\Large\bfseries {latex.escape(_title(report))}\par}}"]
    parts.append(rf"\emph{{{latex.escape(_author(report))}}}")
    for heading, text in report.free_sections:
        parts += [rf"\section*{{{latex.escape(heading)}}}", *map(latex.escape, _split(text))]
    for part in report.parts:
        parts += _latex_part(part, report)
    return "\n\n".join([*parts, r"\end{document}"]) + "\n"


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def _latex_part(part: ReportPart, report: StudentReport) -> list[str]:
    parts = [rf"\section*{{{latex.escape(part.title)}}}"]
    for section in part.sections:
        parts.append(rf"\textbf{{{latex.escape(_heading(section))}}}")
        parts += [latex.escape(text) for text in _paragraphs(section, report)]
    if part.figure:
        graphic = rf"\includegraphics[width=.7\linewidth]{{figures/{part.figure.key}.pdf}}"
        parts += [graphic, rf"{{\small {latex.escape(part.figure.caption)}\par}}"]
    return parts


def render_html(report: StudentReport, drawings: dict[str, figures.Drawing]) -> str:
    """Return the report as one HTML page without scripts and external files."""
    template = jinja_environment().get_template("course.html")
    pages = [
        {
            "title": part.title,
            "sections": [
                {"heading": _heading(section), "paragraphs": _paragraphs(section, report)}
                for section in part.sections
            ],
            "figure": _picture(part.figure, drawings),
        }
        for part in report.parts
    ]
    return template.render(
        language=report.language,
        title=_title(report),
        author=_author(report),
        free=[(heading, _split(text)) for heading, text in report.free_sections],
        parts=pages,
        rows=(),
        columns=(),
        notes=(),
    )


def _picture(figure: LearningCurves | None, drawings: dict[str, figures.Drawing]) -> Any:
    if figure is None:
        return None

    drawing = drawings[figure.key]
    svg = figures.themed_picture(drawing.wide, drawing.narrow, figure.alt)
    return {"svg": svg, "caption": figure.caption}


def render_page(
    language: str,
    title: str,
    author: str,
    notes: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> str:
    """Return a page with notes and one table, such as that of a class."""
    template = jinja_environment().get_template("course.html")
    return template.render(
        language=language,
        title=title,
        author=author,
        free=(),
        parts=(),
        rows=rows,
        columns=columns,
        notes=notes,
    )
