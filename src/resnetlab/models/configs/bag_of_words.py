"""A bag of visual words with a linear classifier as data: what came before convolutional networks. Free of torch."""

from __future__ import annotations

from typing import Literal

from resnetlab.errors import mistake
from resnetlab.schema import Positive, PositiveAmount, spec


@spec
class BagOfWords:
    """Patches of an image named by the nearest word of a dictionary, counted by region, judged by a linear SVM.

    The words are the centres of k-means over whitened patches of the train images (Csurka et al. 2004; whitening and
    regions as Coates and Ng 2011). It has no layers and no epochs: of a recipe it uses nothing.
    """

    family: Literal["bag-of-words"] = "bag-of-words"
    words: Positive = 400
    patch: Positive = 6
    """Side of a patch in pixels."""
    stride: Positive = 2
    """Pixels from a patch to the next."""
    regions: Positive = 2
    """Along each side of the image; each has a count of its own."""
    penalty: PositiveAmount = 1.0
    """C of the SVM: the weight of a mistake against that of the coefficients."""

    depth = 1
    shortcut = "none"

    @property
    def slug(self) -> str:
        """The name by which people call it; a spec that differs from the usual one says so with a `+`."""
        return "bow-svm" if self == BagOfWords() else "bow-svm+"

    @property
    def title(self) -> str:
        """For a table or a figure."""
        return "bag of words, SVM"

    def places(self, side: int) -> int:
        """Patches along a side of the image. Raises InputError where there is none."""
        if side < self.patch:
            what = f"cannot take images of {side} pixels: a patch has {self.patch}"
            raise mistake(self.slug, what, f"patch = {side}", field="model.patch")
        return (side - self.patch) // self.stride + 1

    def cost(self, channels: int, classes: int, side: int) -> tuple[int, int]:
        """Numbers that are learned (whitening, dictionary, SVM), and multiply-adds for one image of `side` pixels."""
        patches, length = self.places(side) ** 2, channels * self.patch**2
        features = self.regions**2 * self.words
        learned = length * (length + 1) + self.words * length + (features + 1) * classes
        return learned, patches * length * (length + self.words) + features * classes
