"""What is taken for granted is tried at few sizes, however many dimensions there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from s2deploy.exporter import capture, sampling
from s2deploy.exporter.naming import input_shapes
from s2deploy.exporter.sampling import some_sizes
from s2deploy.specs import parse_inputs


class Module(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.function(*tensors)


def half_of_the_first(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tensors[0][: int(tensors[0].shape[0] / 2)], *(tensor + 1 for tensor in tensors)


def quarter_of_all(*tensors: torch.Tensor) -> torch.Tensor:
    product = 1
    for tensor in tensors:
        product = product * tensor.shape[0]
    return torch.ones(int(product / 4)) + tensors[0].sum()


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every combination of sizes that was tried."""
    seen: list[Any] = []
    samples = sampling._samples

    def noted(*args: Any) -> Any:
        for values in samples(*args):
            seen.append(values)
            yield values

    monkeypatch.setattr(sampling, "_samples", noted)
    return seen


@pytest.mark.parametrize(("function", "most"), [(half_of_the_first, 6), (quarter_of_all, 1024)])
def test_only_the_dimensions_in_question_are_combined(
    function: Callable[..., Any], most: int, tried: list[Any]
) -> None:
    texts = [f"x{index}:d{index}=4..{6 + index}..40" for index in range(5)]
    captured = capture(Module(function), parse_inputs(texts))
    assert not any(isinstance(size, int) for shape in input_shapes(captured.program) for size in shape)
    assert 1 < len(tried) <= most


def test_some_sizes_are_both_ends_and_others() -> None:
    assert some_sizes(range(4, 41), 6) == [4, 5, 6, 22, 39, 40]
    assert some_sizes(range(4, 41), 2) == [4, 40]
    assert some_sizes(range(4, 17, 4), 6) == [4, 8, 12, 16]
    assert some_sizes(range(3, 4), 6) == [3]
