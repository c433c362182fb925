"""Bibliography of the catalog, and citations such as `he2016, table 6`. Free of torch."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Annotated

from resnetlab.errors import suggest
from resnetlab.schema import HttpsUrl, PositiveInt, checked_by, decode, parse_toml, strict_dataclass
from resnetlab.schema_errors import FieldError


@strict_dataclass
class Work:
    """Work that studies cite: an article, a report, slides or a repository."""

    short: str
    """Short name for a table: `He et al. 2016`."""
    title: str
    """Title of the work."""
    authors: str = "Author names not given"
    """Authors as a bibliography prints them."""
    year: PositiveInt | None = None
    """Year of publication."""
    url: HttpsUrl = ""
    """HTTPS address of the work."""

    @property
    def full(self) -> str:
        """Title, authors and year in one line."""
        return ". ".join(str(part) for part in (self.title, self.authors, self.year) if part) + "."


@cache
def bibliography() -> dict[str, Work]:
    """Return the works of the catalog by key."""
    file = "bibliography.toml"
    text = (resources.files("resnetlab.catalog") / file).read_text(encoding="utf-8")
    return {key: decode(Work, table, file, key) for key, table in parse_toml(text, file).items()}


def cited_works(source: str) -> list[tuple[str, str]]:
    """Split a source into pairs of a key and the citation as a report prints it.

    A source has one or more parts with `; ` between them. A part is a key, or a key with a comma
    and a place in the work: `he2016, table 6`. The key is empty for a part in free words.

    Args:
        source: Source of a claim, a rung or published numbers.

    Returns:
        Pairs such as `("he2016", "He et al. 2016, table 6")`.
    """
    pairs = []
    for part in filter(None, source.split("; ")):
        key, comma, location = part.partition(",")
        work = bibliography().get(key)
        pairs.append((key, f"{work.short}{comma}{location}") if work else ("", part))
    return pairs


def format_citation(source: str) -> str:
    """Return a source as a report prints it: `he2016, table 6` as `He et al. 2016, table 6`."""
    return "; ".join(text for _, text in cited_works(source))


def _check_citation(source: str) -> str:
    """Refuse a part that looks like a key of the bibliography but is none."""
    known = bibliography()
    for part in filter(None, source.split("; ")):
        key = part.partition(",")[0]
        if key not in known and re.fullmatch(r"[a-z0-9-]+", key):
            fix = (
                suggest(key, known) or f"one of {', '.join(known)}, or more words for another work"
            )
            raise FieldError("", f'"{key}" is no key of the bibliography', fix)
    return source


Citation = Annotated[str, checked_by(_check_citation)]
"""Source: a key of the bibliography and a place in the work, or free words such as `Smith 2024`."""
