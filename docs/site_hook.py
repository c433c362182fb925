"""Events of MkDocs that complete the site: generated pages, pages outside docs/, and links."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from site_reference import reference_pages

ROOT = Path(__file__).resolve().parents[1]

MOVED = {
    "README.md": "project/readme.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "results/README.md": "results/README.md",
    "results/rejudged/README.md": "results/rejudged/README.md",
}
"""Pages of the site by their paths in the repository, for those outside docs/."""

_FENCE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.M | re.S)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s#]*)(#[^()\s]*)?\)")


def on_config(config: Any) -> Any:
    """Add the course to the navigation, after the tutorials, once there is one."""
    course = ROOT / "docs" / "course"
    parts: dict[str, list[str]] = {}
    for path in sorted(course.rglob("*.md")):
        folder = path.relative_to(course).parts[0] if path.parent != course else ""
        parts.setdefault(folder, []).append(path.relative_to(course.parent).as_posix())
    if parts:
        titles = {"en": "English", "fr": "Français", "solutions": "Solutions"}
        groups = [{titles.get(name, name): pages} for name, pages in parts.items() if name]
        config.nav.insert(2, {"Course": [*parts.get("", []), *groups]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated reference, the pages outside docs/, and the committed reports."""
    for path, text in reference_pages().items():
        files.append(File.generated(config, path, content=text))
    for source, page in MOVED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for file in _result_files():
        uri = file.relative_to(ROOT).as_posix()
        files.append(File.generated(config, uri, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ARG001 MkDocs names it
    """Change links to files of the repository into links of the site.

    A link to a file that is not in the site becomes its name.
    """
    source = _source_path(page.file.src_uri)
    markdown = markdown.replace("{{ judge size }}", _judge_size())

    def rewrite(match: re.Match[str]) -> str:
        mark, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        uri = _site_uri(path)
        file = files.get_file_from_path(uri)
        if file is None or file.inclusion.is_excluded():
            return text if (ROOT / path).exists() else match[0]
        relative = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        return f"{mark}[{text}]({relative}{anchor if uri.endswith('.md') else ''})"

    parts = _FENCE.split(markdown)
    return "".join(part if i % 2 else _LINK.sub(rewrite, part) for i, part in enumerate(parts))


def _judge_size() -> str:
    """Return the size of the files with which a page judges, or a note that they are missing."""
    files = list((ROOT / "docs" / "assets" / "judge").glob("*.js"))
    if not files:
        return "Python (which this copy of the site was built without)"
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB of files beside it"


def _source_path(uri: str) -> str:
    """Return the path in the repository of a page of the site."""
    by_page = {page: source for source, page in MOVED.items()}
    return by_page.get(uri, uri if uri.startswith("results/") else f"docs/{uri}")


def _site_uri(path: str) -> str:
    """Return the path in the site of a file of the repository.

    A report is shown by its HTML page, which contains its figures.
    """
    if path in MOVED:
        return MOVED[path]
    if path.startswith("results/"):
        return (
            path.removesuffix("report.md") + "report.html" if path.endswith("report.md") else path
        )
    return path.removeprefix("docs/")


def _result_files() -> list[Path]:
    results = ROOT / "results"
    pages, figures = results.glob("*/report.html"), results.glob("*/figures/*.svg")
    return sorted([*pages, *figures, *(results / "rejudged").glob("*.svg")])


def on_post_page(output: str, page: Any, config: Any) -> str:  # noqa: ARG001 MkDocs names them
    """Name the dialog of the search, for readers of the screen. The theme gives it no name."""
    return output.replace(
        'data-md-component="search" role="dialog"',
        'data-md-component="search" role="dialog" aria-label="Search"',
    )
