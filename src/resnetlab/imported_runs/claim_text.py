"""Claims and published numbers as text: `A > B`, `A = B within 0.5`, `A fails and B trains`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from resnetlab.errors import InputError, input_error, suggest
from resnetlab.schema import decode
from resnetlab.studies.claims import AnyClaim, Claim
from resnetlab.studies.imported_design import PublishedValue
from resnetlab.studies.measure import Measure

GRAMMAR = "A > B; A > B + 1; A > B by 2 within 1; A = B within 0.5; A fails and B trains; A > all"
"""Forms of a claim. `>` means better: higher, or lower for an error or a loss."""

_NUMBER = r"(\d+(?:\.\d+)?)"
_FAILS = re.compile(r"(.+?) fails and (.+?) trains")
_EQUAL = re.compile(rf"(.+?) = (.+?) within {_NUMBER}")
_ABOUT = re.compile(rf"(.+?) ([<>]) (.+?) by {_NUMBER}(?: within {_NUMBER})?")
_MORE = re.compile(rf"(.+?) > (.+?) \+ {_NUMBER}")
_GREATER = re.compile(r"(.+?) ([<>]) (.+)")
_RIGHT = re.compile(r" [<>] ")
_PUBLISHED = re.compile(r"(.+?) = (best )?([+-]?\d+(?:\.(\d+))?)(?: of (\d+))?(?: \((.+)\))?")


def parse_claim(text: str, conditions: Sequence[str], measure: Measure, where: str) -> AnyClaim:
    """Return the claim that a text states about conditions.

    Args:
        text: Claim in one of the forms of `GRAMMAR`.
        conditions: Names of the conditions.
        measure: Measure of the runs, for the sentence of the claim.
        where: Origin of the text for errors, such as `--claim`.

    Raises:
        InputError: The text has none of the forms, or names no condition.
    """
    text = " ".join(text.split())
    names = _Names(conditions, text, where)
    table = _claim_table(text, names, measure)
    if table is None:
        fix = f'"{_example(conditions)}"'
        raise input_error(where, "not a claim", fix, got=text, allowed=GRAMMAR)
    if table["kind"] != "fails-and-trains":
        table["metric"] = claim_metric(measure)
    claim: AnyClaim = decode(Claim, table, where)
    return claim


def _claim_table(text: str, names: _Names, measure: Measure) -> dict[str, Any] | None:
    """Return the fields of a claim, or None if the text has none of the forms."""
    if match := _FAILS.fullmatch(text):
        sides = names.pair(match[1], match[2])
        return {
            "kind": "fails-and-trains",
            "statement": f"{sides['left']} fails and {sides['right']} trains.",
            **sides,
        }
    if match := _EQUAL.fullmatch(text):
        sides, margin = names.pair(match[1], match[2]), float(match[3])
        amount = _amount_text(margin, measure)
        statement = f"{sides['left']} and {sides['right']} are within {amount} in {measure.name}."
        return {"kind": "equal", "statement": statement, **sides, "margin": margin}
    if (match := _ABOUT.fullmatch(text)) and not names.is_known(_RIGHT.split(text, 1)[-1]):
        sides, size = names.pair(match[1], match[3], match[2]), float(match[4])
        statement = f"{_better(sides, measure)}, by about {_amount_text(size, measure)}."
        margins = {"margin": float(match[5])} if match[5] else {}
        return {"kind": "about", "statement": statement, **sides, "size": size, **margins}
    if (match := _MORE.fullmatch(text)) and not names.is_known(f"{match[2]} + {match[3]}"):
        sides, more = names.pair(match[1], match[2]), float(match[3])
        statement = f"{_better(sides, measure)}, by more than {_amount_text(more, measure)}."
        return {"kind": "greater", "statement": statement, **sides, "by_more_than": more}
    if match := _GREATER.fullmatch(text):
        if match[2] == ">" and match[3] == "all" and not names.is_known("all"):
            left = names.condition(match[1])
            statement = f"{left} has the best {measure.name} of all conditions."
            rivals = [name for name in names.conditions if name != left]
            return {"kind": "best", "statement": statement, "left": left, "rivals": rivals}
        sides = names.pair(match[1], match[3], match[2])
        return {"kind": "greater", "statement": f"{_better(sides, measure)}.", **sides}
    return None


def _better(sides: dict[str, str], measure: Measure) -> str:
    """Return the sentence that left is better: higher, or lower for an error or a loss."""
    word = "higher" if measure.higher_is_better else "lower"
    return f"{sides['left']} has a {word} {measure.name} than {sides['right']}"


def _amount_text(amount: float, measure: Measure) -> str:
    if measure.unit != "%":
        return f"{amount:g}"
    return f"{amount:g} {'point' if amount == 1 else 'points'}"


def claim_metric(measure: Measure) -> str:
    """Return the metric of claims about imported runs, which fixes the words of their direction."""
    return "top1" if measure.higher_is_better else "error"


def parse_published(text: str, conditions: Sequence[str], where: str) -> PublishedValue:
    """Return the published number of a text: `A = 93.57`, `A = best 93.57 of 5 (He 2016)`.

    Raises:
        InputError: The text has another form, or names no condition.
    """
    text = " ".join(text.split())
    match = _PUBLISHED.fullmatch(text)
    if match is None:
        fix = f'"{conditions[0]} = 93.57 of 5 (He et al. 2016)"'
        raise input_error(where, "not a published number", fix, got=text)
    return PublishedValue(
        condition=_Names(conditions, text, where).condition(match[1]),
        value=float(match[3]),
        num_runs=int(match[5] or 1),
        statistic="best" if match[2] else "mean",
        half_width=0.5 * 10.0 ** -len(match[4] or ""),
        source=match[6] or "",
    )


class _Names:
    """Names of conditions in a text."""

    def __init__(self, conditions: Sequence[str], text: str, where: str) -> None:
        self.conditions, self.text, self.where = conditions, text, where

    def is_known(self, name: str) -> bool:
        return any(_folded(one) == _folded(name) for one in self.conditions)

    def condition(self, name: str) -> str:
        """Return the condition with a name, in quotes or not.

        Raises InputError if there is none.
        """
        bare = name.strip()
        if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":
            bare = bare[1:-1]
        if bare in self.conditions:
            return bare
        # Spaces are one space in the text of a claim.
        same = [one for one in self.conditions if _folded(one) == _folded(bare)]
        if len(same) == 1:
            return same[0]
        raise self._error(bare)

    def pair(self, left: str, right: str, sign: str = ">") -> dict[str, str]:
        """Return two different conditions as `left` and `right`, exchanged for the sign `<`.

        Raises InputError if they are the same condition.
        """
        first, second = self.condition(left), self.condition(right)
        if first == second:
            fix = f'"{_example(self.conditions)}"'
            raise input_error(self.where, "compares a condition with itself", fix, got=self.text)
        first, second = (second, first) if sign == "<" else (first, second)
        return {"left": first, "right": second}

    def _error(self, name: str) -> InputError:
        fix = suggest(name, self.conditions) or f'"{_example(self.conditions)}"'
        allowed = ", ".join(self.conditions[:20])
        return input_error(
            self.where, f"{self.text}: no such condition", fix, got=name, allowed=allowed
        )


def _folded(name: str) -> str:
    return " ".join(name.lower().split())


def _example(conditions: Sequence[str]) -> str:
    return f"{conditions[0]} > {conditions[1]}" if len(conditions) > 1 else "A > B"
