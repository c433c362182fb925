"""ResNeXt-101 32x48d of Mahajan et al. 2018, which no library provides, for its authors' weights.

`resnetlab import-weights FILE --as resnext101_32x48d --out resnext101_32x48d --license
CC-BY-NC-4.0` converts their checkpoint to the tensor names of this package's own network, which
this is.
"""

from __future__ import annotations

from torch import nn

from resnetlab.models.configs.imagenet import IMAGENET
from resnetlab.models.nets.imagenet import ImageNetNetwork


def resnext101_32x48d(num_classes: int = 1000) -> nn.Module:
    """Return ResNeXt-101 32x48d with arbitrary initial weights; trained ones come from a file."""
    return ImageNetNetwork(IMAGENET["resnext101_32x48d"], 3, num_classes)
