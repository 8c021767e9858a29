"""Sizes declared in multiples, and comparisons of several sizes: torch.export does not look at the guards on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

import s2deploy
from s2deploy.errors import ExportError
from s2deploy.exporter import capture
from s2deploy.exporter.naming import input_shapes
from s2deploy.specs import parse_inputs

Function = Callable[..., torch.Tensor]


class Module(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.function(*tensors)


def half_by_int(x: torch.Tensor) -> torch.Tensor:
    return x[: int(x.shape[0] / 2)] * 2


def half_by_floor(x: torch.Tensor) -> torch.Tensor:
    return x[: math.floor(x.shape[0] / 2)] * 2


def half_by_division(x: torch.Tensor) -> torch.Tensor:
    return x[: x.shape[0] // 2] * 2


def area_by_int(x: torch.Tensor) -> torch.Tensor:
    return x * int(x.shape[0] * x.shape[1] / 4)


def another_above_five(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if x.shape[0] > 5 else x


def another_at_twelve(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if x.shape[0] == 12 else x


def another_for_fours(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if x.shape[0] % 4 == 0 else x


def another_where_wide(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if x.shape[0] < x.shape[1] else x


def times_the_root(x: torch.Tensor) -> torch.Tensor:
    return x * math.sqrt(x.shape[0])


def one_more(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x + y[1:]


def one_more_of_halves(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return half_by_int(x).sum() + x + y[1:]


def twice(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x + y.reshape(2, -1).sum(0)


def shift(x: torch.Tensor) -> torch.Tensor:
    x = x * 1
    x[1:] = x[:-1]
    return x


def line_of(function: Function) -> str:
    return f"{Path(__file__).name}:{function.__code__.co_firstlineno + 1}"


def failure(function: Function, *texts: str) -> ExportError:
    with pytest.raises(ExportError) as caught:
        capture(Module(function), parse_inputs(texts))
    return caught.value


@pytest.mark.parametrize("function", [half_by_int, half_by_floor, half_by_division])
@pytest.mark.parametrize("text", ["x:n=2..2..16/2", "x:n=4..6..16"])
def test_half_of_a_size_stays_dynamic(function: Function, text: str, tmp_path: Path) -> None:
    result = s2deploy.export(Module(function), tmp_path / "model.onnx", inputs=[text])
    assert result.passed
    (size,) = onnx.load(tmp_path / "model.onnx").graph.output[0].type.tensor_type.shape.dim
    assert size.dim_param


@pytest.mark.parametrize("text", ["x:n=4..6..16/2,m=4..8..16/4", "x:n=4..6..16,m=4..7..17"])
def test_a_size_computed_from_two_stays_dynamic(text: str, tmp_path: Path) -> None:
    assert s2deploy.export(Module(area_by_int), tmp_path / "model.onnx", inputs=[text]).passed


@pytest.mark.parametrize(
    ("function", "text", "advice"),
    [
        (another_above_five, "x:n=4..6..16/2", "use n=6..6..16/2"),
        (another_at_twelve, "x:n=4..6..16/2", "use n=4..6..10/2"),
        (another_for_fours, "x:n=4..8..16/2", "use n=4..8..16/4"),
        (times_the_root, "x:n=4..6..16/2", "write size ** 0.5"),
        (another_for_fours, "x:n=4..6..16/2", "write 6 instead of n=4..6..16/2"),
        (another_where_wide, "x:n=4..4..16/4,m=3..9..17", "m="),
    ],
)
def test_what_a_line_demands_is_said_with_what_to_do(function: Function, text: str, advice: str) -> None:
    error = failure(function, text)
    assert line_of(function) in error.message
    assert advice in str(error.hint)


@pytest.mark.parametrize(
    ("function", "texts", "relation"),
    [
        (one_more, ("x:n=4..6..16/2", "y:m=5..7..17"), "m must be n + 1"),
        (one_more_of_halves, ("x:n=4..6..16/2", "y:m=5..7..17"), "m must be n + 1"),
        (one_more_of_halves, ("x:n=4..6..16", "y:m=5..7..17"), "m must be n + 1"),
        (torch.add, ("x:n=4..6..16/2", "y:m=4..8..16/2"), "n and m must be equal"),
    ],
)
def test_sizes_that_go_together_are_said_to(function: Function, texts: tuple[str, ...], relation: str) -> None:
    error = failure(function, *texts)
    assert relation in error.message
    assert "give both" in str(error.hint)


def test_an_equality_that_torch_cannot_solve_is_a_demand(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=line_of(twice)) as caught:
        s2deploy.export(
            Module(twice), tmp_path / "model.onnx", inputs=["x:n=4..6..16/2", "y:m=8..12..32/4"], validate=False
        )
    assert caught.value.hint == "write 6 instead of n=4..6..16/2; write 12 instead of m=8..12..32/4"
    assert list(tmp_path.iterdir()) == []


def test_a_size_of_one_multiple_specialises_nothing() -> None:
    captured = capture(Module(shift), parse_inputs(["x:n=28..28..56/28,3"]))
    assert not isinstance(input_shapes(captured.program)[0][0], int)
