"""docs/coverage.toml: what it names is there, its states are true, and nothing of the sources is
left out unsaid.
"""

from __future__ import annotations

import shlex
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from resnetlab.analysis.study_data import load
from resnetlab.cli.main import app
from resnetlab.studies.bibliography import bibliography
from resnetlab.studies.parsing.toml_tables import catalog_names

ROOT = Path(__file__).resolve().parents[2]
HELD = tomllib.loads((ROOT / "docs" / "coverage.toml").read_text(encoding="utf-8"))
ENTRIES = [(source, entry) for source in HELD["sources"] for entry in HELD[source]]
STATES = ("full protocol", "shrunken", "published only", "not run")
UNMAPPED = 0
"""Entries that wait for a command; each says for what. Lower it with every one that is mapped."""


def study(entry: dict[str, Any]) -> str:
    """The study that an entry's command runs."""
    words = shlex.split(entry.get("command", ""))
    return words[3] if words[1:3] == ["study", "run"] else ""


def state(entry: dict[str, Any]) -> str:
    """As it is given, or as the results of its study stand."""
    if not study(entry):
        return str(entry.get("state", ""))
    folder = ROOT / "results" / study(entry)
    if not (folder / "report.json").exists():
        return "not run"
    changed = [
        item for item in load(folder).study.overrides if not item.startswith("data = ")
    ]  # where they lie
    return "shrunken" if changed else "full protocol"


def named(entries: list[tuple[str, dict[str, Any]]]) -> Any:
    return pytest.mark.parametrize(
        ("source", "entry"), entries, ids=[f"{source} {entry['item']}" for source, entry in entries]
    )


@named([pair for pair in ENTRIES if "command" in pair[1]])
def test_every_command_is_understood_and_every_study_and_test_is_there(
    source: str, entry: dict[str, Any]
) -> None:
    words = shlex.split(entry["command"])
    assert words[0] == "resnetlab"
    command, rest = get_command(app), words[1:]
    context = None
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(
        "resnetlab", rest, parent=context
    )  # raises where an option or argument is unknown
    assert not context.args
    if name := study(entry):
        assert name in catalog_names("studies"), source
        assert "state" not in entry, "follows from results/"
    else:
        assert entry["state"] in ("full protocol", "published only")
        assert "test" in entry
    if "study" in words and not name:
        assert words[3] in catalog_names("studies")
    if test := entry.get("test"):
        path, _, function = test.partition("::")
        assert (
            f"def {function}(" in (ROOT / path).read_text(encoding="utf-8")
            if function
            else (ROOT / path).exists()
        )


@named(ENTRIES)
def test_every_entry_is_short_and_has_one_of_four_states_or_says_what_it_waits_for(
    source: str, entry: dict[str, Any]
) -> None:
    assert set(entry) <= {"item", "what", "command", "test", "state", "bonus", "note"}, source
    assert 0 < len(entry["what"]) <= 130
    if "command" in entry:
        assert state(entry) in STATES
    else:
        assert entry["note"].startswith("waits for")


def test_all_questions_of_the_practical_stand_there_and_three_are_bonus() -> None:
    items = {entry["item"]: entry for entry in HELD["practical"]}
    assert [f"question {n}" in items for n in range(1, 35)] == [True] * 34
    assert [item for item, entry in items.items() if entry.get("bonus")] == [
        f"question {n}" for n in (21, 25, 28)
    ]


def test_every_source_is_covered_with_its_errata_and_the_unmapped_are_counted() -> None:
    for source in HELD["sources"]:
        items = [entry["item"] for entry in HELD[source]]
        assert len(items) == len(set(items))
        assert any(item.startswith("erratum") for item in items), source
    counts = Counter(state(entry) if "command" in entry else "unmapped" for _, entry in ENTRIES)
    print(dict(counts))
    assert counts["unmapped"] == UNMAPPED, [
        entry["item"] for _, entry in ENTRIES if "command" not in entry
    ]


def test_every_source_is_a_work_of_the_bibliography() -> None:
    assert set(HELD["sources"].values()) <= set(bibliography())


def test_every_study_of_a_source_is_named() -> None:
    ours = {
        "digits",
        "fast",
        "precision",
        "he2016-200-epochs",
        "imagenet-tables",
    }  # the last by its published numbers
    assert set(catalog_names("studies")) - ours <= {study(entry) for _, entry in ENTRIES}
