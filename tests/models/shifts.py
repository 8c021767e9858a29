"""Small modules that write in place, in the styles people use; every class works for float32 N x C x H x W inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Shift(nn.Module):
    """The plain overlapping slice assignment, along two axes."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(x)
        c = x.shape[1]
        x[:, : c // 2, 1:] = x[:, : c // 2, :-1]
        x[:, c // 2 :, :, :-1] = x[:, c // 2 :, :, 1:]
        return x


class Steps(nn.Module):
    """Steps of two and negative bounds: the even rows take the odd ones."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :, 0:-1:2] = x[:, :, 1::2][:, :, : y[:, :, 0:-1:2].shape[2]]
        return y


class Multiply(nn.Module):
    """An operator other than copy: one channel scales those it is part of."""

    def forward(self, x: Tensor) -> Tensor:
        y = x + 0
        y[:, 1:].mul_(y[:, 1:2])
        return y


class Fill(nn.Module):
    """Scalars into borders."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :, 0] = 0
        y[..., -1] = 1.5
        return y


class Select(nn.Module):
    """An index mixed with slices."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 0, 1:] = x[:, 1, :-1]
        return y


class NewEmpty(nn.Module):
    """A tensor filled piece by piece."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_empty(x.shape)
        y[:, :, :1] = x[:, :, :1]
        y[:, :, 1:] = x[:, :, :-1] * 2
        return y


class Two(nn.Module):
    """Two inputs and two outputs."""

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        a = a.clone()
        a[:, 1:] = b[:, :-1]
        return a, a.sum(dim=(2, 3))


class BakedIn(nn.Module):
    """A size taken as a Python integer: right at one size only."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : int(x.shape[2])].mean(dim=3) + int(x.shape[2])


class Branch(nn.Module):
    """Control flow that depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


class Raises(nn.Module):
    """A constructor that fails."""

    def __init__(self) -> None:
        super().__init__()
        raise OSError("the config file is missing")


class Random(nn.Module):
    """Outputs no proof can hold for: eager and exported draw other numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)
