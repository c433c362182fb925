"""What README and docs say is true: their commands run, their files load, their links lead
somewhere.
"""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "results" / "README.md",
]

PLACES = (ROOT, ROOT / "src" / "resnetlab")
"""Folders that paths in CONTRIBUTING.md begin at."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(word: str) -> list[str]:
    lines = [
        line.partition("#")[0].strip()
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.splitlines()
    ]
    return [line for line in lines if line.split()[:1] == [word]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_citation_is_of_this_version_and_these_authors() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()  # what the format requires
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert citation["authors"] == project["authors"]
    assert citation["license"] == project["license"]


def test_the_glossary_has_its_words_in_order_and_a_sentence_for_each() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text, re.M)[1:]
    words = [word for word, _ in rows]
    assert words == sorted(set(words))
    assert len(words) >= 40
    assert [word for word, meaning in rows if not re.match(r"[A-Z].*\.$", meaning)] == []


def test_the_files_that_contributing_names_are_there() -> None:
    text = re.sub(
        r"^```.*?^```",
        "",
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        flags=re.M | re.S,
    )
    named = set(re.findall(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|toml|json|md))`", text)) - {
        "catalog/studies/NAME.toml",
        "catalog/references/NAME.toml",
    }
    assert len(named) > 20
    assert (
        sorted(path for path in named if not any((root / path).exists() for root in PLACES)) == []
    )


def test_every_make_target_that_is_named_exists_and_explains_itself() -> None:
    done = subprocess.run(
        ["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True
    )
    explained = set(re.findall(r"^  make (\S+) +\S", done.stdout, re.M))
    named = {word for line in commands("make") for word in line.split()[1:] if "=" not in word}
    assert named
    assert named <= explained


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], list[str]]:
    """Give a command of the documents to the command line, whose work is replaced by a note of what
    was asked.
    """
    from resnetlab.api import LoadedStudy
    from resnetlab.cli import main as module
    from resnetlab.cli import work

    called: list[str] = []

    def note(name: str) -> Callable[..., Any]:
        def act(*_: Any, **__: Any) -> int:
            called.append(name)
            return 0

        return act

    def opened(*_: Any) -> None:
        raise typer.Exit

    monkeypatch.setattr("resnetlab.studies.compare.compare", lambda *_: None)
    monkeypatch.setattr("resnetlab.studies.compare.format_lines", lambda _: [])
    monkeypatch.setattr("resnetlab.runs.load.open_run", opened)
    monkeypatch.setattr("resnetlab.runs.directory.check_finished", opened)
    monkeypatch.setattr("resnetlab.deploy.request.check_model", lambda *_, **__: opened())
    monkeypatch.setattr("resnetlab.inspection.render_table.render", lambda *_, **__: "")
    monkeypatch.setattr("resnetlab.models.convert.import_weights", lambda *_: "weights.safetensors")
    monkeypatch.setattr(work, "choose_executor", lambda *_: None)
    for name in ("run_study", "show_plan", "train_one", "resume_one", "verify_result"):
        monkeypatch.setattr(work, name, note(name))
    monkeypatch.setattr("resnetlab.cli.status.show_status", note("show_status"))
    monkeypatch.setattr("resnetlab.studies.plan.folder_name", lambda _: "")
    monkeypatch.setattr(LoadedStudy, "plan", note("plan"))
    monkeypatch.setattr(
        "resnetlab.data.check.audit_source",
        lambda *_, **__: type("Audit", (), {"lines": list, "bad": ()})(),
    )
    monkeypatch.setattr(
        "resnetlab.data.summary.summarize_folder",
        lambda *_, **__: type("Found", (), {"lines": list}),
    )
    monkeypatch.setattr("resnetlab.reports.dataset.write", lambda *_: "")
    survey = type("Survey", (), {"rows": (), "notes": ()})
    monkeypatch.setattr("resnetlab.data.sources.folder.scan_folder", lambda *_, **__: survey)
    monkeypatch.setattr("resnetlab.data.download.download_dataset", lambda *_: "")
    tuned = type("Done", (), {"record": None, "model": None, "report": None})
    monkeypatch.setattr("resnetlab.finetune.api.finetune", lambda *_, **__: tuned)
    monkeypatch.setattr("resnetlab.cli.finetune.summary_lines", lambda *_: [])
    monkeypatch.setattr("resnetlab.cli.finetune._check_folder", lambda _: None)
    monkeypatch.setattr("resnetlab.finetune.api.fixres", lambda *_, **__: [(None, None)])
    monkeypatch.setattr("resnetlab.finetune.apparent_size.draw_crops", lambda *_: "")
    monkeypatch.setattr("resnetlab.reports.fixres.write", lambda *_: "")
    monkeypatch.setattr("resnetlab.reports.fixres.page", lambda _: type("Page", (), {"answer": ""}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet20.th").touch()
    (tmp_path / "my-depth.toml").write_text(blocks(ROOT / "README.md", "toml")[0])

    def call(line: str) -> list[str]:
        called.clear()
        monkeypatch.setattr("sys.argv", shlex.split(line))
        with pytest.raises(SystemExit) as done:
            module.main()
        assert not done.value.code, line
        return called

    return call


@pytest.mark.parametrize("line", [line for line in commands("resnetlab") if "studies/" not in line])
def test_every_command_of_the_documents_is_understood(
    spied: Callable[[str], list[str]], line: str
) -> None:
    called = spied(line)
    verb = " ".join(shlex.split(line)[1:3])
    expected = {
        "study run": "show_plan" if "--dry-run" in line else "run_study",
        "study status": "show_status",
    }.get(verb)
    expected = expected or {"train": "train_one", "resume": "resume_one"}.get(shlex.split(line)[1])
    assert expected is None or expected in called


def test_what_torchrun_is_given_in_the_documents_is_understood(
    spied: Callable[[str], list[str]],
) -> None:
    lines = commands("torchrun")
    assert [list(spied(line.partition(" -m ")[2])) for line in lines] == [
        ["train_one"],
        ["resume_one"],
        [],
    ]


def test_the_table_of_the_page_on_scale_is_that_of_the_committed_results() -> None:
    page = ROOT / "docs" / "scale.md"
    assert (
        f"<!-- table -->\n{runpy.run_path(str(page.with_suffix('.py')))['table']()}\n<!-- end -->"
        in page.read_text()
    )


def test_the_page_of_studies_has_the_table_that_the_command_writes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from resnetlab.cli.catalog import list_studies

    list_studies(markdown=True)
    assert (
        (ROOT / "docs" / "studies.md")
        .read_text(encoding="utf-8")
        .endswith(f"\n\n{capsys.readouterr().out}")
    )


def test_the_study_file_of_the_readme_loads_and_judges_two_of_its_conditions() -> None:
    from resnetlab.studies.parsing.overrides import Overrides
    from resnetlab.studies.parsing.study_file import parse_study

    study = parse_study(
        tomllib.loads(blocks(ROOT / "README.md", "toml")[0]), "README.md", Overrides()
    )
    assert [condition.label for condition in study.conditions] == [
        "residual 8 (A)",
        "residual 8 (B)",
        "residual 20 (A)",
        "residual 20 (B)",
    ]
    assert (study.claims[0].left, study.claims[0].right) == ("residual 20 (A)", "residual 8 (A)")


def test_the_ladder_of_the_page_on_study_files_loads_and_claims_what_the_page_says() -> None:
    from resnetlab.studies.parsing.overrides import Overrides
    from resnetlab.studies.parsing.study_file import parse_study

    (text,) = [
        block for block in blocks(ROOT / "docs" / "study-files.md", "toml") if "[[rung]]" in block
    ]
    study = parse_study(tomllib.loads(text), "study-files.md", Overrides())
    assert [(rung.condition, rung.parent) for rung in study.ladder] == [
        ("baseline", ""),
        ("+ normalization", "baseline"),
        ("+ momentum", "+ normalization"),
        ("+ momentum, constant rate", "+ normalization"),
    ]
    assert len(study.claims) == 2


def test_every_field_of_a_spec_stands_in_the_page_on_study_files() -> None:
    import dataclasses

    import resnetlab as rl
    from resnetlab.data.config import Augment, ChannelStats, DataConfig, RandAugment
    from resnetlab.models.configs import CifarConfig
    from resnetlab.recipes import train
    from resnetlab.recipes.finetune import FinetuneRecipe, Stage

    text = (ROOT / "docs" / "study-files.md").read_text(encoding="utf-8")
    schedules = (train.Constant, train.Step, train.Exponential, train.Cosine, train.OneCycle)
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


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    code = blocks(ROOT / "README.md", "python")[0]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    assert re.search(r"trained \d", done.stdout)
