"""Results of the diagnostics of a run, as dataclasses. Free of torch."""

from __future__ import annotations

from typing import Literal

from resnetlab.inspection.diagnostics_config import LandscapeConfig
from resnetlab.schema import strict_dataclass


@strict_dataclass
class LayerNorms:
    """Norms of a convolution or linear layer, for one batch in training mode.

    None: not finite, or absent. Norms are Euclidean, over the whole batch; gradients are those of
    the batch's mean loss.
    """

    depth: int
    """Position of the layer in the network, from 1."""
    layer: str
    """Name of the layer in the network."""
    weight_gradient_norm: float | None
    """Norm of the gradient of the layer's weights."""
    weight_norm: float | None
    """Norm of the layer's weights."""
    response_gradient_norm: float | None
    """Norm of the gradient of the layer's output after its normalization."""
    response_norm: float | None
    """Norm of the layer's output after its normalization."""
    response_sd: float | None
    """Standard deviation of the layer's output after its normalization (He et al. 2016, fig. 7)."""
    activation_norm: float | None
    """Norm of the activation that follows the layer, if there is one before the next layer."""
    never_active_pct: float | None
    """Maps or units, in percent, that the next ReLU sets to 0 everywhere in every image."""
    active_pct: float | None = None
    """Values, in percent, that the following ReLU leaves above 0: there its derivative is 1,
    elsewhere 0. None also if an older version measured.
    """


@strict_dataclass
class GradientNorms:
    """Gradient norms of a run, the file diagnostics/gradient-norms-<epoch>.json."""

    epoch: float
    """Epoch after which the norms were measured; 0 is before training."""
    step: int
    """Number of optimizer steps before the measurement."""
    images: int
    """Number of images in the batch: the start of a fixed draw from the train split, not augmented.
    """
    loss_nats: float | None
    """Mean loss of the batch."""
    layers: tuple[LayerNorms, ...]
    """Norms of each layer, in the order of the forward pass."""


@strict_dataclass
class BlockAblation:
    """Accuracy on the test split without a block; `nothing` is the complete network."""

    without: str
    """Name of the block that was left out; `nothing` for the complete network."""
    accuracy_pct: float
    """Test accuracy in percent."""
    accuracy_drop_points: float
    """Points of accuracy below those of the complete network."""


@strict_dataclass
class BlockSet:
    """Accuracy on the test split without a set of two or more blocks."""

    without: tuple[int, ...]
    """Numbers of the blocks that were left out, ascending; 1 is the first block of the network."""
    accuracy_pct: float
    """Test accuracy in percent."""


@strict_dataclass
class BlockAblations:
    """Block ablations of a run, the file diagnostics/block-ablation.json.

    For a network without blocks it has only the complete network.
    """

    images: int
    """Number of evaluated test images."""
    blocks: tuple[BlockAblation, ...]
    """Accuracy of the complete network, then without each block."""
    sets: tuple[BlockSet, ...] = ()
    """Accuracy without several blocks; empty if it was not requested, or an older version measured.
    """

    @property
    def lacks_sets(self) -> bool:
        """True for a network of two blocks or more without the accuracy of sets of them."""
        return not self.sets and len(self.blocks) > 2


@strict_dataclass
class PlaneLosses:
    """Losses on a grid in a random plane through the weights of a run."""

    plane: int
    """Number of the plane, from 0. With the seed it names the streams of its directions."""
    losses_nats: tuple[tuple[float | None, ...], ...]
    """Mean loss in nats at each grid point: a row for each y from -1 to 1, in it the values of each
    x from -1 to 1. None: not finite.
    """


@strict_dataclass
class LossLandscape:
    """Loss landscapes of a run, the file diagnostics/loss-landscape.json.

    An axis goes from -1 to 1 in equal steps. At 1 each filter has moved by its norm.
    """

    images: int
    """Number of train images, without augmentation, whose mean loss was measured."""
    seed: int
    """Seed of the named streams of the directions and of the images."""
    batch_norm: Literal["running", "batch"] = "running"
    """Statistics of batch norm: the running ones of the trained weights, or those of the images at
    each point.
    """
    planes: tuple[PlaneLosses, ...]
    """Losses by plane."""

    def fulfills(self, config: LandscapeConfig, available_images: int) -> bool:
        """Return True if the landscapes are those that `config` requests, in all but their seeds.

        Args:
            config: Requested size.
            available_images: Number of train images of the run.
        """
        sides = {len(plane.losses_nats) for plane in self.planes}
        images = min(config.images, available_images)
        size = (len(self.planes), sides, self.images)
        requested = (config.planes, {config.points}, images)
        return size == requested and self.batch_norm == config.batch_norm
