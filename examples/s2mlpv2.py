"""S2-MLPv2, the Small/7 configuration: a vision backbone whose only spatial mixing is shifting channels.

Source: Yu et al., "S2-MLPv2: Improved Spatial-Shift MLP Architecture for Vision", arXiv 2108.01072.

Input: ``N x 3 x H x W`` float32, 224 x 224 in the paper; ``H`` and ``W`` are multiples of 14 (patches of 7, merged
two by two), at least 14. Output: ``N x num_classes`` logits.

Settled from the paper and from what it builds on:

* Small/7 follows the pyramid of Vision Permutator Small/7: 4 blocks of 192 channels on 7 x 7 patches, then 14 blocks
  of 384 channels on half the resolution; the MLP of a block is 3 times as wide as the block.
* The hidden width of the split attention is not printed in the paper's tables. It is a quarter of the channels here,
  as in Vision Permutator's public code, from which the paper takes split attention: that gives 25.1 M parameters, the
  paper's 25 M. Public reimplementations that keep the full width have 31.8 M.
* The linear layers of the split attention have no bias, as in the paper's equations.

Shifts are written as everybody writes them: in-place slice assignments that read and write the same memory. Eager
PyTorch does not define what they do; the paper means "every right-hand side is read before anything is written".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def spatial_shift(x: Tensor) -> Tensor:
    """Shifts four groups of channels of ``N x H x W x C`` by one step: down, up, right, left. Works in place."""
    h, w, c = x.shape[1:]
    x[:, 1:, :, : c // 4] = x[:, : h - 1, :, : c // 4]
    x[:, : h - 1, :, c // 4 : c // 2] = x[:, 1:, :, c // 4 : c // 2]
    x[:, :, 1:, c // 2 : c * 3 // 4] = x[:, :, : w - 1, c // 2 : c * 3 // 4]
    x[:, :, : w - 1, c * 3 // 4 :] = x[:, :, 1:, c * 3 // 4 :]
    return x


def transposed_spatial_shift(x: Tensor) -> Tensor:
    """Shifts like `spatial_shift` with height and width exchanged: right, left, down, up. Works in place."""
    h, w, c = x.shape[1:]
    x[:, :, 1:, : c // 4] = x[:, :, : w - 1, : c // 4]
    x[:, :, : w - 1, c // 4 : c // 2] = x[:, :, 1:, c // 4 : c // 2]
    x[:, 1:, :, c // 2 : c * 3 // 4] = x[:, : h - 1, :, c // 2 : c * 3 // 4]
    x[:, : h - 1, :, c * 3 // 4 :] = x[:, 1:, :, c * 3 // 4 :]
    return x


class SplitAttention(nn.Module):
    """Weighs three feature maps against each other, channel by channel, and sums them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 4, bias=False)
        self.activation = nn.GELU()
        self.weigh = nn.Linear(channels // 4, 3 * channels, bias=False)
        with torch.no_grad():  # it reads sums over thousands of positions: unscaled, they saturate the softmax
            self.squeeze.weight.mul_(0.02)

    def forward(self, maps: Tensor) -> Tensor:
        """Fuses ``N x 3 x H x W x C`` to ``N x H x W x C``."""
        n, k, _, _, c = maps.shape
        summed = maps.sum(dim=(1, 2, 3))
        weights = self.weigh(self.activation(self.squeeze(summed))).reshape(n, k, c).softmax(dim=1)
        return (weights[:, :, None, None, :] * maps).sum(dim=1)


class S2Attention(nn.Module):
    """Triples the channels, shifts two of the three parts and fuses them with split attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 3 * channels)
        self.fuse = SplitAttention(channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``N x H x W x C`` to the same shape."""
        c = x.shape[-1]
        x = self.expand(x)
        down = spatial_shift(x[..., :c])
        right = transposed_spatial_shift(x[..., c : 2 * c])
        still = x[..., 2 * c :]
        return self.project(self.fuse(torch.stack([down, right, still], dim=1)))


class S2Block(nn.Module):
    """One block: spatial mixing by shifts, then a channel MLP, each with normalisation and a residual."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = S2Attention(channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, expansion * channels), nn.GELU(), nn.Linear(expansion * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``N x H x W x C`` to the same shape."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class PatchEmbedding(nn.Module):
    """Turns every patch of ``patch x patch`` positions into one."""

    def __init__(self, in_channels: int, channels: int, patch: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, channels, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``N x H x W x C`` to ``N x H/patch x W/patch x channels``."""
        return self.projection(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class S2MLPv2(nn.Module):
    """The whole network: stages of patch embedding and blocks, then the mean over all positions and a classifier.

    Args:
        channels: Channels of each stage, multiples of 4.
        depths: Blocks of each stage.
        patches: Side of the patches that each stage merges.
        expansion: Width of a block's MLP as a multiple of its channels.
        num_classes: Size of the output.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (192, 384),
        depths: tuple[int, ...] = (4, 14),
        patches: tuple[int, ...] = (7, 2),
        expansion: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        in_channels = 3
        for width, depth, patch in zip(channels, depths, patches, strict=True):
            blocks = [S2Block(width, expansion) for _ in range(depth)]
            self.stages.append(nn.Sequential(PatchEmbedding(in_channels, width, patch), *blocks))
            in_channels = width
        self.norm = nn.LayerNorm(in_channels)
        self.head = nn.Linear(in_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps ``N x 3 x H x W`` images to ``N x num_classes`` logits."""
        x = self.stages(images.permute(0, 2, 3, 1))
        return self.head(self.norm(x).mean(dim=(1, 2)))


def s2mlpv2_small_7(num_classes: int = 1000, seed: int = 0) -> S2MLPv2:
    """Builds Small/7: 25.1 M parameters with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return S2MLPv2(num_classes=num_classes)


def s2mlpv2_tiny(num_classes: int = 10, seed: int = 0) -> S2MLPv2:
    """Builds a model of the same structure that is small enough for a quick look or a test."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return S2MLPv2(channels=(16, 32), depths=(1, 1), num_classes=num_classes)
