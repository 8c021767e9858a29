"""Reshape targets: numbers, kept sizes and one inferred size instead of arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import check, ints, op_types
from small_models import make

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.coordinates import dimension
from s2deploy.rewrite.reshape_targets import short_target

B, H, W = dimension("b"), dimension("h"), dimension("w")
SIZES = "b = Shape<start = 0, end = 1>(x) h = Shape<start = 1, end = 2>(x) w = Shape<start = 2, end = 3>(x)"


@pytest.mark.parametrize(
    ("shape", "sizes", "target"),
    [
        ((B, H, W, 4), (B, H * W, 4), [0, -1, 4]),
        ((B, H * W, 4), (B, 2, H * W, 2), [0, 2, -1, 2]),
        ((B, H * W, 4), (B, H, W, 4), [0, None, -1, 4]),
        ((B, H, 4, W), (B * H, 4, W), [-1, 4, None]),  # a product is dearer to compute than a size
        ((B, H - 1, 4), (B * (H - 1), 4), None),  # h - 1 may be 0
    ],
)
def test_a_target_is_numbers_but_for_what_is_left_to_compute(shape: tuple, sizes: tuple, target: list | None) -> None:
    assert short_target(Bounds(), shape, sizes) == target


def test_a_flattened_axis_needs_no_arithmetic() -> None:
    model = make(
        "(float[b,h,w,4] x) => (float[b,n,4] y)",
        f"{SIZES} n = Mul(h, w) t = Concat<axis = 0>(b, n, four) y = Reshape(x, t)",
        {"four": ints(4)},
    )
    result, _ = check(model, {"b": 1, "h": 1, "w": 3, "n": 3}, {"b": 2, "h": 4, "w": 5, "n": 20})
    assert op_types(result) == {"Reshape": 1}


def test_only_the_sizes_that_are_left_are_computed() -> None:
    model = make(
        "(float[b,h,w,4] x) => (float[b,h,w,4] y)",
        f"{SIZES} f = Reshape(x, flat) g = Relu(f) t = Concat<axis = 0>(b, h, w, four) y = Reshape(g, t)",
        {"four": ints(4), "flat": ints(0, -1, 4)},
    )
    result, _ = check(model, {"b": 1, "h": 1, "w": 3}, {"b": 2, "h": 4, "w": 5})
    assert op_types(result)["Shape"] == 1


def test_a_target_that_may_be_empty_stays_computed() -> None:
    model = make(
        "(float[b,h,4] x) => (float[m,4] y)",
        "r = Slice(x, one, end, one) b = Shape<start = 0, end = 1>(r) h = Shape<start = 1, end = 2>(r)"
        " n = Mul(b, h) t = Concat<axis = 0>(n, four) s = Sigmoid(r) y = Reshape<allowzero = 1>(s, t)",
        {"four": ints(4), "one": ints(1), "end": np.array([2**62])},
    )
    result, _ = check(model, {"b": 2, "h": 1, "m": 0}, {"b": 2, "h": 3, "m": 4})
    assert op_types(result)["Shape"] >= 1


def test_one_size_is_inferred_where_the_target_infers_another_already() -> None:
    model = make(
        "(float[b,h,w,4] x) => (float[m,w,4] y)",
        f"{SIZES} t = Concat<axis = 0>(rest, w, four) y = Reshape(x, t)",
        {"rest": ints(-1), "four": ints(4)},
    )
    result, _ = check(model, {"b": 1, "h": 1, "w": 3, "m": 1}, {"b": 2, "h": 4, "w": 5, "m": 8})
    assert op_types(result) == {"Shape": 1, "Concat": 1, "Reshape": 1}
    again = make(
        "(float[b,h,w,4] x) => (float[b,h,w,2,2] y)",
        f"{SIZES} r = Relu(x) f = Reshape(r, flat) t = Concat<axis = 0>(b, rest, w, two, two) y = Reshape(f, t)",
        {"rest": ints(-1), "two": ints(2), "flat": ints(-1, 4)},
    )
    check(again, {"b": 1, "h": 1, "w": 3}, {"b": 2, "h": 4, "w": 5})


def test_sizes_that_were_numbers_in_between_are_measured_once() -> None:
    model = make(
        "(float[b,h,w,4] x) => (float[m,w,4] y, float[m,w,4] z)",
        f"{SIZES} s = Squeeze(w) w1 = Reshape(s, rest) w2 = Reshape(s, rest2)"
        " t = Concat<axis = 0>(rest, w1, four) y = Reshape(x, t)"
        " t2 = Concat<axis = 0>(rest2, w2, four) e = Exp(x) z = Reshape(e, t2)",
        {"rest": ints(-1), "rest2": ints(-1), "four": ints(4)},
    )
    result, _ = check(model, {"b": 1, "h": 1, "w": 3, "m": 1}, {"b": 2, "h": 4, "w": 5, "m": 8})
    assert op_types(result) == {"Shape": 1, "Concat": 1, "Reshape": 2, "Exp": 1}
