"""Operators on booleans that onnxruntime has for numbers only."""

import pytest
import torch
from translating import All, compare, operators, translate


def sums(x):
    return (x > 1) + (x < -1), torch.add(x > 1, x[:, :1] < 0)


def sums_with_numbers(x):
    positive = x > 0
    counted = [torch.add(positive, x > -1, alpha=alpha) for alpha in (True, False, 2, 0)]
    return positive + True, positive + False, torch.add(positive, True, alpha=0), *counted


def widened_by_nothing(x):
    return torch.add(x[:, :1] > 0, x > 1, alpha=0)


def extremes(x):
    positive = x > 0
    best, where = positive.max(dim=2)
    worst, there = positive[:, 1:].min(dim=1, keepdim=True)
    return best, where, worst, there, positive.any(1), positive.max(), positive.amin(1)


def orders(x):
    positive = x > 0
    return positive.sort(1)[0], positive.sort(dim=2, descending=True, stable=True)


@pytest.mark.parametrize("texts", [("x:2,8,9",), ("x:n=1..2..3,8,width=2..9..12",)])
@pytest.mark.parametrize("model", [sums, sums_with_numbers, widened_by_nothing, extremes, orders])
def test_booleans_are_ordered_as_numbers(model, texts: tuple[str, ...]) -> None:
    module = All(model)
    exported, specs = translate(module, texts)
    compare(module, exported, specs)


def test_numbers_are_left_alone() -> None:
    module = All(lambda x: ((x + x).max(dim=1), x.sort(2), (x * 2).int().sort(dim=1, descending=True, stable=True)))
    model, specs = translate(module, ("x:2,8,9",))
    assert "Or" not in operators(model)
    compare(module, model, specs)
