"""The 1,797 handwritten digits that come with scikit-learn: 8 x 8 grey images in ten classes. Needs no network.

Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), its test file.
"""

from __future__ import annotations

import numpy as np

from resnetlab.data.sources import content, strata
from resnetlab.data.spec import Source

TEST_SHARE = 0.2


def open_digits() -> Source:
    """Pixels (N, 8, 8, 1): round(x 255 / 16), half to even, of the 17 levels; 20 % of each digit is the test split."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * 255 / 16).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    classes = [str(digit) for digit in range(10)]
    test = strata.split_test(labels, classes, TEST_SHARE, "digits")
    notes = [f"digits has no test split: {test.sum()} of its {len(labels)} images were set apart, by class, by seed 0"]
    return content.assemble(
        "digits",
        classes,
        train=content.images(pixels[~test], labels[~test]),
        test=content.images(pixels[test], labels[test]),
        notes=notes,
    )
