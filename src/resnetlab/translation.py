"""Texts of reports and pages in English and French, as gettext has them.

English is written in the code: `tr("{count} of {total} finished", count=3, total=5)`. The catalog
`catalog/french.toml` has the French sentence for each English one, and
`catalog/studies-french.toml` has those of the catalog's study files. A page is made in one
language: `with use_language("fr"): ...`. Errors, terminal output, JSON and CSV are always English.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args

from resnetlab.errors import input_error
from resnetlab.messages import format_count as format_english_count

Language = Literal["en", "fr"]
"""Language of a page: English or French."""

LANGUAGES: tuple[Language, ...] = get_args(Language)

NBSP = "\N{NO-BREAK SPACE}"
NARROW_NBSP = "\N{NARROW NO-BREAK SPACE}"
"""Space of French typography: before `; : ! ? %` and between thousands."""

_language: ContextVar[Language] = ContextVar("language", default="en")


@contextmanager
def use_language(language: Language) -> Iterator[None]:
    """Write the texts inside the `with` block in a language."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def current_language() -> Language:
    """Return the language of the texts that are being written."""
    return _language.get()


def locale_language(environment: Mapping[str, str] = os.environ) -> Language:
    """Return the language of the locale (LC_ALL, LC_MESSAGES or LANG), else English."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if locale := environment.get(name):
            return "fr" if re.match("fr([_.@-]|$)", locale, re.I) else "en"
    return "en"


def check_language(language: str) -> Language:
    """Return the language of `--lang`, or that of the locale for an empty one.

    Raises:
        InputError: There are no texts in this language.
    """
    for known in LANGUAGES:
        if language == known:
            return known
    if not language:
        return locale_language()
    raise input_error(
        "--lang", "not a language of resnetlab", "--lang fr", got=language, allowed="en, fr"
    )


@dataclass(frozen=True)
class Message:
    """Sentence that is translated later, by `tr`, such as the reason of a verdict.

    `str` gives it in English, for errors, the terminal and data files.
    """

    template: str
    """English text, a key of the catalog, with placeholders as `str.format`."""
    values: Mapping[str, object] = field(default_factory=dict, hash=False)
    """Value of each placeholder. One that is a message too is translated with this one."""

    def __str__(self) -> str:
        return self.template.format(**self.values)


def tr(text: str | Message, /, **values: Any) -> str:
    """Translate a text into the language in use and fill in its values.

    Args:
        text: English text of the code, a key of the catalog, with placeholders as `str.format`; or
            a message, which has its values.
        values: Value of each placeholder. Numbers are formatted for the language, and messages are
            translated.
    """
    if isinstance(text, Message):
        return tr(text.template, **text.values)
    if current_language() == "en":
        return text.format(**values) if values else text
    return _fill(_catalog().sentences.get(text, text), values)


def deferred(text: str) -> str:
    """Mark a text of the catalog that `tr` translates later, where it is used.

    A constant needs it, because the language is not known when its module is imported.
    """
    return text


def tr_word(word: str) -> str:
    """Translate a word that is a value of data, such as the status of a run.

    The catalog has these words in `[[word]]`. One that it lacks, such as the name of a user's
    measure, is returned as it is.
    """
    return word if current_language() == "en" else _catalog().words.get(word, word)


def tr_recorded(text: str) -> str:
    """Translate a sentence of a file: the reason of a run's status, a caveat, a note.

    Files of runs and models have finished English sentences, whose values only a pattern finds
    again. The catalog has these sentences in `[[recorded]]`; the first one that matches is taken.
    A sentence that it lacks, such as one that a user wrote, is returned as it is. A sentence that
    comes from no file is a `Message`, which needs no pattern.
    """
    if current_language() == "en":
        return text
    texts, patterns = _catalog().recorded
    if text in texts:
        return texts[text]
    for pattern, french in patterns:
        if match := pattern.fullmatch(text):
            parts = {name: tr_recorded(part) for name, part in match.groupdict().items()}
            return _fill(french, parts)
    is_number = re.fullmatch(r"[-+−]?[\d,]+(\.\d+)?", text)
    return localize_number(text) if is_number else tr_word(text)


def tr_study(text: str) -> str:
    """Translate a text of a study file: its question, a claim, an explanation.

    The texts of the catalog's studies have a translation. A text that somebody else wrote is
    returned as it is.
    """
    if current_language() == "en":
        return text
    texts, patterns = _study_texts()
    if text in texts:
        return texts[text]
    for pattern, french in patterns:
        if match := pattern.fullmatch(text):
            return _fill(french, match.groupdict())
    # A variant adds its reason to the description of the study.
    for start in texts:
        if text.startswith(f"{start} "):
            return f"{texts[start]} {tr_study(text.removeprefix(start).strip())}"
    return text


def tr_count(count: float, noun: str) -> str:
    """Format a count with its noun: `1 run`, `1,200 runs`; in French `1 200 essais`."""
    if current_language() == "en":
        return format_english_count(count, noun)
    one, other = _catalog().nouns.get(noun, (noun, noun))
    # The French plural begins at 2.
    return f"{localize_number(f'{count:,.10g}')} {one if abs(count) < 2 else other}"


def localize_number(text: str) -> str:
    """Write a formatted number in the language in use: `1,191.5`, in French `1 191,5`."""
    if current_language() == "en":
        return text
    return text.replace(",", NARROW_NBSP).replace(".", ",")


def typeset_french(text: str, space: str = NBSP) -> str:
    """Return French text with its typography: no-break spaces inside guillemets and before double
    punctuation and percent signs, and curved apostrophes.
    """
    text = re.sub(r" ([:;?!%»])", rf"{space}\1", text).replace("« ", f"«{space}")
    return text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")


class _FrenchFormatter(string.Formatter):
    """Formatter of `str.format` that writes numbers and messages in French."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Message):
            return tr(value)
        text: str = format(value, format_spec)
        return localize_number(text) if isinstance(value, int | float) else text


def _fill(french: str, values: Mapping[str, Any]) -> str:
    return _FrenchFormatter().vformat(french, (), values) if values else french


_Patterns = tuple[tuple[re.Pattern[str], str], ...]


@dataclass(frozen=True)
class _Catalog:
    sentences: dict[str, str]
    """French sentence by the English one of the code."""
    words: dict[str, str]
    """French word by the English one of the data."""
    recorded: tuple[dict[str, str], _Patterns]
    """French sentence by the English one of files, and patterns of those that contain values."""
    nouns: dict[str, tuple[str, str]]
    """French singular and plural by the English noun."""


@cache
def _catalog() -> _Catalog:
    tables = _read_catalog("french.toml")
    return _Catalog(
        {item["en"]: _typeset(item["fr"]) for item in tables["sentence"]},
        {item["en"]: _typeset(item["fr"]) for item in tables["word"]},
        _texts_and_patterns(tables["recorded"]),
        {item["en"]: (item["one"], item["other"]) for item in tables["noun"]},
    )


@cache
def _study_texts() -> tuple[dict[str, str], _Patterns]:
    return _texts_and_patterns(_read_catalog("studies-french.toml")["text"])


def _read_catalog(name: str) -> dict[str, list[dict[str, str]]]:
    import tomllib  # here, because every command imports this module
    from importlib import resources

    path = resources.files("resnetlab") / "catalog" / name
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _texts_and_patterns(entries: list[dict[str, str]]) -> tuple[dict[str, str], _Patterns]:
    """Return the French text by the English one, and those with values as patterns."""
    texts = {item["en"]: _typeset(item["fr"]) for item in entries if "{" not in item["en"]}
    patterns = tuple(
        (_pattern(item["en"]), _typeset(item["fr"])) for item in entries if "{" in item["en"]
    )
    return texts, patterns


def _typeset(text: str) -> str:
    return typeset_french(text, NARROW_NBSP)


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern that matches a text whose placeholders are replaced by values."""
    parts = re.split(r"\{(\w+)\}", text)
    return re.compile(
        "".join(f"(?P<{p}>.+?)" if i % 2 else re.escape(p) for i, p in enumerate(parts)), re.S
    )
