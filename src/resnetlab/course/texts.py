"""Texts in English and French. Free of torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from resnetlab.reports.format import format_number
from resnetlab.translation import NBSP, Language, typeset_french

_VERBATIM = re.compile(
    r"(^```.*?^```[^\n]*$|^ {4}[^\n]*$|`[^`\n]*`|\]\([^)\n]*\)|<[^>\n]+>)", re.M | re.S
)
"""Parts of Markdown that typography must not change: code, addresses and HTML tags."""


@dataclass(frozen=True)
class Text:
    """Text in both languages."""

    en: str
    fr: str

    def in_language(self, language: Language) -> str:
        """Return the text in a language, the French one with its typography."""
        return self.en if language == "en" else typeset_markdown(self.fr)


def typeset_markdown(text: str) -> str:
    """Return French Markdown with its typography, except in code, addresses and HTML tags."""
    parts = _VERBATIM.split(text)
    return "".join(part if index % 2 else typeset_french(part) for index, part in enumerate(parts))


def localize(value: float, language: Language, digits: int | None = None) -> str:
    """Format a number: `1,191,170` and `47.1` in English, `1 191 170` and `47,1` in French.

    Args:
        value: Number to format.
        language: Language of the text around it.
        digits: Number of decimals; None for a whole number or up to four significant digits.
    """
    if digits is not None:
        text = format_number(value, digits)
        integer, _, rest = text.partition(".")
        sign = integer[:1] if not integer[:1].isdigit() else ""
        grouped = f"{sign}{int(integer.removeprefix(sign)):,}"
        text = f"{grouped}.{rest}" if rest else grouped
    elif float(value).is_integer():
        text = f"{int(value):,}"
    else:
        text = f"{value:,.4g}"
    return text if language == "en" else text.replace(",", NBSP).replace(".", ",")
