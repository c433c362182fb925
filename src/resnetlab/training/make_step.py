"""Choice of the training step: a CUDA graph if possible, else an eager step."""

from __future__ import annotations

from resnetlab.data.device_images import DeviceImages
from resnetlab.models.configs.external import ExternalConfig
from resnetlab.training.batches import InMemoryBatches
from resnetlab.training.cuda_graphs import CudaGraphs, GraphedStep
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.training_step import TrainingStep


def make_step(state: FromScratchState, images: DeviceImages) -> TrainingStep:
    """Return a step over `images`: a CUDA graph if possible, else an eager step.

    For an eager step, the reason is written to `state.eager_reason`.
    """
    batches = InMemoryBatches(state, images)
    state.eager_reason = find_eager_reason(state)
    if state.eager_reason:
        return TrainingStep(state, batches)
    return GraphedStep(state, batches, CudaGraphs(state.device))


def find_eager_reason(state: FromScratchState) -> str:
    """Return the reason why steps cannot be captured, or "" if none is known before training."""
    if state.numerics.cuda_graphs == "auto":  # `resolve_numerics` replaces it on a GPU
        return "only steps on a GPU are captured"
    if state.numerics.cuda_graphs == "off":
        return "numerics.cuda_graphs is off"
    if state.world.size > 1:
        return "several processes share each batch"
    if state.recipe.augment.randaugment is not None:
        return "RandAugment's operations are chosen on the processor"
    if isinstance(state.model_config, ExternalConfig):
        return "the code of an external network may do more on the processor than is recorded"
    return ""
