"""The site of the documentation is complete, consistent, and works from disk without a network."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import typing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from filelock import FileLock

import resnetlab
from helpers.documents import DOCS, ROOT
from resnetlab.cli.common import EXIT_CODES, RENAMED
from resnetlab.cli.main import main

SOURCE = ROOT / "src" / "resnetlab"

PICTURES = {
    "plain-and-residual.svg": "inspect model cifar-plain8 cifar-resnet8 --draw",
    "he2016.svg": "study references he2016 --draw",
    "gradients.svg": "inspect gradients cifar-plain56 cifar-resnet56 --data digits --draw",
}
"""Command that draws each picture of docs/pictures, without the name of the file."""
PICTURES_OF_RUNS = {"loss-landscapes.svg"}
"""Pictures of trained networks. Their command needs the runs of a study, and stands beside them."""
PICTURE_OF_PACKAGES = "packages.svg"
"""Picture that `python docs/packages.py` draws."""


@pytest.fixture(scope="module")
def reference() -> Any:
    """Return the module that generates the reference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        return importlib.import_module("site_reference")


@pytest.fixture(scope="module")
def fields(reference: Any) -> Any:
    """Return the module that describes the fields, which the other one imports."""
    return sys.modules[reference.fields_page.__module__]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built strictly and once for all processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "popen-gw" in base.name else base) / "site"
    with FileLock(f"{folder}.lock"):
        if not (folder / "index.html").exists():
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
            command += ["--site-dir", str(folder)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
            assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """Addresses and anchors of a page."""

    LOADING: typing.ClassVar = {
        ("script", "src"),
        ("img", "src"),
        ("iframe", "src"),
        ("source", "src"),
        ("source", "srcset"),
        ("video", "src"),
        ("link", "href"),
    }

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.titles: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        for name, value in values.items():
            if (tag, name) in self.LOADING:
                self.loaded.append(value)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page of the site that MkDocs made."""
    # A server shows 404.html under any address, so its links begin at the root.
    others = {*site.glob("results/*/report.html"), site / "404.html"}
    paths = [path for path in sorted(site.rglob("*.html")) if path not in others]
    assert len(paths) > 40
    return {path: Page(path) for path in paths}


def test_no_page_loads_a_file_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert [url for url in page.loaded if re.match(r"(?i)[a-z]+:|//", url)] == [], path
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        urls = re.findall(r"url\(\s*['\"]?([^)'\"]+)", text) + re.findall(r"@import\s+\S+", text)
        assert [url for url in urls if re.match(r"(?i)https?:|//|@import", url)] == [], path
    for path in site.glob("results/*/report.html"):
        loaded = Page(path).loaded
        assert [url for url in loaded if not url.startswith("data:")] == [], path


def test_every_link_of_the_site_points_to_a_page_and_an_anchor(
    site: Path, pages: dict[Path, Page]
) -> None:
    missing = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                missing.append(f"{path.relative_to(site)}: {link}")
            elif target in pages and parts.fragment:
                exists = unquote(parts.fragment) in pages[target].anchors
                missing += [] if exists else [f"{path.relative_to(site)}: {link}"]
    assert missing == []


def test_the_search_works_without_a_server(site: Path, pages: dict[Path, Page]) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ")
    assert '"location":"explanation/residual-learning.html"' in index
    scripts = [url for url in pages[site / "index.html"].loaded if url.endswith(".js")]
    assert any("iframe-worker" in url for url in scripts)


# Reference pages
# --------------------------------------------------------------------------------------------------


def test_every_command_argument_and_option_has_a_help_text_and_a_row(
    reference: Any, site: Path
) -> None:
    commands = reference.walk_commands()
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in site.glob("reference/commands/*.html")
    )
    assert len(commands) > 35
    for name, command in commands.items():
        assert command.help, name
        assert f'id="{reference.slug(name)}' in text, name
        for param in command.params:
            assert param.help, f"{name} {param.name}"
            for word in param.opts if param.param_type_name == "option" else ():
                assert f"<code>{word}</code>" in text, f"{name} {word}"


def test_every_field_of_a_configuration_and_of_a_file_has_a_description(
    fields: Any, site: Path
) -> None:
    described = [cls for classes in fields.FIELD_GROUPS.values() for cls in classes]
    described += [cls for _, classes in fields.FILE_FORMATS.values() for cls in classes]
    assert len(described) > 40
    page = (site / "reference" / "fields.html").read_text(encoding="utf-8")
    page += (site / "reference" / "files.html").read_text(encoding="utf-8")
    for cls in described:
        assert inspect.getdoc(cls), cls
        docs = fields.field_docs(cls)
        assert [name for name, text in docs.items() if not text] == [], cls
        assert [name for name in docs if f"<code>{name}</code>" not in page] == [], cls


def test_every_table_of_a_configuration_is_on_the_page(fields: Any) -> None:
    """A class that a field of a configuration takes has a table itself."""
    listed = {cls for classes in fields.FIELD_GROUPS.values() for cls in classes}
    for cls in listed:
        for hint in typing.get_type_hints(cls, include_extras=True).values():
            assert {
                part
                for part in parts(hint)
                if isinstance(part, type) and dataclasses.is_dataclass(part)
            } <= listed, cls


def parts(hint: Any) -> list[Any]:
    """Return the types in a type."""
    arguments = typing.get_args(hint)
    return [part for argument in arguments for part in parts(argument)] if arguments else [hint]


def test_every_file_named_in_the_source_is_on_the_page_of_formats(site: Path) -> None:
    named = re.compile(r"[A-Za-z-]+\.(?:jsonl|json|csv|safetensors|npz)")
    of_others = {
        "best.safetensors",  # beside state.safetensors in a checkpoint
        "durations.json",  # of the catalog
        "package.json",  # of npm
        "reference-runs.csv",  # of the catalog
        "runs.csv",  # of the page that judges in a browser
        "values.json",  # of the catalog
    }
    names = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names |= {node.value} if named.fullmatch(node.value) else set()
    text = (site / "reference" / "files.html").read_text(encoding="utf-8")
    assert len(names) > 15
    assert sorted(name for name in names - of_others if name not in text) == []


def test_every_exit_code_error_and_renamed_word_is_listed(reference: Any, site: Path) -> None:
    text = (site / "reference" / "errors.html").read_text(encoding="utf-8")
    words = [*map(str, EXIT_CODES), *RENAMED, *(cls.__name__ for cls in reference.error_classes())]
    assert [word for word in words if f"<code>{word}</code>" not in text] == []
    errors = [name for name in resnetlab.__all__ if name.endswith("Error")]
    assert {cls.__name__ for cls in reference.error_classes()} == set(errors)


def test_every_public_name_has_a_docstring_and_an_entry_on_the_python_page(
    pages: dict[Path, Page], site: Path
) -> None:
    anchors = pages[site / "reference" / "python.html"].anchors
    for name in resnetlab.__all__:
        assert f"resnetlab.{name}" in anchors, name
        item = getattr(resnetlab, name)
        if not isinstance(item, type) and not inspect.isfunction(item):
            continue  # the union of the claims
        assert inspect.getdoc(item), name
        members = vars(item).items() if isinstance(item, type) else ()
        for member, value in members:
            if inspect.isfunction(value) and not member.startswith("_"):
                assert value.__doc__, f"{name}.{member}"


def test_every_page_of_the_site_is_in_its_navigation(pages: dict[Path, Page], site: Path) -> None:
    linked = {
        (site / unquote(urlsplit(link).path)).resolve()
        for link in pages[site / "index.html"].links
        if not urlsplit(link).scheme
    }
    assert [path for path in pages if path not in linked] == []


# Pictures
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "gradients" in name else [])
        for name in PICTURES
    ],
)
def test_the_pictures_equal_the_drawings_of_the_commands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {path.name for path in (DOCS / "pictures").iterdir()}
    assert names == {*PICTURES, *PICTURES_OF_RUNS, PICTURE_OF_PACKAGES}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["resnetlab", *PICTURES[name].split(), name])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    drawn, committed = (
        (folder / name).read_text(encoding="utf-8") for folder in (tmp_path, DOCS / "pictures")
    )
    if "gradients" in name:  # the last bits of its numbers differ between processors
        drawn, committed = (re.sub(r"-?\d+(\.\d+)?", "0", text) for text in (drawn, committed))
    assert drawn == committed


def test_architecture_page_lists_the_packages_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    packages = importlib.import_module("packages")
    listed = [name for layer in packages.layers() for name in layer]
    existing = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    existing |= {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert sorted(listed) == sorted(existing)
    assert packages.build_page() == packages.PAGE.read_text(encoding="utf-8")
    assert packages.picture() == packages.PICTURE.read_text(encoding="utf-8")
    for name in listed:
        for path in re.findall(r"`([^`]*\.\w+)`", packages.first_files(name)):
            assert (SOURCE / name / path).is_file(), f"{name}: {path}"
