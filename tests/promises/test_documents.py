"""The commands in README and docs run, their files load, and their links have targets."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.documents import (
    BLOCKS,
    DOCS,
    PAGES,
    ROOT,
    commands,
    page_id,
    plain,
    quotations,
    read_blocks,
    titled_files,
    write_workspace,
)
from resnetlab.cli.main import build_command, main
from resnetlab.models.parse import parse_model
from resnetlab.models.registry import get_model_config
from resnetlab.studies.parsing.conditions import load_recipe
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study

ROOTS = (ROOT, ROOT / "src" / "resnetlab")
"""Folders that the paths in CONTRIBUTING.md are relative to."""


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_point_to_existing_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            path = (page.parent / target).resolve()
            # The reference is generated, and test_site.py checks links to it.
            assert path.exists() or path.is_relative_to(DOCS / "reference"), target


@pytest.mark.parametrize("page", [page for page in PAGES if quotations(page)], ids=page_id)
def test_a_quotation_is_part_of_its_source_file(page: Path) -> None:
    for source, text in quotations(page):
        assert plain(text) in plain((ROOT / source).read_text(encoding="utf-8"))


def test_the_citation_has_the_version_and_authors_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()  # what the format requires
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert citation["authors"] == project["authors"]
    assert citation["license"] == project["license"]


def test_the_glossary_is_sorted_and_has_a_sentence_for_each_word() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text, re.M)[1:]
    words = [word for word, _ in rows]
    assert words == sorted(set(words))
    assert len(words) >= 40
    assert [word for word, meaning in rows if not re.match(r"[A-Z].*\.$", meaning)] == []


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_files_that_a_document_for_contributors_names_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    named = set(re.findall(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|toml|json|md))`", text)) - {
        "catalog/studies/NAME.toml",
        "catalog/references/NAME.toml",
        "catalog/questions/NAME.toml",
    }
    assert len(named) > 20
    # The table of packages names files within the package of a row.
    packages = [path for path in (ROOT / "src" / "resnetlab").iterdir() if path.is_dir()]
    roots = (*ROOTS, *packages)
    assert sorted(path for path in named if not any((root / path).exists() for root in roots)) == []
    bare = set(re.findall(r"`(\w+\.py)`", text))
    folders = (ROOT / "src", ROOT / "tests", ROOT / "docs")
    existing = {path.name for folder in folders for path in folder.rglob("*.py")}
    assert bare
    assert sorted(bare - existing) == []


def test_every_make_target_in_the_documents_exists_and_has_a_description() -> None:
    done = subprocess.run(
        ["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True
    )
    explained = set(re.findall(r"^  make (\S+) +\S", done.stdout, re.M))
    named = {word for line in commands("make") for word in line.split()[1:] if "=" not in word}
    assert named
    assert named <= explained
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    parts_of_lint = {"style", "types"}
    assert explained == set(phony.split()) - parts_of_lint


# Commands
# --------------------------------------------------------------------------------------------------

SHORT = (
    "study list",
    "study references",
    "study check",
    "study new",
    "models",
    "inspect model",
    "inspect conv",
    "inspect pool",
    "inspect table",
    "inspect gradients",
    "data check",
    "data describe",
    "data show",
    "data split",
    "doctor",
    "predict",
    "explain",
    "evaluate",
)
"""Commands of the documents that take seconds. The tests run them."""


def is_short(line: str) -> bool:
    """Return True if the command takes seconds and needs only files that the workspace has."""
    short = line.startswith(tuple(f"resnetlab {name}" for name in SHORT))
    later = r"[*]|(runs|models|results)/|sides.npz|timm/|torchvision/"
    return short and line in RUN and not re.search(later, line)


WRITTEN = re.compile(r"study (check|plan|run) (deeper|typo)\.toml")
"""Commands that are refused or that need a file of another command: test_document_commands.py runs
them.
"""

LINES = sorted(line for line in set(commands("resnetlab")) if not WRITTEN.search(line))
RUN = frozenset(commands("resnetlab", every=False))
"""Commands of blocks that tests run."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the commands of the documents name."""
    return write_workspace(tmp_path_factory.mktemp("documents"))


def test_a_block_that_no_test_runs_has_a_reason(
    record_property: Callable[[str, str], None],
) -> None:
    """A command that needs no GPU, cluster, network or hours runs."""
    skipped = [block for block in BLOCKS if not block.runs]
    lines = [line for block in skipped if block.language == "sh" for line in block.commands]
    reasons = (
        "GPU",
        "cluster",
        "network",
        "download",
        "hours",
        "environment",
        "until it is stopped",
        "processor",
        "tests",
    )
    assert [b.value for b in skipped if not any(word in b.value for word in reasons)] == []
    assert {block.mark for block in BLOCKS} <= {"", "not run", "exit code", "output"}
    total = sum(len(block.commands) for block in BLOCKS if block.language == "sh")
    record_property("figures", f"{total - len(lines)} of {total} commands of the documents run")
    print("not run:", *(f"{b.page.name}: {b.value}: {b.commands}" for b in skipped), sep="\n  ")


def parse(line: str) -> tuple[str, dict[str, Any]]:
    """Parse a command by the parser of the command line. Return its name and its parameters."""
    command: Any = build_command()
    words, names = shlex.split(line)[1:], list[str]()
    while hasattr(command, "commands"):
        names.append(words.pop(0))
        assert names[-1] in command.commands, line
        command = command.commands[names[-1]]
    return " ".join(names), command.make_context(names[-1], words).params


@pytest.mark.parametrize("line", [line for line in LINES if is_short(line)])
def test_short_commands_of_the_documents_run(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(workspace)
    monkeypatch.setattr("sys.argv", shlex.split(line))
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, line


@pytest.mark.parametrize(
    "line", [line for line in LINES if not is_short(line)] + commands("torchrun")
)
def test_long_commands_of_the_documents_are_valid(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """The options exist, and studies, networks, recipes and settings are accepted by their code."""
    monkeypatch.chdir(workspace)
    line = re.sub(r"--seed (SEED|GRAINE)\b", "--seed 7", line)  # in the course: that of a student
    name, options = parse(line.partition(" -m ")[2] or line)
    settings = tuple(options.get("settings", ()))
    match name:
        case "study run" | "study plan" | "study status" | "study check":
            overrides = Overrides(data=options["data"] or None, settings=settings)
            assert load_study(options["source"], overrides).conditions
        case "train":
            table = {key: options[key] for key in ("model", "data", "recipe")}
            table |= {"name": "train", "question": "", "seeds": [options["seed"]]}
            assert parse_study(table, "", Overrides(settings=settings)).conditions
        case "finetune" | "fixres":
            assert load_recipe(options["recipe"])
            assert not options["model"] or parse_model(options["model"], "")
        case "import-weights":
            assert get_model_config(options["as_model"], "", "")
        case _:
            assert name in LONG


LONG = (
    "study report",
    "watch",
    "study answers",
    "study export",
    "study collect",
    "verify",
    "compare",
    "judge",
    "resume",
    "inspect model",
    "inspect augmentation",
    "inspect dropout",
    "inspect modes",
    "inspect block-ablation",
    "inspect landscape",
    "inspect filters",
    "inspect fully-convolutional",
    "ensemble",
    "export",
    "serve",
    "data fetch",
    "data check",
    "predict",
    "evaluate",
    "explain",
    "inspect identity",
    "course list",
    "course show",
    "course seed",
    "course answer",
    "course check",
    "course report",
    "course class",
    "data pack",
    "data suspects",
    "data enough",
    "extend",
)
"""Commands whose files only other commands or a download make. Here their options are checked;
test_document_commands.py runs them.
"""


def test_the_tables_of_the_page_on_scale_equal_the_committed_results() -> None:
    page = ROOT / "docs" / "scale.md"
    text = page.read_text(encoding="utf-8")
    for name, write in runpy.run_path(str(page.with_name("scale_tables.py")))["TABLES"].items():
        assert f"<!-- {name} -->\n{write()}\n<!-- end -->" in text


def test_the_table_of_the_readme_equals_the_committed_results() -> None:
    measured = runpy.run_path(str(DOCS / "measured.py"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{measured['START']}{measured['table']()}\n{measured['END']}" in text
    claims = f"{measured['CLAIMS_START']}{measured['claims_table']()}\n{measured['CLAIMS_END']}"
    assert claims in text
    install = f"{measured['INSTALL_START']}{measured['install_size']()}\n"
    assert install + measured["INSTALL_END"] in text
    results = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    repeated = f"{measured['REPEATED_START']}{measured['replications_table']()}\n"
    assert repeated + measured["REPEATED_END"] in results


def test_the_page_of_studies_has_the_table_that_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["resnetlab", "study", "list", "--markdown"])
    with pytest.raises(SystemExit):
        main()
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    assert page.endswith(f"\n\n{capsys.readouterr().out}")


def test_the_study_file_of_the_tutorial_loads_and_its_claim_compares_two_conditions() -> None:
    study = parse_study(
        tomllib.loads(titled_files()["my-depth.toml"]), "my-depth.toml", Overrides()
    )
    assert [condition.label for condition in study.conditions] == [
        "plain 8",
        "residual 8 (A)",
        "plain 20",
        "residual 20 (A)",
    ]
    assert (study.claims[0].left, study.claims[0].right) == ("residual 20 (A)", "residual 8 (A)")


def test_the_ladder_of_the_page_on_study_files_loads() -> None:
    (text,) = [
        block.code for block in read_blocks(DOCS / "study-files.md") if "[[rung]]" in block.code
    ]
    study = parse_study(tomllib.loads(text), "study-files.md", Overrides())
    assert [(rung.condition, rung.parent) for rung in study.ladder] == [
        ("baseline", ""),
        ("+ normalization", "baseline"),
        ("+ momentum", "+ normalization"),
        ("+ momentum, constant rate", "+ normalization"),
    ]
    assert len(study.claims) == 2


def test_the_page_on_study_files_names_every_field() -> None:
    import dataclasses

    import resnetlab as rl
    from resnetlab.data.config import Augment, ChannelStats, DataConfig, RandAugment
    from resnetlab.models.configs import CifarConfig
    from resnetlab.recipes import train
    from resnetlab.recipes.finetune import FinetuneRecipe, Stage

    text = (ROOT / "docs" / "study-files.md").read_text(encoding="utf-8")
    schedules = (train.Constant, train.MultiStep, train.Exponential, train.Cosine, train.OneCycle)
    forms = (
        DataConfig,
        CifarConfig,
        Augment,
        RandAugment,
        ChannelStats,
        train.Recipe,
        rl.SGD,
        rl.Adam,
        train.RMSprop,
        rl.Numerics,
        *schedules,
        FinetuneRecipe,
        Stage,
    )
    for form in forms:
        for field in dataclasses.fields(form):
            assert re.search(rf"\b{field.name}\b", text) or field.name == "family", (
                f"{form.__name__}.{field.name}"
            )
