"""Networks for small images (He et al. 2016, sec. 4.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.models.blocks import BasicBlock
from resnetlab.models.shortcuts import Pad, Project
from resnetlab.models.spec import CifarNet


class CifarNetwork(nn.Module):
    """Stem, stages, average pooling, classifier, as `spec` says."""

    def __init__(self, spec: CifarNet, channels: int, classes: int) -> None:
        super().__init__()
        width = spec.widths[0]
        self.stem = nn.Conv2d(channels, width, 3, 1, 1, bias=not spec.batch_norm)
        self.stem_norm = nn.BatchNorm2d(width) if spec.batch_norm else nn.Identity()
        stages = []
        for stage, (count, out) in enumerate(zip(spec.blocks, spec.widths, strict=True)):
            blocks = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                way = _shortcut(spec, width, out, stride)
                blocks.append(BasicBlock(width, out, stride, way, spec.batch_norm, spec.dropout))
                width = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, K)."""
        x = F.relu(self.stem_norm(self.stem(images)))
        x = self.stages(x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        logits: Tensor = self.head(x)
        return logits


def _shortcut(spec: CifarNet, channels_in: int, channels_out: int, stride: int) -> nn.Module | None:
    if spec.shortcut == "none":
        return None
    changes = stride != 1 or channels_in != channels_out
    if spec.shortcut == "C" or (spec.shortcut == "B" and changes):
        return Project(channels_in, channels_out, stride, spec.batch_norm)
    return Pad(channels_in, channels_out, stride) if changes else nn.Identity()
