"""Digits: the 1,797 handwritten digits of scikit-learn, 8 x 8 gray images in ten classes.

Needs no network. Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), its
test file.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab.data import stratify
from resnetlab.data.config import Source
from resnetlab.data.sources import content_hash
from resnetlab.errors import input_error

TEST_FRACTION = 0.2


def open_digits() -> Source:
    """Return the digits, pixels (N, 8, 8, 1): round(x 255 / 16), half to even, of the 17 levels.

    20 % of each digit's images are the test split.
    """
    levels, labels = read_digits()
    pixels = np.rint(levels * 255 / 16).astype(np.uint8)
    classes = [str(digit) for digit in range(10)]
    test = stratify.draw_test_split(labels, classes, TEST_FRACTION, "digits")
    notes = [
        (
            f"digits has no test split: {test.sum()} of its {len(labels)} images were set apart, "
            "by class, by seed 0"
        )
    ]
    return content_hash.build_source(
        "digits",
        classes,
        train=content_hash.make_images(pixels[~test], labels[~test]),
        test=content_hash.make_images(pixels[test], labels[test]),
        notes=notes,
    )


def read_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read scikit-learn's file: levels (N, 8, 8) from 0 to 16 and labels (N,).

    The file is read by its path, since importing scikit-learn takes seconds (it imports scipy.stats
    and pandas). If the file has moved, scikit-learn's own function reads it. Raises InputError if
    scikit-learn is not installed.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise input_error(
            "digits",
            "scikit-learn, which ships these images, is not installed",
            'pip install "resnetlab[train]"',
        )
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target.astype(np.int64)
