"""`data describe` reports the sizes of photographs, near copies across splits, and classes of
ImageNet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from helpers.pages import layout
from helpers.pictures import picture, save, split_tree, tree
from resnetlab.data.summary import imagenet_overlap, summarize_folder

DOGS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dogs"


def textured(seed: int) -> Image.Image:
    """Return a picture with structure of its own at every scale that a hash looks at."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC)


def test_widths_heights_and_aspect_ratios_equal_the_sizes_of_the_files(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    save(root / "train/cat/tall.png", picture(70, 20, 50))
    summary = summarize_folder(root, cache=tmp_path / "cache")
    assert (
        sorted(zip(summary.widths.tolist(), summary.heights.tolist(), strict=True))
        == [(20, 50)] + [(24, 16)] * 12
    )
    assert (
        "width / height 0.40 / 1.06 / 1.50 / 1.50 / 1.50 (min, 5 %, median, 95 %, max)"
        in summary.lines()
    )


def test_a_near_copy_in_another_split_is_detected_and_other_photographs_are_not(
    tmp_path: Path,
) -> None:
    root = tmp_path / "pets"
    for index in range(8):
        save(root / f"train/{'cat' if index % 2 else 'dog'}/{index}.png", textured(index))
    photo = textured(3)
    save(root / "test/cat/small.jpg", photo.resize((80, 60)), quality=40)
    save(root / "test/dog/bright.png", ImageEnhance.Brightness(textured(4)).enhance(1.2))
    save(root / "test/dog/cropped.png", textured(6).crop((2, 2, 158, 118)))
    save(root / "test/cat/own.png", textured(100))
    pairs = {
        (near.left, near.right)
        for near in summarize_folder(root, cache=tmp_path / "cache").near_copies
    }
    assert pairs == {
        ("train/cat/3.png", "test/cat/small.jpg"),
        ("train/dog/4.png", "test/dog/bright.png"),
        ("train/dog/6.png", "test/dog/cropped.png"),
    }


def test_the_page_separates_near_copies_across_splits_from_those_within_one(
    tmp_path: Path,
) -> None:
    from resnetlab.reports.dataset import write_dataset_page

    root = tmp_path / "pets"
    for index in range(8):
        save(root / f"train/{'cat' if index % 2 else 'dog'}/{index}.png", textured(index))
        save(root / f"test/{'cat' if index % 2 else 'dog'}/{index}.png", textured(100 + index))
    save(root / "train/cat/copy.jpg", textured(3).resize((80, 60)), quality=40)
    summary = summarize_folder(root, cache=tmp_path / "cache")
    assert [near.same_split for near in summary.near_copies] == [True]
    text = write_dataset_page(summary, tmp_path / "within").read_text(encoding="utf-8")
    assert "Near copies within one split" in text
    assert "in different splits" not in text
    save(root / "test/cat/copy.jpg", textured(5).resize((80, 60)), quality=40)
    summary = summarize_folder(root, cache=tmp_path / "cache")
    text = write_dataset_page(summary, tmp_path / "across").read_text(encoding="utf-8")
    assert "1 pair of near copies in different splits: the test is too easy" in text
    assert "Near copies in more than one split" in text


def test_exact_copies_are_not_reported_again_as_near_copies(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    save(root / "test/cat/copy.bmp", picture(1))
    summary = summarize_folder(root, cache=tmp_path / "cache")
    assert summary.audit.duplicates == (("train/cat/001.png", "test/cat/copy.bmp"),)
    assert "test/cat/copy.bmp" not in {
        near.right for near in summary.near_copies if near.left == "train/cat/001.png"
    }


def test_each_copy_that_the_note_counts_is_listed(tmp_path: Path) -> None:
    """Six photographs of a folder without splits have an exact copy, and none has a near copy."""
    from resnetlab.reports.dataset import write_dataset_page

    root = tmp_path / "pets"
    for index in range(24):
        save(root / f"{'cat' if index % 2 else 'dog'}/{index:02}.png", textured(index))
    for index in range(6):
        name = f"{'cat' if index % 2 else 'dog'}/{index:02}"
        shutil.copyfile(root / f"{name}.png", root / f"{name}-copy.png")
    summary = summarize_folder(root, cache=tmp_path / "cache")
    lines = summary.lines()
    assert any("12 images with a copy or near copy" in line for line in lines)
    start = lines.index("same pixels within one split: 6")
    listed = {name for line in lines[start + 1 : start + 7] for name in line.strip().split(" = ")}
    copies = {path.relative_to(root).as_posix() for path in root.rglob("*-copy.png")}
    assert listed == copies | {name.replace("-copy", "") for name in copies}
    text = write_dataset_page(summary, tmp_path / "page").read_text(encoding="utf-8")
    assert "Same pixels within one split" in text


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_names_that_are_not_utf8_are_escaped_on_the_page_and_are_bytes_in_the_table(
    tmp_path: Path,
) -> None:
    from resnetlab.reports.dataset import write_dataset_page

    root = tmp_path / os.fsdecode(b"caf\xe9")
    split_tree(root)
    (root / "train/cat/000.png").rename(root / "train/cat" / os.fsdecode(b"\xe9.png"))
    (root / "train/cat" / os.fsdecode(b"\xe8.png")).write_text("words")
    summary = summarize_folder(root, cache=tmp_path / "cache")
    page = write_dataset_page(summary, tmp_path / "page")
    assert b"train/cat/\xe9.png,cat,train" in (page.parent / "images.csv").read_bytes()
    for name in ("report.html", "describe.md"):
        text = (page.parent / name).read_text(encoding="utf-8")
        assert "caf\\udce9" in text
        assert "train/cat/\\udce8.png" in text


@pytest.mark.parametrize(
    ("classes", "warned"),
    [
        (("n02085620-Chihuahua", "n02086240-Shih-Tzu"), True),
        (("n02085620", "n02086240", "mongrel"), True),
        (("n02085620-Chihuahua", "cat", "dog"), False),
        (("n0208562", "nothing"), False),
    ],
)
def test_classes_with_imagenet_names_give_a_warning(classes: tuple[str, ...], warned: bool) -> None:
    assert bool(imagenet_overlap(classes)) == warned


def test_the_command_prints_the_bad_files_and_the_warning(tmp_path: Path) -> None:
    root = tree(tmp_path / "woof", {"n02085620-Chihuahua": 8, "n02086240-Shih-Tzu": 8})
    (root / "n02085620-Chihuahua/bad.jpg").write_text("words")
    done = subprocess.run(
        [sys.executable, "-m", "resnetlab", "data", "describe", str(root), "--split", ".5,.25,.25"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 5, done.stderr  # as of data check
    assert (
        "  n02085620-Chihuahua/bad.jpg: not an image (allowed: JPEG, PNG, WEBP, BMP, GIF, TIFF, "
        "PPM, AVIF, HEIF)" in done.stdout
    )
    assert "warning: 2 of 2 classes bear names of ImageNet's synsets" in done.stdout


def test_the_page_has_the_figures_and_sizes_and_no_photograph(tmp_path: Path) -> None:
    from resnetlab.reports.dataset import write_dataset_page

    root = split_tree(tmp_path / "pets")
    save(root / "train/cat/tall.png", picture(70, 20, 50))
    page = write_dataset_page(summarize_folder(root, cache=tmp_path / "cache"), tmp_path / "out")
    files = sorted(
        str(path.relative_to(tmp_path / "out"))
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    )
    assert files == [
        "describe.md",
        "figures/aspect.svg",
        "figures/classes.svg",
        "figures/sides.svg",
        "images.csv",
        "report.html",
    ]
    text = page.read_text()
    assert page.name == "report.html"
    assert "13 photographs of 2 classes" in text
    assert "13 files: 13 used, 0 skipped, 0 unreadable." in text
    assert "data:image" not in text
    assert "13 images of 2 classes" in (tmp_path / "out" / "describe.md").read_text()
    lines = (tmp_path / "out" / "images.csv").read_text().splitlines()
    assert lines[0] == "path,label,split,width,height,sha256"
    assert any(line.startswith("train/cat/tall.png,cat,train,20,50,") for line in lines)
    assert "<image" not in "".join(
        path.read_text() for path in (tmp_path / "out" / "figures").iterdir()
    )


def test_long_class_names_are_complete_in_the_figure_and_on_the_page(tmp_path: Path) -> None:
    from resnetlab.reports.dataset import write_dataset_page

    names = ("Cavalier King Charles spaniel", "n02105641-Old_English_sheepdog", "<b>サモエド</b>")
    root = tree(
        tmp_path / "dogs",
        {f"{part}/{name.replace('/', '|')}": 2 for part in ("train", "test") for name in names},
    )
    page = write_dataset_page(summarize_folder(root, cache=tmp_path / "cache"), tmp_path / "out")
    figure = (tmp_path / "out" / "figures" / "classes.svg").read_text(encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    for name in names[:2]:
        assert f">{name}<" in figure
        assert name in text
    assert "<b>" not in text
    assert "&lt;b&gt;サモエド" in text


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_a_dataset_never_scrolls_sideways(tmp_path: Path, width: int) -> None:
    from resnetlab.reports.dataset import write_dataset_page

    name = "a class with a name of many words, " * 3
    root = tree(
        tmp_path / "pets", {"train/cat": 4, f"train/{name}": 4, "test/cat": 2, f"test/{name}": 1}
    )
    page = write_dataset_page(summarize_folder(root, cache=tmp_path / "cache"), tmp_path / "out")
    measured = layout(page.read_text(encoding="utf-8"), width, tmp_path, ".classes td, svg text")
    assert measured["over"] == 0
    assert measured["right"] <= measured["room"]


@pytest.mark.skipif(not DOGS.is_dir(), reason="the photographs of ten breeds are not here")
def test_no_two_of_twelve_hundred_real_photographs_count_as_copies(tmp_path: Path) -> None:
    summary = summarize_folder(DOGS, cache=tmp_path / "cache")
    assert (len(summary.rows), summary.near_copies, summary.audit.duplicates) == (1200, (), ())
    assert summary.overlap
