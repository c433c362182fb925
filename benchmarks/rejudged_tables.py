"""Published tables of results/rejudged, and the verdicts of `resnetlab judge` on their claims."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from resnetlab.analysis.analyze import analyze
from resnetlab.imported_runs.declaration import declare
from resnetlab.imported_runs.frames import from_frame
from resnetlab.imported_runs.imported_study import import_runs
from resnetlab.imported_runs.summaries import judge_summaries
from resnetlab.stats.contrasts import Effect
from resnetlab.stats.power import ALPHA, required_seeds
from resnetlab.stats.verdict import Verdict

FOLDER = Path(__file__).resolve().parents[1] / "results" / "rejudged"
MAX_SEEDS = 1_000
WORDS = {"reproduced": "supported", "contradicted": "contradicted", "inconclusive": "inconclusive"}
"""Words of the page for the verdicts of the tool: no run was repeated here."""


class Pair(NamedTuple):
    """Claim of a table: `left` is better than `right` in a column."""

    column: str
    left: str
    right: str

    @property
    def labels(self) -> tuple[str, str]:
        """Names of the two conditions, as `resnetlab judge` forms them from two columns."""
        return f"{self.column} / {self.left}", f"{self.column} / {self.right}"


@dataclass(frozen=True)
class Row:
    """Row of a column of a table: mean and spread as they are printed."""

    column: str
    row: str
    role: str
    """`proposed`, `variant` of the proposal, `privileged` by more supervision, or `other`."""
    mean: str
    spread: str
    n: int

    @property
    def usable(self) -> bool:
        """Whether the row has runs with a spread that is not 0."""
        return self.n > 1 and float(self.spread or 0) > 0


@dataclass(frozen=True)
class JudgedClaim:
    """Verdict on a claim, with the numbers of its row on the page."""

    pair: Pair
    runs: tuple[int, int]
    sds: tuple[float, float]
    verdict: Verdict
    seeds: int | None
    """Runs per row that decide the claim with 80 % power; None is more than `MAX_SEEDS`."""
    after_rounding: str
    """Word of the verdict with the least favorable rounding of the printed numbers."""
    other_reading: str = ""
    """Word of the verdict with the other reading of the spread, if there is one."""

    @property
    def word(self) -> str:
        """Verdict in the words of the page."""
        return WORDS[self.verdict.label]

    @property
    def effect(self) -> Effect:
        """Difference of the means; it is positive if the left row is better."""
        assert self.verdict.effect is not None
        return self.verdict.effect

    @property
    def sd(self) -> float:
        """Standard deviation of a run: the root mean square of both rows."""
        return math.sqrt(statistics.fmean(sd**2 for sd in self.sds))


class Moved(NamedTuple):
    """Change of the rows before a test: the means of a claim move towards each other by `mean`
    each, and their spreads grow by `spread`.
    """

    mean: float = 0.0
    spread: float = 0.0


UNMOVED = Moved()


@dataclass(frozen=True)
class Table:
    """Published table with its source and its claims."""

    name: str
    details: dict[str, Any]
    rows: tuple[Row, ...]
    runs: tuple[dict[str, str], ...]
    """Values of the runs of the rows that claims compare; empty if they are not public."""

    @property
    def claims(self) -> list[Pair]:
        """Claims of the table."""
        return [Pair(**claim) for claim in self.details.get("claim", ())]

    @property
    def without_claim(self) -> list[Pair]:
        """Columns in which the proposal is not the best."""
        return [Pair(**claim) for claim in self.details.get("no_claim", ())]

    @property
    def sign(self) -> int:
        """Return 1 if higher is better, else -1."""
        return -1 if self.details["higher_is"] == "worse" else 1

    def row(self, column: str, name: str) -> Row:
        """Return a row of a column."""
        return next(row for row in self.rows if (row.column, row.row) == (column, name))

    def select_pairs(self) -> list[Pair]:
        """Return the pairs that the rule of the protocol selects, with or without a claim."""
        columns = list(dict.fromkeys(row.column for row in self.rows))[:5]
        pairs = []
        for column in columns:
            rows = [row for row in self.rows if row.column == column and row.usable]
            proposed = [row.row for row in rows if row.role == "proposed"]
            others = [row for row in rows if row.role == "other"]
            ranked = sorted(others, key=lambda row: -self.sign * float(row.mean))
            best = [row.row for row in (ranked if len(columns) > 1 else others[:5])]
            if not proposed:
                pairs.append(Pair(column, *best[:2]))
                continue
            rivals = best[:1] if len(columns) > 1 else best
            pairs += [Pair(column, proposed[0], rival) for rival in rivals]
        return pairs

    def sd(self, row: Row, meaning: str = "", moved: float = 0.0) -> float:
        """Return the standard deviation (divisor n - 1) of the runs of a row."""
        spread, n = float(row.spread) + moved, row.n
        match meaning or self.details["spread"]:
            case "sd" | "values":
                return spread
            case "population sd":
                return spread * math.sqrt(n / (n - 1))
            case "standard error":
                return spread * math.sqrt(n)
            case "population standard error":
                return spread * n / math.sqrt(n - 1)
        raise ValueError(f"{self.name}: no such meaning of a spread: {self.details['spread']}")

    @cached_property
    def half_units(self) -> Moved:
        """Half a unit of the last digit of the printed means, and of the printed spreads."""
        if self.runs:
            return UNMOVED
        rows = [self.row(pair.column, name) for pair in self.claims for name in pair[1:]]
        places = [
            max(len(text.partition(".")[2]) for text in texts)
            for texts in ([row.mean for row in rows], [row.spread for row in rows])
        ]
        return Moved(*(0.5 * 10**-number for number in places))

    def summaries(self, meaning: str = "", moved: Moved = UNMOVED) -> list[dict[str, Any]]:
        """Return mean, sd and n of each row that a claim compares, for `resnetlab judge`."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for pair in self.claims:
            for name, toward in ((pair.left, -1), (pair.right, 1)):
                row = self.row(pair.column, name)
                mean = float(row.mean) + self.sign * toward * moved.mean
                cells = {"column": pair.column, "row": name, "mean": f"{mean:.10g}"}
                sd = self.sd(row, meaning, moved.spread)
                rows[pair.column, name] = cells | {"sd": f"{sd:.8g}", "n": row.n}
        return list(rows.values())

    def declaration(self) -> dict[str, Any]:
        """Return the declaration of the table for `resnetlab judge`."""
        claims = [
            {
                "statement": f"{pair.column}: {pair.left} is better than {pair.right}.",
                "left": pair.labels[0],
                "right": pair.labels[1],
            }
            for pair in self.claims
        ]
        shared = {key: self.details[key] for key in ("measure", "unit", "higher_is")}
        return {"condition": ["column", "row"], **shared, "claim": claims}

    def verdicts(self, meaning: str = "", moved: Moved = UNMOVED) -> Sequence[Verdict]:
        """Return the verdicts of `resnetlab judge` on the claims."""
        declaration = declare(**self.declaration())
        if self.runs:
            runs = from_frame([dict(run) for run in self.runs])
            return analyze(import_runs(runs, declaration)).verdicts
        return judge_summaries(from_frame(self.summaries(meaning, moved)), declaration).statistics

    def judge(self) -> list[JudgedClaim]:
        """Return the verdict on each claim with its seeds, and after the least favorable rounding.

        The left mean of a claim is the better one, so the least favorable means are the nearest.
        """
        verdicts, level = self.verdicts(), ALPHA / len(self.claims)
        rounded = self.verdicts(moved=self.half_units)
        other = self.details.get("other_spread")
        others = self.verdicts(other) if other else []
        judged = []
        for index, (pair, verdict) in enumerate(zip(self.claims, verdicts, strict=True)):
            rows = [self.row(pair.column, name) for name in (pair.left, pair.right)]
            effect = verdict.effect
            assert effect is not None
            run_se = effect.se * math.sqrt(2 / sum(1 / row.n for row in rows))
            judged.append(
                JudgedClaim(
                    pair=pair,
                    runs=(rows[0].n, rows[1].n),
                    sds=(self.sd(rows[0]), self.sd(rows[1])),
                    verdict=verdict,
                    seeds=required_seeds(run_se, effect.estimate, level, max_seeds=MAX_SEEDS),
                    after_rounding=WORDS[rounded[index].label],
                    other_reading=WORDS[others[index].label] if others else "",
                )
            )
        return judged


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_tables() -> list[Table]:
    """Return the tables: those with the values of their runs first, each group by year."""
    tables = []
    for path in sorted((FOLDER / "tables").glob("*.toml")):
        details = tomllib.loads(path.read_text(encoding="utf-8"))
        runs = path.with_name(f"{path.stem}-runs.csv")
        rows = [
            Row(**row | {"n": int(row["n"] or 0)})  # type: ignore[arg-type]
            for row in read_rows(path.with_suffix(".csv"))
        ]
        values = tuple(read_rows(runs)) if runs.exists() else ()
        tables.append(Table(path.stem, details, tuple(rows), values))
    return sorted(tables, key=lambda table: (not table.runs, table.details["year"], table.name))


def format_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows as the text of a CSV file."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def format_declaration(table: Table) -> str:
    """Return the declaration of a table as TOML."""
    declaration = table.declaration()
    claims = declaration.pop("claim")
    lines = [f"{key} = {_toml(value)}" for key, value in declaration.items()]
    for claim in claims:
        lines += ["", "[[claim]]", *(f"{key} = {_toml(text)}" for key, text in claim.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
