"""Assignments into buffers, attributes and inputs."""

from __future__ import annotations

import torch

from forms.form import form


@form("x:n=1..2..4,t=3..6..9,8", empty=True)
def mutated_input(x):
    """x[:, 1:] = x[:, :-1] on the input itself"""
    x[:, 1:] = x[:, :-1]
    return x * 2


@form("x:1,4,6")
class CachedBuffer(torch.nn.Module):
    """self.cache[:, :4] = x; attention over self.cache"""

    def __init__(self):
        super().__init__()
        self.register_buffer("cache", torch.zeros(1, 8, 6))

    def forward(self, x):
        self.cache[:, :4] = x
        return x @ self.cache.transpose(1, 2)


@form("x:1,4,h=1..3..5")
class StreamingBuffer(torch.nn.Module):
    """self.state[:, :-1] = self.state[:, 1:].clone(); self.state[:, -1] = x.mean(2)"""

    def __init__(self):
        super().__init__()
        self.register_buffer("state", torch.arange(12.0).view(3, 4).unsqueeze(0))

    def forward(self, x):
        self.state[:, :-1] = self.state[:, 1:].clone()
        self.state[:, -1] = x.mean(2)
        return self.state.sum(1)


@form("x:n=1..2..4,3,h=1..4..6,w=1..5..6", empty=True)
class ConstantBuffer(torch.nn.Module):
    """weight = self.weight.clone(); weight[:, :, 0] = 0; conv with it (masked convolutions)"""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.arange(81.0).view(3, 3, 3, 3) / 81)

    def forward(self, x):
        weight = self.weight.clone()
        weight[:, :, 1, 2:] = 0
        weight[:, :, 2:] = 0
        return torch.nn.functional.conv2d(x, weight, padding=1)
