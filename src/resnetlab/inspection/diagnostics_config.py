"""What a run can be asked to measure of itself, and what comes of it, as data. Free of torch."""

from __future__ import annotations

from resnetlab.schema import FieldError, Whole, spec


@spec
class Instruments:
    """Asked of a run. Placement: none of it changes a bit of the training; a test says so."""

    gradients: tuple[Whole, ...] = ()
    """Epochs after which norms are taken layer by layer; 0 is before training."""
    drop_blocks: bool = False
    """At the end, the accuracy with each block switched off in turn."""

    def __post_init__(self) -> None:
        if len(set(self.gradients)) < len(self.gradients):
            raise FieldError("gradients", "an epoch stands twice", "gradients = [0, 1, 5]")


@spec
class LayerNorms:
    """A convolution or linear layer, for one batch in training mode. None: not finite, or there is none.

    Norms are Euclidean, over the whole batch; gradients are those of the batch's mean loss.
    """

    depth: int
    """In the order of the network, from 1."""
    layer: str
    weight_gradient_norm: float | None
    weight_norm: float | None
    response_gradient_norm: float | None
    response_norm: float | None
    """Of what the layer gives, after its normalisation."""
    response_sd: float | None
    """He et al. 2016, fig. 7."""
    activation_norm: float | None
    """Of what the activation after it gives, where one follows before the next layer."""
    never_active_pct: float | None
    """Maps or units that the ReLU after it cuts off at every place of every image."""


@spec
class Gradients:
    """A file instruments/gradients-<epoch>.json of a run."""

    epoch: float
    step: int
    images: int
    """Of the batch: the first of a fixed draw from the train split, not augmented."""
    loss_nats: float | None
    layers: tuple[LayerNorms, ...]


@spec
class BlockWorth:
    """Accuracy on the test split without a block; `nothing` is the whole network."""

    without: str
    accuracy_pct: float
    lost_points: float


@spec
class DroppedBlocks:
    """The file instruments/drop-blocks.json of a run; a network without blocks has the whole alone."""

    images: int
    blocks: tuple[BlockWorth, ...]
