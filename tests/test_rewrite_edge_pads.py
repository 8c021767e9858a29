"""Shifts that become one Pad, and those that do not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from rewriting import check, ints, op_types
from small_models import make

from s2deploy.specs import Dim

END = np.iinfo(np.int64).max


Range = tuple[int, int]


def shift(shape: str, border: Range, rest: Range, order: str, dtype: str = "float") -> onnx.ModelProto:
    """Returns a border along axis 2 and the rest of a tensor, of its channels 1 and 2, joined in some order."""
    body = f"b = Slice(x, b0, b1, axes) r = Slice(x, r0, r1, axes) y = Concat<axis = 2>({order})"
    numbers = {"b0": ints(1, border[0]), "b1": ints(3, border[1]), "r0": ints(1, rest[0]), "r1": ints(3, rest[1])}
    return make(f"({dtype}[{shape}] x) => ({dtype}[?,?,?,?] y)", body, {**numbers, "axes": ints(1, 2)})


@pytest.mark.parametrize("size", [2, 3, 6])
def test_a_shift_forward_and_one_back(size: int) -> None:
    for model in (
        shift(f"2,4,{size},3", (0, 1), (0, -1), "b, r"),
        shift(f"2,4,{size},3", (-1, END), (1, END), "r, b"),
    ):
        result, report = check(model)
        if size > 2:
            assert op_types(result) == {"Pad": 1}
            assert report.rewrites[-1].before == {"Slice": 2, "Concat": 1}


@pytest.mark.parametrize("size", [3, 4, 7])
def test_a_shift_by_two(size: int) -> None:
    model = shift(f"1,4,{size},2", (0, 1), (0, -2), "b, b, r")
    result, _ = check(model)
    assert op_types(result) == ({"Pad": 1} if size > 3 else {"Slice": 1, "Expand": 1})


@pytest.mark.parametrize("dtype", ["double", "float16", "int32", "int64"])
def test_types_that_runtimes_pad(dtype: str) -> None:
    result, _ = check(shift("1,4,5,2", (0, 1), (0, -1), "b, r", dtype))
    assert op_types(result) == {"Pad": 1}


@pytest.mark.parametrize(
    ("border", "rest", "order", "dtype"),
    [
        pytest.param((1, 2), (0, -1), "b, r", "float", id="a row from within"),
        pytest.param((0, 1), (1, END), "b, r", "float", id="a tensor that lost its border"),
        pytest.param((0, 1), (0, -1), "r, b", "float", id="a border at the other end"),
        pytest.param((0, 2), (0, -2), "b, r", "float", id="two rows that differ"),
        pytest.param((0, 1), (0, -1), "b, r, b", "float", id="a border on both sides"),
        pytest.param((0, 1), (0, -1), "b, r", "uint8", id="a type that not every runtime pads"),
    ],
)
def test_what_is_no_shift(border: Range, rest: Range, order: str, dtype: str) -> None:
    result, _ = check(shift("1,4,5,2", border, rest, order, dtype))
    assert op_types(result)["Pad"] == 0


def test_a_dimension_that_may_be_one_is_refused_and_the_range_named() -> None:
    model = shift("n,4,h,3", (0, 1), (0, -1), "b, r")
    result, report = check(model, {"n": 1, "h": 1}, {"n": 2, "h": 5})
    assert op_types(result)["Pad"] == 0
    (refusal,) = report.refusals
    assert refusal.op_type == "Concat"
    assert "no Pad" in refusal.reason
    assert "h" in refusal.reason


def test_a_declared_range_leaves_a_guard() -> None:
    model = shift("n,4,h,3", (0, 1), (0, -1), "b, r")
    ranges = {"n": Dim("n", 1, 2, 8), "h": Dim("h", 2, 5, 9)}
    result, report = check(model, {"n": 1, "h": 2}, {"n": 2, "h": 5}, ranges=ranges)
    assert op_types(result) == {"Pad": 1}
    assert any("h" in guard for guard in report.guards)


@pytest.mark.parametrize(("width", "pads"), [(3, 0), (96, 1)])
def test_many_short_rows_are_sliced(width: int, pads: int) -> None:
    result, _ = check(shift(f"8,4,40,{width}", (0, 1), (0, -1), "b, r"))
    assert op_types(result)["Pad"] == pads
