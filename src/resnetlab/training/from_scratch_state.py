"""Training state of a network that is built from its config and takes uint8 images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resnetlab.data.config import LabeledImages
from resnetlab.data.transforms.augment import center_crop
from resnetlab.data.transforms.normalization import fit_normalizer
from resnetlab.models.build import build_model
from resnetlab.models.configs import ModelConfig
from resnetlab.models.external import check_one_output
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.training.device import memory_format, to_memory_format
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.optimizer import (
    build_optimizer,
    lrs_to_device,
)
from resnetlab.training.rng import make_generator
from resnetlab.training.state import TrainState


class FromScratchState(TrainState):
    """Training state of a model that is built from its config and takes uint8 images."""

    def __init__(
        self,
        config: ModelConfig,
        recipe: Recipe,
        numerics: Numerics,
        seed: int,
        train: LabeledImages,
        num_classes: int,
        device: torch.device,
        world: World = SINGLE_PROCESS,
    ) -> None:
        channels = train.pixels.shape[3]
        init_seed = seed if recipe.initial_weights_seed is None else recipe.initial_weights_seed
        model: nn.Module = build_model(
            config, channels, num_classes, lambda name: make_generator(init_seed, "init", name)
        )
        check_one_output(model, config.slug)
        if numerics.batch_norm == "synchronized":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        model = model.to(device).to(memory_format=memory_format(numerics))
        self.model_config, self.num_classes = config, num_classes
        self.eager_reason = ""  # reason why steps are eager although CUDA graphs are faster
        optimizer = build_optimizer(recipe, model, capturable=numerics.cuda_graphs == "on")
        super().__init__(model, optimizer, recipe, numerics, seed, len(train), device, world)
        if numerics.cuda_graphs == "on":
            lrs_to_device(optimizer, device)
        self.normalizer = fit_normalizer(recipe.normalize, train, recipe.augment.crop, device)

    def eval_forward_pixels(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of uint8 images (B, H, W, C), with the EMA if there is one."""
        return self.eval_forward(self.preprocess(pixels))

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Return uint8 (B, H, W, C) as evaluation inputs (B, C, H, W): cropped and normalized."""
        images = self.normalizer(center_crop(pixels, self.recipe.augment.crop))
        return to_memory_format(images, self.numerics)
