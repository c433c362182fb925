"""An `.npz` file in the documented form is accepted, and each of its mistakes is reported in one
line.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.pictures import lines_of
from resnetlab.data.check import audit_source
from resnetlab.data.config import Source
from resnetlab.data.sources import open_source
from resnetlab.errors import InputError


def arrays(**changes: object) -> dict[str, Any]:
    """Return a right set of arrays, with changes; a change to None takes an array away."""
    generator = np.random.default_rng(0)
    right = {
        "x_train": generator.integers(0, 256, (12, 6, 6, 3), np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": generator.integers(0, 256, (6, 6, 6, 3), np.uint8),
        "y_test": np.arange(6) % 3,
        "classes": np.array(["ant", "bee", "cat"]),
    }
    return {key: value for key, value in (right | changes).items() if value is not None}


def write(path: Path, **changes: object) -> str:
    np.savez(path, **arrays(**changes))
    return str(path)


def opened(tmp_path: Path, **changes: object) -> Source:
    return open_source(write(tmp_path / "set.npz", **changes), cache=tmp_path / "cache")


def mistakes(tmp_path: Path, **changes: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        opened(tmp_path, **changes)
    return [line.removeprefix(f"{tmp_path / 'set.npz'}: ") for line in lines_of(caught.value)]


def test_arrays_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    source = opened(tmp_path)
    np.testing.assert_array_equal(source.train.pixels, arrays()["x_train"])
    assert source.classes == ("ant", "bee", "cat")
    assert (source.name, source.validation, source.train.labels.dtype) == ("set", None, np.int64)


def test_gray_images_need_no_channel_axis_and_classes_without_names_are_numbered(
    tmp_path: Path,
) -> None:
    flat = {
        "x_train": np.zeros((12, 6, 6), np.uint8),
        "x_test": np.zeros((6, 6, 6), np.uint8),
        "classes": None,
    }
    bare = opened(tmp_path, **flat)
    assert bare.train.pixels.shape == (12, 6, 6, 1)
    assert bare.classes == ("0", "1", "2")
    with_axis = opened(tmp_path, **flat | {"x_train": np.zeros((12, 6, 6, 1), np.uint8)})
    assert with_axis.sha256 == bare.sha256


@pytest.mark.parametrize("word", ["validation", "val", "valid"])
def test_a_validation_split_may_have_three_spellings(tmp_path: Path, word: str) -> None:
    source = opened(tmp_path, **{f"x_{word}": arrays()["x_test"], f"y_{word}": arrays()["y_test"]})
    assert source.validation is not None
    assert len(source.validation) == 6


def test_three_mistakes_are_reported_in_three_lines(tmp_path: Path) -> None:
    lines = mistakes(
        tmp_path,
        x_train=np.zeros((12, 6, 6, 3), np.float32),
        y_test=np.zeros(5, np.int64),
        classes=np.array([1, 2, 3]),
    )
    assert len(lines) == 3
    assert lines[0].startswith(
        "x_train: pixels are not uint8 (got float32; allowed: uint8, 0 to 255). Fix: convert to"
    )
    assert lines[1].startswith("y_test: differs in length from x_test (got 6 images and 5 labels)")
    assert lines[2].startswith("classes: not a row of names (got int64 (3,)")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"x_test": None},
            "x_test: missing (got arrays classes, x_train, y_test, y_train). Fix: add x_test",
        ),
        ({"x_train": np.zeros((12, 36), np.uint8)}, "x_train: not a stack of images (got (12, 36)"),
        (
            {"x_train": np.zeros((12, 3, 6, 6), np.uint8)},
            "x_train: 6 channels (got (12, 3, 6, 6); allowed: ",
        ),
        ({"x_train": np.zeros((12, 6, 6, 4), np.uint8)}, "x_train: 4 channels"),
        (
            {"x_train": np.zeros((12, 6, 8, 3), np.uint8)},
            "x_train: images are not square (got 6 x 8 pixels)",
        ),
        (
            {"x_train": np.zeros((12, 3, 3, 3), np.uint8)},
            "x_train: images are too small (got 3 x 3 pixels)",
        ),
        (
            {"x_test": np.zeros((6, 8, 8, 3), np.uint8)},
            "x_test: images differ in shape from those of x_train",
        ),
        (
            {"x_test": np.zeros((0, 6, 6, 3), np.uint8), "y_test": np.zeros(0, int)},
            "x_test: no images",
        ),
        (
            {"y_train": np.zeros(12)},
            "y_train: labels are not whole numbers (got float64). Fix: y_train.astype",
        ),
        (
            {"y_train": np.zeros((12, 1), int)},
            "y_train: labels are not a row of numbers (got (12, 1)",
        ),
        (
            {"y_train": np.eye(3, dtype=int)[np.arange(12) % 3]},
            "y_train: labels are not a row of numbers (got (12, 3); allowed: (N,)). Fix: y_train",
        ),
        (
            {"y_train": np.arange(12) % 3 - 1},
            "y_train: no such class (got -1 at index 0 and 3 more; allowed: 0 to 2)",
        ),
        (
            {"y_test": np.arange(6)},
            "y_test: no such class (got 3 at index 3 and 2 more; allowed: 0 to 2)",
        ),
        (
            {"y_test": np.array([0, 1, 2, 0, 1, 2**63], np.uint64)},
            "y_test: no such class (got 9223372036854775808",
        ),
        ({"y_train": np.arange(12) % 2}, "y_train: no train image of 1 of 3 classes (got cat)"),
        ({"classes": np.array(["a", "a", "b"])}, "classes: an empty name, or the same name twice"),
        (
            {"classes": np.array(["a"]), "y_train": np.zeros(12, int), "y_test": np.zeros(6, int)},
            "classes: fewer than",
        ),
        ({"classes": None, "y_train": np.arange(12) * 10**15}, "y_train: no such class"),
        ({"x_val": np.zeros((2, 6, 6, 3), np.uint8)}, "y_val: missing"),
        (
            {
                f"{kind}_{word}": arrays()[f"{kind}_test"]
                for kind in "xy"
                for word in ("val", "valid")
            },
            "x_valid: a second validation split, besides x_val",
        ),
    ],
)
def test_each_mistake_is_reported_in_one_line_with_its_fix(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    (expected,) = mistakes(tmp_path, **changes)
    assert expected.startswith(line)
    assert ". Fix: " in expected


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    (line,) = mistakes(tmp_path, classes=np.array([Trap()], dtype=object))
    assert line.startswith("classes: not a row of names (got object (1,)")
    assert not (tmp_path / "sprung").exists()


def test_a_file_that_is_not_a_complete_npz_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    archive = Path(write(path)).read_bytes()
    np.save(tmp_path / "one.npy", np.zeros(3))
    header = bytearray(archive)
    start = header.find(b"'shape': (12, 6, 6, 3)")
    header[start : start + 22] = (
        b"'shape': (9999,999,93)"  # the header promises an array that the file lacks
    )
    for content in (
        b"",
        b"words",
        archive[:200],
        archive[: len(archive) // 2],
        (tmp_path / "one.npy").read_bytes(),
        header,
    ):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            open_source(str(path), cache=tmp_path)
        (line,) = lines_of(caught.value)
        assert line.startswith(f"{path}: not an .npz file, or a truncated one. Fix: write it again")


def test_a_flipped_bit_is_refused_or_has_no_effect_and_gives_no_traceback(
    tmp_path: Path,
) -> None:
    path = tmp_path / "set.npz"
    right = open_source(write(path), cache=tmp_path).sha256
    content = path.read_bytes()
    generator = np.random.default_rng(1)
    for position in generator.integers(0, len(content), 150):
        raw = bytearray(content)
        raw[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(raw)
        with contextlib.suppress(InputError):
            digest = open_source(str(path), cache=tmp_path).sha256
            # Bits that zip does not need may flip without an error; its directory has no checksum
            # and may lose an optional array.
            assert digest == right or position > content.find(b"PK\x01\x02")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFOs in folders")
@pytest.mark.timeout(60)
def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "set.npz")
    with pytest.raises(InputError, match="neither a folder nor a regular file"):
        open_source(str(tmp_path / "set.npz"), cache=tmp_path)


def test_a_changed_pixel_label_class_or_split_changes_the_hash(tmp_path: Path) -> None:
    pixels, labels = arrays()["x_train"].copy(), arrays()["y_train"].copy()
    pixels[0, 0, 0, 0] ^= 1
    labels[:2] = labels[1::-1]
    custom = {"x_val": arrays()["x_test"], "y_val": arrays()["y_test"]}
    changes = [
        {},
        {"x_train": pixels},
        {"y_train": labels},
        {"classes": np.array(["ant", "bee", "cow"])},
        custom,
    ]
    assert len({opened(tmp_path, **change).sha256 for change in changes}) == len(changes)


def test_name_path_compression_and_label_dtype_do_not_change_the_hash(
    tmp_path: Path,
) -> None:
    first = opened(tmp_path).sha256
    np.savez_compressed(
        tmp_path / "other.npz", **arrays(y_train=arrays()["y_train"].astype(np.uint8))
    )
    assert open_source(str(tmp_path / "other.npz"), cache=tmp_path).sha256 == first


def test_arrays_that_are_not_used_are_reported(tmp_path: Path) -> None:
    assert opened(tmp_path, extra=np.zeros(3)).notes == (
        f"{tmp_path / 'set.npz'}: arrays not used: extra",
    )


def test_an_image_size_is_refused_for_a_source_that_is_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"data: image_size: .* is not a folder of images \(got 8\). Fix: remove it",
    ):
        open_source(write(tmp_path / "set.npz"), image_size=8, cache=tmp_path)


def test_the_error_of_text_labels_and_16_bit_pixels_names_the_conversion(tmp_path: Path) -> None:
    pixels, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    arrays = {"x_test": pixels, "y_test": labels}
    np.savez(tmp_path / "a.npz", x_train=pixels.astype(np.uint16), y_train=labels, **arrays)
    with pytest.raises(InputError, match=re.escape("(x // 257).astype(np.uint8)")):
        open_source(str(tmp_path / "a.npz"), cache=tmp_path)
    np.savez(tmp_path / "b.npz", x_train=pixels, y_train=np.array(["a", "b"] * 2), **arrays)
    with pytest.raises(InputError, match=re.escape("np.unique(y_train, return_inverse=True)")):
        open_source(str(tmp_path / "b.npz"), cache=tmp_path)


def test_a_very_long_class_name_is_shortened_in_messages(tmp_path: Path) -> None:
    pixels, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    classes = np.array(["a" * 100_000, "b"])
    arrays = {"x_train": pixels, "y_train": labels, "x_test": pixels, "y_test": labels}
    np.savez(tmp_path / "a.npz", classes=classes, **arrays)
    audit = audit_source(str(tmp_path / "a.npz"), cache=tmp_path)
    assert audit.classes[0] == "a" * 100_000
    assert max(map(len, audit.lines(20))) < 4000
