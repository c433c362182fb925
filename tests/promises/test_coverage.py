"""Everything that docs/coverage.toml names exists, its commands print the promised texts, its
states are true, and no item of the sources is missing without a reason.
"""

from __future__ import annotations

import shlex
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from helpers.pictures import tree
from resnetlab.analysis.data_files import load_study_data
from resnetlab.analysis.study_data import StudyData
from resnetlab.cli.main import app
from resnetlab.recipes.train import Recipe
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.parsing.toml_tables import catalog_names
from resnetlab.studies.published.bibliography import bibliography
from resnetlab.studies.study import Condition, Study

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = tomllib.loads((ROOT / "docs" / "coverage.toml").read_text(encoding="utf-8"))
ENTRIES = [(source, entry) for source in COMMITTED["sources"] for entry in COMMITTED[source]]
STATES = ("full protocol", "reduced", "published only", "not run")
FIELDS = "item what command test state bonus star note conditions epochs shows"
UNMAPPED = 0
"""Entries that wait for a command; each says for what. Lower it with every one that is mapped."""
WITHOUT_OUTPUT = (
    "study run",
    "train",
    "finetune",
    "fixres",
    "evaluate",
    "inspect block-ablation",
    "inspect identity",
    "data show cifar10",
    "course report",
    "inspect augmentation practical --data cifar10",
)
"""Commands that train, need a trained network, or need data that are not part of the package."""


def study(entry: dict[str, Any]) -> str:
    """Return the study that an entry's command runs."""
    words = shlex.split(entry.get("command", ""))
    return words[3] if words[1:3] == ["study", "run"] else ""


@cache
def catalog_study(name: str) -> Study:
    return load_study(name)


@cache
def results(name: str) -> StudyData | None:
    folder = ROOT / "results" / name
    return load_study_data(folder) if (folder / "report.json").exists() else None


def needed_conditions(entry: dict[str, Any]) -> list[Condition]:
    """Return the conditions of the catalog's study that an entry names; every pattern has one."""
    conditions = catalog_study(study(entry)).conditions
    chosen = []
    for pattern in entry["conditions"]:
        matching = [c for c in conditions if fnmatchcase(c.label, pattern)]
        assert matching, f"{entry['item']}: no condition is {pattern!r}"
        chosen += [condition for condition in matching if condition not in chosen]
    return chosen


def state_by_results(name: str, needed: list[Condition], study_data: StudyData | None) -> str:
    """Return the state of an entry that needs these conditions of a study, by the study's
    results.
    """
    if study_data is None:
        return "not run"
    measured = {condition.label: condition for condition in study_data.study.conditions}
    if not all(condition.label in measured for condition in needed):
        return "not run"
    finished = Counter(row.condition for row in study_data.rows if row.status != "missing")
    for condition in needed:
        other = measured[condition.label]
        same_data = replace(other.data, source=condition.data.source) == condition.data
        seeds = len(catalog_study(name).seeds)
        if other.recipe != condition.recipe or not same_data or finished[other.label] < seeds:
            return "reduced"
    return "full protocol"


def state(entry: dict[str, Any]) -> str:
    """Return the stated state, or the best state that follows from the results of its study and of
    the variant `[evidence]` of it.
    """
    name = study(entry)
    if not name:
        return str(entry.get("state", ""))
    needed = needed_conditions(entry)
    folders = (name, f"{name}-evidence")
    states = [state_by_results(name, needed, results(folder)) for folder in folders]
    return next(one for one in ("full protocol", "reduced", "not run") if one in states)


def named(entries: list[tuple[str, dict[str, Any]]]) -> Any:
    return pytest.mark.parametrize(
        ("source", "entry"), entries, ids=[f"{source} {entry['item']}" for source, entry in entries]
    )


@named([pair for pair in ENTRIES if "command" in pair[1]])
def test_every_entry_has_an_existing_command_study_and_test(
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
        longest = [
            c.recipe.epochs for c in needed_conditions(entry) if isinstance(c.recipe, Recipe)
        ]
        assert entry.get("epochs") == max(longest, key=lambda n: n or 0, default=None)
    else:
        assert not {"conditions", "epochs"} & set(entry)
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


@pytest.fixture(scope="module")
def output_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function that runs a command in a folder with photographs and the report of a study;
    single spaces in its output.
    """
    here = tmp_path_factory.mktemp("here")
    classes = ("n02085620-Chihuahua", "n02086240-Shih-Tzu")
    counts = {f"{split}/{name}": 4 for split in ("train", "test") for name in classes}
    tree(here / "photos", counts)
    shutil.copytree(ROOT / "results" / "ladder", here / "studies" / "ladder")

    @cache
    def run(command: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(here)
            done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    return run


@named([pair for pair in ENTRIES if "shows" in pair[1]])
def test_the_output_of_every_command_contains_the_texts_of_its_entry(
    source: str, entry: dict[str, Any], output_of: Callable[[str], str]
) -> None:
    output = output_of(entry["command"])
    missing = [text for text in entry["shows"] if text not in output]
    assert entry["shows"], source
    assert not missing, output


def test_exactly_the_entries_with_a_command_that_needs_no_training_state_its_output() -> None:
    for source, entry in ENTRIES:
        command = entry.get("command", "").removeprefix("resnetlab ")
        runs = bool(command) and not command.startswith(WITHOUT_OUTPUT)
        assert runs == ("shows" in entry), f"{source} {entry['item']}"


def test_the_state_of_an_entry_follows_from_conditions_recipe_images_and_seeds() -> None:
    study_data = results("ladder-mnist")
    assert study_data is not None
    needed = list(catalog_study("ladder-mnist").conditions)

    def changed(**changes: Any) -> StudyData:
        """Return the results with other fields in the first condition."""
        first, *rest = study_data.study.conditions
        conditions = (replace(first, **changes), *rest)
        return replace(study_data, study=replace(study_data.study, conditions=conditions))

    first = study_data.study.conditions[0]
    shorter = replace(first.recipe, epochs=4)
    fewer = replace(first.data, train_images=100)
    cases = {
        "full protocol": [study_data, changed(data=replace(first.data, source="elsewhere.npz"))],
        "reduced": [
            changed(recipe=shorter),
            changed(data=fewer),
            replace(study_data, rows=study_data.rows[1:]),
        ],
        "not run": [changed(label="another"), None],
    }
    variants: list[StudyData | None]
    for expected, variants in cases.items():
        for variant in variants:
            assert state_by_results("ladder-mnist", needed, variant) == expected
    one = [c for c in needed if c.label == "+ flip"]
    assert state_by_results("ladder-mnist", one, changed(recipe=shorter)) == "full protocol"


def test_an_entry_whose_conditions_only_a_variant_measured_is_reduced() -> None:
    items = {entry["item"]: entry for entry in COMMITTED["practical"]}
    (question,) = [entry for item, entry in items.items() if item == "question 21"]
    needed = needed_conditions(question)
    assert state_by_results("ladder", needed, results("ladder")) == "not run"
    assert state(question) == "reduced"


@named(ENTRIES)
def test_every_entry_is_short_and_has_one_of_four_states_or_the_reason_for_waiting(
    source: str, entry: dict[str, Any]
) -> None:
    assert set(entry) <= set(FIELDS.split()), source
    assert 0 < len(entry["what"]) <= 130
    if "command" in entry:
        assert state(entry) in STATES
    else:
        assert entry["note"].startswith("waits for")


def test_all_questions_of_the_practical_are_listed_and_three_are_bonus() -> None:
    items = {entry["item"]: entry for entry in COMMITTED["practical"]}
    assert [f"question {n}" in items for n in range(1, 35)] == [True] * 34
    assert [item for item, entry in items.items() if entry.get("bonus")] == [
        f"question {n}" for n in (21, 25, 28)
    ]
    assert [item for item, entry in items.items() if entry.get("star")] == [
        *(f"question {n}" for n in (2, 3, 4, 10, 14, 16, 18)),
        "part 3, a sentence per method",
    ]


def test_every_source_is_covered_with_its_errata_and_unmapped_items_are_counted() -> None:
    for source in COMMITTED["sources"]:
        items = [entry["item"] for entry in COMMITTED[source]]
        assert len(items) == len(set(items))
        assert any(item.startswith("erratum") for item in items), source
    counts = Counter(state(entry) if "command" in entry else "unmapped" for _, entry in ENTRIES)
    print(dict(counts))
    assert counts["unmapped"] == UNMAPPED, [
        entry["item"] for _, entry in ENTRIES if "command" not in entry
    ]


def test_every_source_is_a_work_of_the_bibliography() -> None:
    assert set(COMMITTED["sources"].values()) <= set(bibliography())


def test_every_study_of_a_source_is_listed() -> None:
    ours = {
        "digits",
        "fast",
        "precision",
        "he2016-200-epochs",
        "imagenet-tables",
    }  # the last by its published numbers
    assert set(catalog_names("studies")) - ours <= {study(entry) for _, entry in ENTRIES}
