"""Config of a bag of visual words with a linear classifier. Free of torch."""

from __future__ import annotations

from typing import Literal

from resnetlab.errors import input_error
from resnetlab.schema import PositiveFloat, PositiveInt, strict_dataclass


@strict_dataclass
class BagOfWordsConfig:
    """Bag of visual words: patches become words; a linear SVM classifies their counts by region.

    The words are the centers of k-means over whitened patches of the train images (Csurka et al.
    2004; whitening and regions as Coates and Ng 2011). It has no layers and no epochs, and uses
    nothing of a recipe.
    """

    family: Literal["bag-of-words"] = "bag-of-words"
    words: PositiveInt = 400
    """Number of visual words: the centers of k-means."""
    patch: PositiveInt = 6
    """Side of a patch in pixels."""
    stride: PositiveInt = 2
    """Distance in pixels from one patch to the next."""
    regions: PositiveInt = 2
    """Number of regions along each side of the image; each region has its own counts."""
    penalty: PositiveFloat = 1.0
    """C of the SVM: the weight of a misclassification relative to the size of the coefficients."""

    depth = 1
    shortcut = "none"

    @property
    def slug(self) -> str:
        """Common name of the model; a config that differs from the usual one ends with a `+`."""
        return "bow-svm" if self == BagOfWordsConfig() else "bow-svm+"

    @property
    def title(self) -> str:
        """Title for a table or a figure."""
        return "bag of words, SVM"

    def patches_per_side(self, image_size: int) -> int:
        """Return the number of patches along a side. Raises InputError if there is none."""
        if image_size < self.patch:
            problem = f"cannot take images of {image_size} pixels: a patch has {self.patch}"
            raise input_error(self.slug, problem, f"patch = {image_size}", field="model.patch")
        return (image_size - self.patch) // self.stride + 1

    def cost(self, channels: int, num_classes: int, image_size: int) -> tuple[int, int]:
        """Return learned numbers, and multiply-adds for one image of `image_size` pixels."""
        patches, length = self.patches_per_side(image_size) ** 2, channels * self.patch**2
        features = self.regions**2 * self.words
        learned = length * (length + 1) + self.words * length + (features + 1) * num_classes
        return learned, patches * length * (length + self.words) + features * num_classes
