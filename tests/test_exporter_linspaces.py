"""Linspaces of a symbolic number of steps: they stay dynamic and equal torch's, others are torch's own."""

import pytest
import torch
from translating import All, compare, translate

from s2deploy.exporter.linspaces import linspaces_stay_symbolic


def grid(x):
    across = torch.linspace(-1.0, 1.0, x.shape[3]).view(1, 1, 1, -1).expand(x.shape[0], -1, x.shape[2], -1)
    down = torch.linspace(-1, 1, steps=x.shape[2]).view(1, 1, -1, 1).expand(x.shape[0], -1, -1, x.shape[3])
    return torch.cat([across, down], 1)


def centres(x):
    height = x.shape[2]
    return x + torch.linspace(0.5, height - 0.5, height, dtype=torch.float32)[:, None] / height


def doubles_backward(x):
    return torch.linspace(x.shape[3], 0, x.shape[3], dtype=torch.float64)


@pytest.mark.parametrize("texts", [("x:2,1,h=1..5..9,w=1..8..12",), ("x:n=1..2,1,7,w=2..3..4",), ("x:2,1,4,5",)])
def test_sizes_stay_dynamic(texts: tuple[str, ...]) -> None:
    module = All(grid, centres, doubles_backward)
    model, specs = translate(module, texts)
    compare(module, model, specs, tolerance=1e-6)


def test_numbers_are_left_to_torch() -> None:
    with linspaces_stay_symbolic():
        taken = [
            torch.linspace(0, 1, 5),
            torch.linspace(0, 9, 4, dtype=torch.int64),
            torch.linspace(start=2, end=1, steps=1),
        ]
    given = [torch.linspace(0, 1, 5), torch.linspace(0, 9, 4, dtype=torch.int64), torch.linspace(2, 1, 1)]
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(taken, given, strict=True))
