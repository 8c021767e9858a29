"""Dimensions that may be 1: what is composed on the assumption of 2 and more must hold there too."""

from __future__ import annotations

import numpy as np
from rewriting import check, ints, op_types
from small_models import make

WEIGHTS = {"zero": ints(0), "one": ints(1), "last": ints(-1), "end": ints(2**62), "half": ints(2), "axis": ints(1)}
SHIFTS = (
    "s = Shape<start = 0, end = 1>(x) h = Squeeze(s) rows = Range(nought, h, unit)"
    " r1 = Slice(rows, one, end) r2 = Unsqueeze(r1, axis) down = Slice(x, zero, last)"
    " y = ScatterND(x, r2, down)"
    " q1 = Slice(rows, zero, last) q2 = Unsqueeze(q1, axis) up = Slice(y, one, end) z = ScatterND(y, q2, up)"
    " out = Relu(z)"
)


def test_a_shift_and_its_reverse_need_no_range() -> None:
    model = make("(float[h,4] x) => (float[h,4] out)", SHIFTS, {**WEIGHTS, "nought": np.array(0), "unit": np.array(1)})
    result, report = check(model, {"h": 1}, {"h": 2}, {"h": 3}, {"h": 7})
    assert report.scatters_before == 2
    assert report.scatters_after == 0
    assert not {"Shape", "Range", "Gather", "Where"} & set(op_types(result))


def test_first_and_last_row_that_may_be_one_are_not_taken_apart() -> None:
    model = make(
        "(float[h,4] x, float[1,4] a, float[1,4] b) => (float[h,4] out)",
        "y = ScatterND(x, first, a) z = ScatterND(y, final, b) out = Relu(z)",
        {"first": np.array([[0]]), "final": np.array([[-1]])},
    )
    check(model, {"h": 1}, {"h": 2}, {"h": 5})


def test_a_comparison_with_one_is_not_taken_for_false() -> None:
    model = make(
        "(float[h,4] x) => (float[h,4] out)",
        SHIFTS.replace("out = Relu(z)", "e = Equal(s, one) c = Cast<to = 1>(e) out = Add(z, c)"),
        {**WEIGHTS, "nought": np.array(0), "unit": np.array(1)},
    )
    check(model, {"h": 1}, {"h": 2}, {"h": 6})


def test_a_reshape_that_merges_an_axis_of_one_is_no_obstacle() -> None:
    """Where t is 1 the Reshape only drops an axis, so that what follows is composed through it there."""
    model = make(
        "(float[n,t,4] x) => (float[m,4] y)",
        "d = Slice(x, zero, last, axis) f = Slice(x, zero, one, axis) s = Concat<axis = 1>(f, d)"
        " u = Slice(s, one, end, axis) l = Slice(s, last, end, axis) c = Concat<axis = 1>(u, l) r = Reshape(c, flat)"
        " p = Slice(r, zero, half, axis) q = Slice(r, half, end, axis) w = Concat<axis = 1>(q, p)"
        " a = Slice(w, zero, half, axis) b = Slice(w, half, end, axis) v = Concat<axis = 1>(b, a) y = Exp(v)",
        {**WEIGHTS, "flat": ints(-1, 4)},
    )
    result, _ = check(model, *({"n": n, "t": t, "m": n * t} for n in (1, 2) for t in (1, 2, 3)))
    assert op_types(result)["Concat"] <= 2
