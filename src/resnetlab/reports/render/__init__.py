"""Writers of a report: HTML, Markdown and LaTeX from the same plain values."""
