"""Page in the browser: the report with a status line above it, and the script that refreshes it."""

from __future__ import annotations

import html
import re
from importlib import resources

from resnetlab.translation import Language, tr, use_language
from resnetlab.watch.latest_page import LivePage

SCRIPT, STYLE = "watch.js", "watch.css"
"""Names of the files that the server adds to the report."""

ADDED_FILES = {
    f"/{name}": (resources.files("resnetlab.watch") / "templates" / name).read_bytes()
    for name in (SCRIPT, STYLE)
}
"""Content of these files, by their paths on the server."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the page before the first report."""

# A module: the names of its script are not those of the report's own script.
_ADDED_TAGS = (
    f'<link rel="stylesheet" href="/{STYLE}">\n<script type="module" src="/{SCRIPT}"></script>\n'
)
_POLICY_TAG = re.compile(r'(<meta http-equiv="Content-Security-Policy" content=")([^"]*)(">)')


def live_page(page: LivePage, title: str, language: Language) -> str:
    """Return the report of `page` with its status line, or a page that waits for the report.

    Args:
        page: Latest page of the study.
        title: Question of the study.
        language: Language of the page.
    """
    report = page.report or _waiting_page(title, language)
    report = _POLICY_TAG.sub(
        lambda match: f"{match[1]}{_with_added_files(match[2])}{match[3]}", report
    )
    report = report.replace("</head>", f"{_ADDED_TAGS}</head>", 1)
    with use_language(language):
        words = {"pause": tr("Pause"), "lost": tr("no connection to resnetlab watch")}
    bar = (
        f'<div id="watch" data-version="{html.escape(page.version)}"'
        f' data-lost="{html.escape(words["lost"])}"><span>{html.escape(page.status)}</span>'
        f'<button type="button" aria-pressed="false" hidden>{html.escape(words["pause"])}</button>'
        "</div>"
    )
    return report.replace("<body>", f"<body>\n{bar}", 1)


def _with_added_files(policy: str) -> str:
    """Return a content security policy that also allows the script, the style and the events."""
    directives = [directive.split() for directive in html.unescape(policy).split(";")]
    by_name = {words[0]: words[1:] for words in directives if words}
    for name in ("script-src", "style-src", "connect-src"):
        sources = [source for source in by_name.get(name, []) if source != "'none'"]
        by_name[name] = list(dict.fromkeys([*sources, "'self'"]))
    text = "; ".join(" ".join([name, *sources]) for name, sources in by_name.items())
    return html.escape(text, quote=False)


def _waiting_page(title: str, language: Language) -> str:
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n</head>\n<body>\n"
        f"<main><h1>{html.escape(title)}</h1></main>\n</body>\n</html>\n"
    )
