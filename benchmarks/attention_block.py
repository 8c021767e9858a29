"""One spatial-shift attention block of S2-MLPv2 with images in front of the channels' last axis, as most code has it.

Source: Yu et al., "S2-MLPv2: Improved Spatial-Shift MLP Architecture for Vision", arXiv 2108.01072. It differs from the
blocks of ``examples/s2mlpv2.py`` where public reimplementations do: ``N x C x H x W`` in and out, and a split attention
as wide as the block, which saturates its softmax.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_ORDERS = {"down first": (1, 2), "right first": (2, 1)}


def shift_in_place(part: Tensor, order: str) -> Tensor:
    """Moves four equal groups of channels of ``N x H x W x C`` one step each, forth and back along two axes."""
    groups = part.chunk(4, dim=-1)
    first, second = _ORDERS[order]
    for group, axis, forth in zip(groups, (first, first, second, second), (True, False, True, False), strict=True):
        length = group.shape[axis] - 1
        ahead, behind = group.narrow(axis, 1, length), group.narrow(axis, 0, length)
        if forth:
            ahead.copy_(behind)
        else:
            behind.copy_(ahead)
    return part


class AttentionBlock(nn.Module):
    """Three maps of one image, two of them shifted, mixed by weights the image chooses for every channel.

    Args:
        channels: Channels in and out, a multiple of 4.
    """

    def __init__(self, channels: int = 512) -> None:
        super().__init__()
        self.widen = nn.Linear(channels, 3 * channels)
        self.narrow = nn.Linear(channels, channels)
        self.look = nn.Linear(channels, channels, bias=False)
        self.choose = nn.Linear(channels, 3 * channels, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Maps ``N x C x H x W`` to the same shape."""
        n, c = image.shape[:2]
        down, right, still = self.widen(image.permute(0, 2, 3, 1)).split(c, dim=-1)
        maps = torch.stack([shift_in_place(down, "down first"), shift_in_place(right, "right first"), still], dim=1)
        seen = self.choose(nn.functional.gelu(self.look(maps.sum(dim=(1, 2, 3)))))
        weights = seen.view(n, 3, 1, 1, c).softmax(dim=1)
        return self.narrow((weights * maps).sum(dim=1)).permute(0, 3, 1, 2)


def attention_block(channels: int = 512, seed: int = 0) -> AttentionBlock:
    """Builds the block with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AttentionBlock(channels)
