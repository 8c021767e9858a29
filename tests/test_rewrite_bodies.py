"""Bodies of If, Loop and Scan are rewritten like any graph; decided branches and short loops are written out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from rewriting import check, op_types
from small_models import make

from s2deploy.specs import Dim

ROWS = {"first": np.array([[1], [2]]), "second": np.array([[2], [3]]), "zero": np.array([0]), "two": np.array([2])}
WIDE = {"N": Dim("N", 4, 5, 9)}
BRANCHES = """
    sum = ReduceSum<keepdims = 0>(x) nothing = Constant<value_float = 0.>() positive = Greater(sum, nothing)
    y = If (positive) <
        then_branch = a () => (float[N,4] u) {
            part = Slice(x, zero, two) copy = Identity(x) once = ScatterND(copy, first, part)
            u = ScatterND(once, second, part)
        },
        else_branch = b () => (float[N,4] v) { part = Slice(x, zero, two) v = ScatterND(x, first, part) }
    >
"""


def _loop(count: int | None, update: str, body: str, *, stops: str = "Identity(on)") -> onnx.ModelProto:
    """Returns a Loop over a carried tensor, which collects one more; its count is an input where none is given."""
    times = (
        "three = Constant<value_int = 3>() n = Min(m, three)"
        if count is None
        else f"n = Constant<value_int = {count}>()"
    )
    given = "int64 m, " if count is None else ""
    return make(
        f"({given}float[N,4] x) => (float[N,4] y, float[K,2] ys)",
        f"""{times} t = Constant<value_int = 1>() true = Cast<to = 9>(t)
        y, ys = Loop (n, true, x) <body = b (int64 i, bool on, float[N,4] a) => (bool go, float[N,4] c, float[2] d) {{
            go = {stops} {body} c = ScatterND(a, {update}) d = Constant<value_floats = [1., 2.]>()
        }}>""",
        ROWS,
    )


def _inner_types(model: onnx.ModelProto) -> list[str]:
    return [
        node.op_type
        for outer in model.graph.node
        for attribute in outer.attribute
        for node in attribute.g.node
        if node.op_type != "Constant"
    ]


def test_both_branches_are_rewritten() -> None:
    result, report = check(make("(float[N,4] x) => (float[N,4] y)", BRANCHES, ROWS), {"N": 4}, {"N": 9}, ranges=WIDE)
    assert (report.scatters_before, report.scatters_after) == (3, 0)
    assert op_types(result)["If"] == 1
    assert {"Concat", "Slice"} <= set(_inner_types(result))


def test_a_decided_branch_is_written_out() -> None:
    body = """
        sizes = Shape(x) at = Constant<value_int = 1>() size = Gather(sizes, at) narrow = Equal(size, at)
        s = If (narrow) <
            then_branch = a () => (float[N,4] u) { axis = Constant<value_ints = [1]>() u = Squeeze(x, axis) },
            else_branch = b () => (float[N,4,4] v) { v = Identity(x) }
        >
        y = Neg(s)
    """
    result, _ = check(make("(float[N,1,4] x) => (float[N,4] y)", body), {"N": 1}, {"N": 3})
    assert op_types(result) == {"Squeeze": 1, "Neg": 1}


def test_a_condition_of_the_data_stays() -> None:
    result, _ = check(make("(float[N,4] x) => (float[N,4] y)", BRANCHES, ROWS), {"N": 4}, ranges=WIDE)
    assert op_types(result)["If"] == 1


def test_a_body_is_rewritten_where_the_carried_shape_stays() -> None:
    model = _loop(None, "first, part", "part = Slice(a, zero, two)")
    result, report = check(model, {"N": 5, "K": 0}, ranges=WIDE)
    assert (report.scatters_after, op_types(result)["Loop"]) == (0, 1)


@pytest.mark.parametrize("count", [1, 3])
def test_a_loop_that_assigns_at_its_count_is_written_out(count: int) -> None:
    model = _loop(
        count, "at, row", "row = Constant<value_floats = [1., 2., 3., 4.]>() one = Identity(zero) at = Add(i, one)"
    )
    result, report = check(model, {"N": 5}, ranges=WIDE)
    assert report.scatters_after == 0
    assert "Loop" not in op_types(result)
    assert report.nodes_after <= 4


@pytest.mark.parametrize(
    "model",
    [
        _loop(None, "at, row", "row = Constant<value_floats = [1., 2., 3., 4.]>() at = Add(i, zero)"),
        _loop(3, "at, row", "row = Constant<value_floats = [1., 2., 3., 4.]>() at = Add(i, zero)", stops="Not(on)"),
    ],
    ids=["a count computed at run time", "a condition of its own"],
)
def test_other_loops_stay(model: onnx.ModelProto) -> None:
    result, report = check(model, {"N": 5}, ranges=WIDE)
    assert (report.scatters_after, op_types(result)["Loop"]) == (1, 1)
    assert "computed at run time" in report.refusals[0].reason
