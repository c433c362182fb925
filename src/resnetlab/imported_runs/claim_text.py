"""Claims and published numbers as text: `A > B`, `A = B within 0.5`, `A fails and B trains`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from resnetlab.errors import InputError, input_error, suggest
from resnetlab.imported_runs.declaration import MAX_RUNS
from resnetlab.schema import decode
from resnetlab.studies.claims import AnyClaim, Claim
from resnetlab.studies.imported_design import PublishedValue
from resnetlab.studies.measure import Measure

GRAMMAR = "A > B; A > B + 1; A > B by 2 within 1; A = B within 0.5; A fails and B trains; A > all"
"""Forms of a claim. `>` means better: higher, or lower for an error or a loss."""

NUMBER = r"(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,2})?"
"""Pattern of a number without a sign: `1`, `0.5`, `.5` or `1e-3`. Its length is bounded, so that no
number overflows.
"""

_NUMBER = f"({NUMBER})"
_KEYWORDS = {"fails", "and", "trains", "within", "by", "all"}
_FAILS = re.compile(r"(.+?) fails and (.+?) trains")
_EQUAL = re.compile(rf"(.+?) = (.+?) within {_NUMBER}")
_ABOUT = re.compile(rf"(.+?) ([<>]) (.+?) by {_NUMBER}(?: within {_NUMBER})?")
_MORE = re.compile(rf"(.+?) > (.+?) \+ {_NUMBER}")
_GREATER = re.compile(r"(.+?) ([<>]) (.+)")
_RIGHT = re.compile(r" [<>] ")
_PUBLISHED = re.compile(rf"(.+?) = (best )?([+-]?{NUMBER})(?: of (\d{{1,40}}))?(?: \((.+)\))?")


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
    names = _Names(conditions, text, where)
    table = _claim_table(names.masked, names, measure)
    if table is None:
        fix = _example(conditions)
        raise input_error(where, "not a claim", fix, got=names.text, allowed=GRAMMAR)
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
            if not rivals:
                fix = "give a table with two conditions"
                raise input_error(names.where, f"only {left} is there", fix, got=names.text)
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
    names = _Names(conditions, text, where)
    match = _PUBLISHED.fullmatch(names.masked)
    if match is None:
        fix = f'"{quoted_name(conditions[0])} = 93.57 of 5 (He et al. 2016)"'
        raise input_error(where, "not a published number", fix, got=names.text)
    num_runs = int(match[4] or 1)
    if not 1 <= num_runs <= MAX_RUNS:
        allowed = f"1 to {MAX_RUNS:,}"
        fix = "give the number of runs of the source, or leave it out"
        raise input_error(where, "not a number of runs", fix, got=match[4], allowed=allowed)
    return PublishedValue(
        condition=names.condition(match[1]),
        value=float(match[3]),
        num_runs=num_runs,
        statistic="best" if match[2] else "mean",
        half_width=_half_of_last_digit(match[3]),
        source=match[5] or "",
    )


def _half_of_last_digit(number: str) -> float:
    """Return half of the unit of the last digit of a number as text: 0.005 for `93.57`."""
    digits, _, exponent = number.lower().partition("e")
    return 0.5 * 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


def quoted_name(name: str) -> str:
    """Return a name as a claim can have it: in quotes, if its words may be those of the grammar."""
    words = name.split(" ")
    is_plain = all(re.fullmatch(r"[\w.-]+", word) for word in words)
    return name if is_plain and not _KEYWORDS.intersection(words) else f'"{name}"'


class _Names:
    """Names of conditions in a text.

    `text` is the text with single spaces. In `masked` a mark stands for each condition in quotes,
    because its name may contain signs of the grammar, such as ` = `.
    """

    def __init__(self, conditions: Sequence[str], text: str, where: str) -> None:
        self.conditions, self.where = conditions, where
        self.text = " ".join(text.replace("\0", " ").split())
        self._by_mark: dict[str, str] = {}
        longest_first = sorted((" ".join(name.split()) for name in conditions), key=len)[::-1]
        names = "|".join(map(re.escape, longest_first))
        quoted = rf"(?<!\S)(?:\"(?:{names})\"|'(?:{names})')(?!\S)"
        self.masked = re.sub(quoted, self._mask, self.text, flags=re.IGNORECASE)

    def _mask(self, match: re.Match[str]) -> str:
        mark = f"\0{len(self._by_mark)}"
        self._by_mark[mark] = match[0]
        return mark

    def is_known(self, name: str) -> bool:
        return any(_folded(one) == _folded(name) for one in self.conditions)

    def condition(self, name: str) -> str:
        """Return the condition with a name, in quotes or not.

        Raises InputError if there is none.
        """
        bare = re.sub(r"\0\d+", lambda match: self._by_mark[match[0]], name.strip())
        if bare in self.conditions:
            return bare
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
            fix = _example(self.conditions)
            raise input_error(self.where, "compares a condition with itself", fix, got=self.text)
        first, second = (second, first) if sign == "<" else (first, second)
        return {"left": first, "right": second}

    def _error(self, name: str) -> InputError:
        fix = suggest(name, self.conditions) or _example(self.conditions)
        allowed = ", ".join(self.conditions[:20])
        return input_error(
            self.where, f"{self.text}: no such condition", fix, got=name, allowed=allowed
        )


def _folded(name: str) -> str:
    return " ".join(name.lower().split())


def _example(conditions: Sequence[str]) -> str:
    names = conditions[:2] if len(conditions) > 1 else ("A", "B")
    text = " > ".join(map(quoted_name, names))
    return f"'{text}'" if '"' in text else f'"{text}"'
