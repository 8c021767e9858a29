"""Diagonals that forward fills, by method, by index or through a view."""

import pytest
import torch
from translating import All, compare, operators, translate

from s2deploy.errors import ExportError
from s2deploy.exporter.diagonals import diagonals_are_masks


def filled(x):
    similar = x[0] * 2
    similar.fill_diagonal_(float("-inf"))
    x[1, 1:].fill_diagonal_(fill_value=7)
    counts = torch.ones(x.shape[1], x.shape[1], dtype=torch.int64).fill_diagonal_(0)
    return similar.softmax(-1), x, counts.sum(1)


@pytest.mark.parametrize("texts", [("x:2,5,5",), ("x:2,4,6",), ("x:2,h=2..5..8,w=2..4..9",)])
def test_matrices_are_filled_under_a_mask(texts: tuple[str, ...]) -> None:
    module = All(filled)
    model, specs = translate(module, texts)
    assert not [name for name in operators(model) if name.startswith("Scatter")]
    compare(module, model, specs, tolerance=1e-6)


def test_other_diagonals_are_left_to_torch() -> None:
    with diagonals_are_masks():
        taken = [torch.zeros(3, 3, 3).fill_diagonal_(1), torch.zeros(7, 3).fill_diagonal_(1, wrap=True)]
    given = [torch.zeros(3, 3, 3).fill_diagonal_(1), torch.zeros(7, 3).fill_diagonal_(1, True)]
    assert all(torch.equal(one, other) for one, other in zip(taken, given, strict=True))


def by_index(x):
    i = torch.arange(x.shape[1])
    x[:, i, i] = 1
    x[:, i, torch.arange(0, x.shape[2])] += x[:, 0]
    matrices = torch.zeros(x.shape[1], x.shape[1], x.shape[0])
    matrices[i, i] = x[:, 1].t()
    matrices.index_put_((i, i), torch.ones(x.shape[0]), accumulate=True)
    return x, matrices


def through_views(x):
    x.diagonal(0, 1, 2).fill_(2)
    x.diagonal(dim1=-1, dim2=1).mul_(x[:, 0]).clamp_(max=1)
    deep = x[..., None] * torch.ones(3)
    torch.diagonal(deep[..., 0], dim1=1, dim2=2).copy_(x[:, 1])
    deep.diagonal(0, 2, 1).add_(x[:, :1])
    return x, deep


@pytest.mark.parametrize("texts", [("x:2,5,5",), ("x:n=1..2..4,5,5",), ("x:n=1..2..4,m=2..5..8,m",)])
@pytest.mark.parametrize("function", [by_index, through_views])
def test_main_diagonals_are_written_under_a_mask(function, texts: tuple[str, ...]) -> None:
    module = All(function)
    model, specs = translate(module, texts)
    assert not [name for name in operators(model) if name.startswith("Scatter")]
    compare(module, model, specs)


def beside(x):
    i = torch.arange(4)
    x[:, i, i + 1] = 0
    return x


def part(x):
    i = torch.arange(3)
    x[:, i, i] = 0
    return x


def not_square(x):
    i = torch.arange(5)
    y = x[:, :, :1] + torch.zeros(1, 1, 6)
    y[:, i, i] = 7
    return y


@pytest.mark.parametrize("function", [beside, part, not_square])
def test_other_diagonals_stay_an_index(function) -> None:
    module = All(function)
    model, specs = translate(module, ("x:2,5,5",))
    assert operators(model)["ScatterND"] == 1
    compare(module, model, specs)


@pytest.mark.parametrize(
    "function", [lambda x: x.diagonal(1, 1, 2).zero_(), lambda x: x[:, 1:].diagonal(0, 1, 2).zero_()]
)
def test_views_of_other_diagonals_are_refused(function) -> None:
    with pytest.raises(ExportError, match="writes into what diagonal returns"):
        translate(All(function), ("x:2,5,5",))
