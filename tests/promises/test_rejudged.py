"""The page of results/rejudged follows from its tables, and scipy agrees with every verdict."""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import rejudged
from rejudged_tables import FOLDER, Table, read_rows, read_tables
from scipy.stats import nct, t, ttest_ind, ttest_ind_from_stats

TABLES = {table.name: table for table in read_tables()}
NAMES = sorted(TABLES)
SD_FACTORS = {
    "sd": lambda n: n / n,
    "population sd": lambda n: math.sqrt(n / (n - 1)),
    "population standard error": lambda n: math.sqrt(n) * math.sqrt(n / (n - 1)),
}
"""Factors from a printed spread to the standard deviation with divisor n - 1."""


def welch(table: Table, column: str, left: str, right: str) -> tuple[float, float]:
    """Difference and two-sided p by scipy, from the printed numbers or the values of the runs."""
    if table.runs:
        a, b = (
            [float(r["value"]) for r in table.runs if (r["column"], r["row"]) == (column, name)]
            for name in (left, right)
        )
        return statistics.fmean(a) - statistics.fmean(b), float(ttest_ind(a, b, equal_var=False)[1])
    rows = [table.row(column, name) for name in (left, right)]
    factor = SD_FACTORS[table.details["spread"]]
    parts = [(float(row.mean), float(row.spread) * factor(row.n), row.n) for row in rows]
    test = ttest_ind_from_stats(*parts[0], *parts[1], equal_var=False)
    return parts[0][0] - parts[1][0], float(test.pvalue)


def holm_decisions(p: list[float]) -> list[bool]:
    """Return for each hypothesis if Holm's step-down procedure rejects it at 5 %."""
    rejected = [False] * len(p)
    for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[index] >= 0.05 / (len(p) - step):
            break
        rejected[index] = True
    return rejected


def test_every_file_of_the_page_equals_the_result_of_the_tables() -> None:
    files = rejudged.build()
    for name, text in files.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, f"{name}: run make rejudged"
    made = {path.relative_to(FOLDER).as_posix() for path in (FOLDER / "judged").iterdir()}
    assert made == {name for name in files if name.startswith("judged/")}


@pytest.mark.parametrize("name", NAMES)
def test_scipy_and_a_second_form_of_holm_give_the_same_verdicts(name: str) -> None:
    table = TABLES[name]
    judged = table.judge()
    tests = [welch(table, *claim.pair) for claim in judged]
    for claim, (difference, p) in zip(judged, tests, strict=True):
        assert claim.effect.estimate == pytest.approx(table.sign * difference, rel=1e-6)
        assert claim.verdict.p == pytest.approx(p, rel=1e-4)
        assert difference * table.sign > 0
    decisions = holm_decisions([p for _, p in tests])
    assert [claim.word == "supported" for claim in judged] == decisions


@pytest.mark.parametrize("name", NAMES)
def test_the_claims_equal_the_selection_by_the_rule(name: str) -> None:
    table = TABLES[name]
    assert sorted(table.select_pairs()) == sorted(table.claims + table.without_claim)
    for pair in table.without_claim:
        left, right = (float(table.row(pair.column, row).mean) for row in pair[1:])
        assert table.sign * (left - right) <= 0


@pytest.mark.parametrize("name", [name for name in NAMES if TABLES[name].runs])
def test_the_means_and_spreads_equal_the_values_of_the_runs(name: str) -> None:
    table = TABLES[name]
    groups: dict[tuple[str, str], list[float]] = {}
    for run in table.runs:
        groups.setdefault((run["column"], run["row"]), []).append(float(run["value"]))
    assert groups.keys() == {
        (p.column, row) for p in table.claims + table.without_claim for row in p[1:]
    }
    for key, values in groups.items():
        row = table.row(*key)
        assert row.n == len(values)
        assert float(row.mean) == pytest.approx(statistics.fmean(values), rel=1e-5)
        assert float(row.spread) == pytest.approx(statistics.stdev(values), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_number_of_runs_has_the_power_and_a_smaller_one_has_not(name: str) -> None:
    """The noncentral t is another way to the power than the sum of quantiles of the page."""
    claims = TABLES[name].judge()
    level = 0.05 / len(claims)

    def power(n: int, shift: float) -> float:
        edge = t.ppf(1 - level / 2, 2 * (n - 1))
        return float(nct.sf(edge, 2 * (n - 1), shift * math.sqrt(n / 2)))

    for claim in claims:
        shift = claim.effect.estimate / claim.sd
        if claim.seeds is not None and claim.seeds > 4:
            assert power(claim.seeds + 1, shift) > 0.79
            assert power(claim.seeds - 2, shift) < 0.81


def test_every_table_has_its_source_and_the_totals_add_up() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for table in TABLES.values():
        details = table.details
        assert (
            re.fullmatch(r"[0-9a-f]{40}", details["commit"])
            if "file" in details
            else details["place"]
        )
        assert details["link"] in page
    rows = [
        list(map(int, row)) for row in re.findall(r"\| (\d+) \| (\d+) \| (\d+) \|$", page, re.M)
    ]
    claims = sum(len(table.claims) for table in TABLES.values())
    everything, *parts = rows[:6]
    assert (
        everything[0] == claims == page.count("**supported** |") + page.count("**inconclusive** |")
    )
    assert all(total == supported + still_open for total, supported, still_open in rows[:6])
    assert [sum(column) for column in zip(*parts[:2], strict=True)] == everything
    assert [sum(column) for column in zip(*parts[2:], strict=True)] == everything


@pytest.mark.parametrize("name", ["mish", pytest.param("nas-cifar10", marks=pytest.mark.slow)])
def test_the_printed_command_gives_the_same_verdicts(name: str, tmp_path: Path) -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(rf"`resnetlab (judge \S+ --declaration \S+/{name}.toml)`", page)
    done = subprocess.run(
        [sys.executable, "-m", "resnetlab", *command.split(), "--json"]
        + (["--out", str(tmp_path / "out")] if TABLES[name].runs else []),
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = [claim["verdict"] for claim in json.loads(done.stdout)["claims"]]
    expected = [claim.verdict.label for claim in TABLES[name].judge()]
    assert words == expected


def test_the_tables_that_were_left_out_have_a_reason_and_no_verdicts() -> None:
    tables = tomllib.loads((FOLDER / "left-out.toml").read_text(encoding="utf-8"))["table"]
    judged = {table.details["link"] for table in TABLES.values()}
    assert all(table["reason"] and table["link"] not in judged for table in tables)


def test_a_summary_for_judge_has_only_the_rows_of_the_claims() -> None:
    for path in (FOLDER / "judged").glob("*.csv"):
        table = TABLES[path.stem]
        rows = {(row["column"], row["row"]) for row in read_rows(path)}
        assert rows == {(pair.column, row) for pair in table.claims for row in pair[1:]}
