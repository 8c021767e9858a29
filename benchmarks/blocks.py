"""The modules that `latency.py` measures: blocks that shift, in the styles of public models, and what bounds them.

All of them take and give ``N x C x H x W`` float32. Weights are random; nothing here depends on their values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _shift_down_up_right_left(x: Tensor) -> None:
    """Shifts four groups of channels of ``N x H x W x C`` in place: down, up, right, left."""
    h, w, c = x.shape[1:]
    quarter = c // 4
    x[:, 1:, :, :quarter] = x[:, : h - 1, :, :quarter]
    x[:, : h - 1, :, quarter : 2 * quarter] = x[:, 1:, :, quarter : 2 * quarter]
    x[:, :, 1:, 2 * quarter : 3 * quarter] = x[:, :, : w - 1, 2 * quarter : 3 * quarter]
    x[:, :, : w - 1, 3 * quarter :] = x[:, :, 1:, 3 * quarter :]


def _shift_right_left_down_up(x: Tensor) -> None:
    """Shifts four groups of channels of ``N x H x W x C`` in place: right, left, down, up."""
    h, w, c = x.shape[1:]
    quarter = c // 4
    x[:, :, 1:, :quarter] = x[:, :, : w - 1, :quarter]
    x[:, :, : w - 1, quarter : 2 * quarter] = x[:, :, 1:, quarter : 2 * quarter]
    x[:, 1:, :, 2 * quarter : 3 * quarter] = x[:, : h - 1, :, 2 * quarter : 3 * quarter]
    x[:, : h - 1, :, 3 * quarter :] = x[:, 1:, :, 3 * quarter :]


class S2Attention(nn.Module):
    """The spatial-shift attention of S2-MLPv2 with a split attention as wide as the block.

    Source: Yu et al., arXiv 2108.01072; the in-place shifts are how public code writes them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 3 * channels)
        self.squeeze = nn.Linear(channels, channels, bias=False)
        self.weigh = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``N x C x H x W`` to the same shape."""
        n, c, h, w = x.shape
        maps = self.expand(x.permute(0, 2, 3, 1))
        first, second, third = maps[..., :c], maps[..., c : 2 * c], maps[..., 2 * c :]
        _shift_down_up_right_left(first)
        _shift_right_left_down_up(second)
        stacked = torch.stack([first, second, third], dim=1).reshape(n, 3, h * w, c)
        summed = stacked.sum(dim=1).sum(dim=1)
        shares = self.weigh(F.gelu(self.squeeze(summed))).reshape(n, 3, c).softmax(dim=1)
        fused = (shares[:, :, None] * stacked).sum(dim=1).reshape(n, h, w, c)
        return self.project(fused).permute(0, 3, 1, 2)


class ProductsOfRows(nn.Module):
    """The two large matrix products of `S2Attention` alone, channels last; the memory is taken as it lies."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``N x C x H x W`` to ``NHW x 3C`` and ``NHW x C``."""
        rows = x.reshape(-1, x.shape[1])
        return self.expand(rows), self.project(rows)


class ProductsOfMaps(nn.Module):
    """The same two products, channels first, as convolutions of 1 x 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``N x C x H x W`` to ``N x 3C x H x W`` and ``N x C x H x W``."""
        return self.expand(x), self.project(x)


class ShiftMlp(nn.Module):
    """A block in the style of ShiftViT: a twelfth of the channels moves each way into zeros, then an MLP of 1 x 1.

    Source: Wang et al., arXiv 2201.10801.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.step = channels // 12
        self.norm = nn.GroupNorm(1, channels)
        self.grow = nn.Conv2d(channels, 2 * channels, 1)
        self.shrink = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``N x C x H x W`` to the same shape."""
        g = self.step
        moved = torch.zeros_like(x)
        moved[:, :g, :, :-1] = x[:, :g, :, 1:]
        moved[:, g : 2 * g, :, 1:] = x[:, g : 2 * g, :, :-1]
        moved[:, 2 * g : 3 * g, :-1] = x[:, 2 * g : 3 * g, 1:]
        moved[:, 3 * g : 4 * g, 1:] = x[:, 3 * g : 4 * g, :-1]
        moved[:, 4 * g :] = x[:, 4 * g :]
        return moved + self.shrink(F.gelu(self.grow(self.norm(moved))))


class TemporalShift(nn.Module):
    """A residual block in the style of TSM: an eighth of the channels comes from the next frame, one from the last.

    Source: Lin et al., arXiv 1811.08383. The batch holds clips of eight frames.
    """

    def __init__(self, channels: int, frames: int = 8) -> None:
        super().__init__()
        self.frames, self.fold = frames, channels // 8
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``NT x C x H x W`` to the same shape."""
        _, c, h, w = x.shape
        clips = x.view(-1, self.frames, c, h, w)
        moved = torch.zeros_like(clips)
        moved[:, :-1, : self.fold] = clips[:, 1:, : self.fold]
        moved[:, 1:, self.fold : 2 * self.fold] = clips[:, :-1, self.fold : 2 * self.fold]
        moved[:, :, 2 * self.fold :] = clips[:, :, 2 * self.fold :]
        return F.relu(x + self.second(F.relu(self.first(moved.view(-1, c, h, w)))))


class ShiftedWindows(nn.Module):
    """A block in the style of Swin: attention in windows of 7 x 7 after a cyclic shift, its mask written in place.

    Source: Liu et al., arXiv 2103.14030. Height and width are multiples of 7.
    """

    def __init__(self, channels: int, heads: int = 3, window: int = 7) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, window // 2
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``N x C x H x W`` to the same shape."""
        n, c, h, w = x.shape
        rows = self.norm(x.permute(0, 2, 3, 1))
        windows = self._windows(torch.roll(rows, (-self.shift, -self.shift), dims=(1, 2)))
        count, size = h * w // self.window**2, self.window**2
        qkv = self.qkv(windows).reshape(-1, size, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = (qkv[0] * (c // self.heads) ** -0.5) @ qkv[1].transpose(-2, -1)
        scores = scores.view(n, count, self.heads, size, size) + self._mask(h, w, x)[None, :, None]
        mixed = scores.view(-1, self.heads, size, size).softmax(dim=-1) @ qkv[2]
        mixed = self.project(mixed.transpose(1, 2).reshape(-1, size, c))
        back = mixed.view(n, h // self.window, w // self.window, self.window, self.window, c)
        back = back.permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return x + torch.roll(back, (self.shift, self.shift), dims=(1, 2)).permute(0, 3, 1, 2)

    def _windows(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        split = x.view(n, h // self.window, self.window, w // self.window, self.window, c)
        return split.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.window**2, c)

    def _mask(self, h: int, w: int, like: Tensor) -> Tensor:
        regions = torch.zeros(1, h, w, 1, dtype=like.dtype)
        pieces = (slice(0, -self.window), slice(-self.window, -self.shift), slice(-self.shift, None))
        for number, (rows, columns) in enumerate((r, c) for r in pieces for c in pieces):
            regions[:, rows, columns, :] = number
        flat = self._windows(regions).squeeze(-1)
        different = flat[:, None] - flat[:, :, None]
        return torch.zeros_like(different).masked_fill(different != 0, -100.0)
