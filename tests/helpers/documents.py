"""Blocks of the documents: commands, files and outputs, with the marks in the comments before them.

A comment directly before a block of code says what a test does with it:

    <!-- not run: REASON -->       no test runs the block, for this reason
    <!-- exit code: 2 -->          the commands of the block end with this code
    <!-- output: COMMAND -->       the block has lines of the output of this command
    <!-- from: FILE -->            the quotation after it is from this file

A block with a title is a file: ```toml title="my-depth.toml".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(DOCS.rglob("*.md")),
    ROOT / "results" / "README.md",
]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[a-z ]+): (?P<value>[^\n]*?) -->\n)?"
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n'
    r"(?P<code>.*?)^```$",
    re.M | re.S,
)
_QUOTATION = re.compile(r"^ *<!-- from: (\S+) -->\n((?: *>.*\n)+)", re.M)


@dataclass(frozen=True)
class Block:
    """Block of code of a document."""

    page: Path
    language: str
    title: str
    """Name of the file that the block is; empty for a block that is no file."""
    code: str
    mark: str
    """Word of the comment before the block: `not run`, `exit code`, `output` or empty."""
    value: str
    """Text of that comment."""

    @property
    def runs(self) -> bool:
        """Return True if a test runs the block."""
        return self.mark != "not run"

    @property
    def commands(self) -> list[str]:
        """Return the commands of a block of a shell, without comments."""
        lines = [line.partition("  #")[0].strip() for line in self.code.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of code of a document in their order."""
    return [
        Block(
            page,
            match["language"],
            match["title"] or "",
            match["code"],
            match["mark"] or "",
            match["value"] or "",
        )
        for match in _BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


BLOCKS = [block for page in PAGES for block in read_blocks(page)]


def commands(word: str, *, every: bool = True) -> list[str]:
    """Return the commands of all documents that begin with a word.

    Without `every` only those of blocks that tests run.
    """
    return [
        line
        for block in BLOCKS
        if block.language == "sh" and (every or block.runs)
        for line in block.commands
        if line.split()[:1] == [word]
    ]


def titled_files() -> dict[str, str]:
    """Return the content of each file that a document shows, by its name."""
    titled = [block for block in BLOCKS if block.title]
    assert len({block.title for block in titled}) == len(titled), "two files have one name"
    return {block.title: block.code for block in titled}


def quotations(page: Path) -> list[tuple[str, str]]:
    """Return each quotation of a file in a document, with the path of the file."""
    matches = _QUOTATION.findall(page.read_text(encoding="utf-8"))
    return [(path, plain(re.sub(r"^ *> ?", "", text, flags=re.M))) for path, text in matches]


def plain(text: str) -> str:
    """Return a text with single spaces."""
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


def page_id(page: Path) -> str:
    """Return the path of a document in the repository, as the id of a test."""
    return page.relative_to(ROOT).as_posix()


def write_noise(path: Path, classes: int) -> None:
    """Write a data set of random images, 32 x 32 x 3, in place of one that is downloaded."""
    generator = np.random.default_rng(0)
    arrays = {"classes": np.array([f"class {number}" for number in range(classes)])}
    for split, count in (("train", 200), ("test", 100)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % classes
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)


def write_workspace(root: Path) -> Path:
    """Write the files that the commands of the documents name: photographs, models, own files."""
    from helpers.model_folders import CLASSES, add_confidence, write_model
    from helpers.pictures import picture, save, tree

    for name, text in titled_files().items():
        (root / name).write_text(text, encoding="utf-8")
    splits = {f"{split}/{kind}": 6 for split in ("train", "test") for kind in CLASSES}
    tree(root / "photos", splits, size=(72, 64))
    tree(root / "holiday", {"": 1})
    tree(root / "other-photos", {"": 3})
    tree(root / "more-photos", {"fox": 8})
    save(root / "photo.jpg", picture(1))
    write_noise(root / ".data" / "cifar10.npz", classes=10)
    add_confidence(write_model(root / "pets"))
    write_model(root / "pets-2", seed=1)
    return root
