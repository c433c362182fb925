"""Writer of sentences with numbers, in English or in French.

It formats every number, and keeps its value: so the numbers of a sentence are those of the runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from resnetlab.reports.format import format_number, format_signed, join_words
from resnetlab.stats.intervals import Interval
from resnetlab.translation import NBSP, Language, typeset_french


class AnswerWriter:
    """Writer of the sentences of one answer in one language.

    `values` collects each number by name, and `prefix` keeps the names of different pieces of
    evidence apart.
    """

    def __init__(self, language: Language) -> None:
        """Start without sentences and values."""
        self.language = language
        self.values: dict[str, float] = {}
        self.prefix = ""

    def say(self, english: str, french: str) -> str:
        """Return the sentence in the language of the writer."""
        return english if self.language == "en" else typeset_french(french)

    def number(self, name: str, value: float, digits: int = 1, *, signed: bool = False) -> str:
        """Format a number and keep its value: `47.1`, `+3.2`, `47,1`."""
        self.values[self._free_name(name, value)] = value
        return self._localize((format_signed if signed else format_number)(value, digits))

    def count(self, name: str, value: float) -> str:
        """Format a count with thousands separators and keep its value: `1,191,170`, `0.001`."""
        self.values[self._free_name(name, value)] = value
        return self._localize(f"{value:,.10g}")

    def interval(self, name: str, interval: Interval | None, digits: int = 1) -> str:
        """Format an interval after a space and keep its ends; empty text for None."""
        if interval is None or interval.low == interval.high:
            return ""
        low = self.number(f"{name}, low", interval.low, digits)
        high = self.number(f"{name}, high", interval.high, digits)
        return f" [{low}{', ' if self.language == 'en' else ' ; '}{high}]"

    def points_fr(self, value: float, unit: str = "point") -> str:
        """Return the French unit of a number: the plural begins at 2."""
        return unit if abs(value) < 2 else f"{unit}s"

    def label(self, label: str) -> str:
        """Quote the label of a condition or the statement of a claim."""
        return f"“{label}”" if self.language == "en" else f"« {label} »"

    def labels(self, labels: Sequence[str]) -> str:
        """Quote and join labels: `“a”, “b” and “c”`."""
        quoted = join_words([self.label(label) for label in labels])
        return quoted if self.language == "en" else quoted.replace("» and «", "» et «")

    def join(self, parts: Sequence[str]) -> str:
        """Join parts of a sentence that contain commas: `a; b; c`."""
        return ("; " if self.language == "en" else f"{NBSP}; ").join(parts)

    def _localize(self, number: str) -> str:
        if self.language == "en":
            return number
        return number.replace(",", NBSP).replace(".", ",")

    def _free_name(self, name: str, value: float) -> str:
        """Return the name with the prefix, and with a number if it has another value already."""
        full = f"{self.prefix}{name}"
        number = 2
        while self.values.get(full, value) != value:
            full = f"{self.prefix}{name} ({number})"
            number += 1
        return full
