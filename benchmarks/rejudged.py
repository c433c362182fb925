"""Judges the published tables of results/rejudged again and writes their page: `make rejudged`."""

from __future__ import annotations

import math
import statistics
import textwrap
import tomllib
from collections.abc import Callable, Iterator

from rejudged_figure import darken, draw_forest
from rejudged_tables import (
    FOLDER,
    MAX_SEEDS,
    JudgedClaim,
    Table,
    format_csv,
    format_declaration,
    read_tables,
)
from scipy.stats import chi2

from resnetlab.stats.power import ALPHA
from resnetlab.stats.verdict import holm

READ_ON = "30 November 2026"
Judged = dict[str, list[JudgedClaim]]
"""Verdicts on the claims of each table, by its name."""
KINDS = {
    "proposal": "a proposal against other methods",
    "ranking": "the best row of a benchmark against the second",
}


def build() -> dict[str, str]:
    """Return the texts of all files that follow from the tables, by their paths in the folder."""
    tables = read_tables()
    judged = {table.name: table.judge() for table in tables}
    files = {"README.md": build_page(tables, judged)}
    for table in tables:
        files[f"judged/{table.name}.toml"] = format_declaration(table)
        if not table.runs:
            files[f"judged/{table.name}.csv"] = format_csv(table.summaries())
    by_label = {table.details["label"]: judged[table.name] for table in tables}
    for name, narrow in (("forest", False), ("forest-narrow", True)):
        files[f"{name}.svg"] = draw_forest(by_label, narrow) + "\n"
        files[f"{name}-dark.svg"] = darken(files[f"{name}.svg"])
    return files


def build_page(tables: list[Table], judged: Judged) -> str:
    """Return the page as Markdown."""
    parts = [
        "# Published tables, judged again",
        opening(tables, judged),
        "## Totals",
        totals(tables, judged),
        FIGURE,
        multiplicity(tables, judged),
        seeds_needed(judged),
        "## All claims",
        claims_table(tables, judged),
        "## Limits",
        limits(),
        "## Protocol",
        (FOLDER / "protocol.md").read_text(encoding="utf-8").strip(),
        "## Tables",
        f"The sources were read on {READ_ON}.",
        *(section(table, judged[table.name]) for table in tables),
        "## Tables that were left out",
        left_out(),
    ]
    return "\n\n".join(parts) + "\n"


FIGURE = """<picture>
<source media="(max-width: 600px) and (prefers-color-scheme: dark)" srcset="forest-narrow-dark.svg">
<source media="(max-width: 600px)" srcset="forest-narrow.svg">
<source media="(prefers-color-scheme: dark)" srcset="forest-dark.svg">
<img alt="Difference of each claim in standard deviations of a run" src="forest.svg">
</picture>"""


def limits() -> str:
    """Return the limits of the page, with the uncertainty of the spread of 3 and of 5 runs."""
    text = (FOLDER / "limits.md").read_text(encoding="utf-8").strip()
    for n in (3, 5):
        low, high = (math.sqrt((n - 1) / chi2.ppf(p, n - 1)) for p in (0.975, 0.025))
        text = text.replace(f"{{{n} runs}}", f"{low:.1f} and {high:.1f}")
    return text


def bullet(text: str) -> str:
    """Return an item of a list, in lines of at most 120 characters."""
    return wrap(f"- {text}").replace("\n", "\n  ")


def opening(tables: list[Table], judged: Judged) -> str:
    """Return the answer in a paragraph."""
    claims = [claim for name in judged for claim in judged[name]]
    supported = sum(claim.word == "supported" for claim in claims)
    skipped = sum(len(table.without_claim) for table in tables)
    with_runs = sum(bool(table.runs) for table in tables)
    text = (
        f"Of {len(claims)} claims in {len(tables)} published tables, the runs behind the tables "
        f"support {supported} and leave {len(claims) - supported} open. In {skipped} further "
        "comparisons the proposal is not the best, so they make no claim. "
        f"{with_runs} tables have the values of all runs, the others a mean, a spread and a "
        "number of runs. No network was trained for this page: `resnetlab judge` read the "
        "published numbers. Its verdict `reproduced` is called *supported* here."
    )
    return wrap(text)


def totals(tables: list[Table], judged: Judged) -> str:
    """Return the numbers of verdicts in all and by groups of claims."""
    kind = {table.name: table.details["kind"] for table in tables}
    every = [(name, claim) for name in judged for claim in judged[name]]
    most = [max(claim.runs) for _, claim in every]
    groups: list[tuple[str, Callable[[str, JudgedClaim], bool]]] = [
        ("all", lambda *_: True),
        (KINDS["proposal"], lambda name, _: kind[name] == "proposal"),
        (KINDS["ranking"], lambda name, _: kind[name] == "ranking"),
        ("3 runs per row", lambda _, claim: max(claim.runs) == 3),
        ("5 runs per row", lambda _, claim: max(claim.runs) == 5),
        (
            f"{min(n for n in most if n > 5)} to {max(most)} runs per row",
            lambda _, claim: max(claim.runs) > 5,
        ),
    ]
    lines = ["| claims | number | supported | inconclusive |", "|---|---:|---:|---:|"]
    for label, belongs in groups:
        words = [claim.word for name, claim in every if belongs(name, claim)]
        counts = [words.count(word) for word in ("supported", "inconclusive")]
        lines.append(f"| {label} | {len(words)} | {counts[0]} | {counts[1]} |")
    return "\n".join(lines)


def multiplicity(tables: list[Table], judged: Judged) -> str:
    """Return a paragraph about several claims and several tables."""
    p = [claim.verdict.p or 0.0 for name in judged for claim in judged[name]]
    alone = sum(value < ALPHA for value in p)
    together = sum(value < ALPHA for value in holm(p))
    fragile = sum(
        claim.word == "supported" and claim.after_rounding != "supported"
        for name in judged
        for claim in judged[name]
    )
    rounding = f"{fragile or 'no'} supported claim{'s' if fragile > 1 else ''}"
    return wrap(
        "Holm's correction covers the claims of one table. So each table has a wrong verdict with "
        f"a probability of at most 5 %, and {len(tables)} tables have at most "
        f"{ALPHA * len(tables):.1f} tables with a wrong verdict on average, if the assumptions of "
        "the test hold. They do not cover the selection of rows. Without any correction "
        f"{alone} of the {len(p)} claims have p < 0.05, and with one correction over all of them "
        f"{together}. The least favorable rounding of the printed numbers makes {rounding} "
        "inconclusive."
    )


def seeds_needed(judged: Judged) -> str:
    """Return a paragraph about the runs that would decide the claims."""
    claims = [claim for name in judged for claim in judged[name]]
    limit = MAX_SEEDS + 1
    still_open = [claim.seeds or limit for claim in claims if claim.word == "inconclusive"]
    lucky = sum(
        claim.word == "supported" and (claim.seeds or limit) > min(claim.runs) for claim in claims
    )
    few, many = sum(n <= 30 for n in still_open), sum(n > 100 for n in still_open)
    return wrap(
        f"If the printed differences and spreads were the true ones, the {len(still_open)} open "
        f"claims would need between {min(still_open)} and "
        f"{_seeds(None if max(still_open) == limit else max(still_open))} runs per row; the median "
        f"is {statistics.median(still_open):,.0f}. {few} of them would need at most 30, and {many} "
        f"more than 100: such a difference is small beside the spread of the runs. {lucky} of the "
        "supported claims had fewer runs than decide them with a probability of 80 %. Such "
        "differences tend to be overestimated."
    )


def claims_table(tables: list[Table], judged: Judged) -> str:
    """Return the table of all claims."""
    lines = [
        "| table | claim | difference [95 % interval] | runs | verdict | runs needed |",
        "|---|---|---:|---:|---|---:|",
    ]
    for table in tables:
        label = f"[{table.details['label']}](#{anchor(table.details['label'])})"
        for claim in judged[table.name]:
            lines.append(
                f"| {label} | {claim.pair.column}: {claim.pair.left} > {claim.pair.right} | "
                f"{difference(table, claim)} | {runs(claim)} | {verdict(claim)} | "
                f"{_seeds(claim.seeds)} |"
            )
    note = (
        "The difference is positive if the left row is better: in points of percent, and for "
        "FT-Transformer in units of the score. Intervals are those of one claim, without the "
        "correction. The last column has the runs per row that would decide a claim at the level "
        "of its table with a probability of 80 %."
    )
    return "\n".join(lines) + "\n\n" + wrap(note)


def section(table: Table, claims: list[JudgedClaim]) -> str:
    """Return the section of a table: source, meanings, claims."""
    details = table.details
    where = f"`{details['file']}` at commit `{details['commit'][:12]}`" if "file" in details else ""
    source = ", ".join(filter(None, (where, details.get("place"))))
    supported = sum(claim.word == "supported" for claim in claims)
    items = [
        f"Table: {details['table']}. Read in {source}. License: {details['license']}.",
        f"Runs: {details['runs_source']}.",
        f"Spread: {details['spread_source']}.",
        f"Statement: {details['statement']}",
        f"Note: {details['notes']}",
        f"**{supported} of {len(claims)} claims are supported.** {_open_claims(claims)}".rstrip(),
        *_further_items(table, claims),
    ]
    inputs = f"tables/{table.name}-runs.csv" if table.runs else f"judged/{table.name}.csv"
    command = (
        f"resnetlab judge results/rejudged/{inputs} --declaration "
        f"results/rejudged/judged/{table.name}.toml"
    )
    title = f"{details['authors']}: [{details['title']}]({details['link']}), {details['year']}."
    parts = [f"### {details['label']}", wrap(title), "\n".join(map(bullet, items))]
    return "\n\n".join([*parts, f"The same verdicts: `{command}`"])


def _open_claims(claims: list[JudgedClaim]) -> str:
    names = [_short(claim) for claim in claims if claim.word == "inconclusive"]
    return f"Open: {'; '.join(names)}." if names else ""


def _short(claim: JudgedClaim) -> str:
    return f"{claim.pair.left} > {claim.pair.right} ({claim.pair.column})"


def _further_items(table: Table, claims: list[JudgedClaim]) -> Iterator[str]:
    """Yield the comparisons without a claim, and the verdicts with the other reading."""
    if table.without_claim:
        names = [f"{pair.right} ({pair.column})" for pair in table.without_claim]
        yield f"No claim, because another row is better: {'; '.join(names)}."
    if "other_spread" in table.details:
        changed = [_short(claim) for claim in claims if claim.other_reading != claim.word]
        names = f"these verdicts change: {'; '.join(changed)}" if changed else "no verdict changes"
        yield f"With the spread read as a {table.details['other_spread']}, {names}."


def left_out() -> str:
    """Return the list of tables that were read and could not be judged."""
    tables = tomllib.loads((FOLDER / "left-out.toml").read_text(encoding="utf-8"))["table"]
    return "\n".join(
        bullet(
            f"[{table['name']}]({table['link']}), `{table['file']}` at commit "
            f"`{table['commit'][:12]}`: {table['reason']}."
        )
        for table in tables
    )


def difference(table: Table, claim: JudgedClaim) -> str:
    """Return the difference of a claim with its interval."""
    digits = 2 if table.details["unit"] == "percent" else 4
    low, high = claim.effect.interval()
    text = f"{claim.effect.estimate:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    return text.replace("-", "−").replace(", ", ",\N{NO-BREAK SPACE}")


def verdict(claim: JudgedClaim) -> str:
    """Return the verdict, with a mark if it depends on the rounding of the printed numbers."""
    fragile = claim.word == "supported" and claim.after_rounding != "supported"
    return f"**{claim.word}**" + (" (by rounding)" if fragile else "")


def runs(claim: JudgedClaim) -> str:
    """Return the number of runs per row."""
    left, right = claim.runs
    return str(left) if left == right else f"{left} and {right}"


def _seeds(number: int | None) -> str:
    return f"more than {MAX_SEEDS:,}" if number is None else str(number)


def anchor(heading: str) -> str:
    """Return the anchor of a heading in Markdown."""
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")


def wrap(text: str) -> str:
    """Return a paragraph in lines of at most 120 characters."""
    return "\n".join(textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False))


def main() -> None:
    """Write all files that follow from the tables."""
    for name, text in build().items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
