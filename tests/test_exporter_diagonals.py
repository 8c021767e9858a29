"""Diagonals that forward fills."""

import pytest
import torch
from test_exporter_translate import All, compare, operators, translate

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
