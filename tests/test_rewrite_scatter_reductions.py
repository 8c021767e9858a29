"""Scatters that reduce become arithmetic on slices where no position is named twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rewriting import assert_same_bits, check, feeds, ints, op_types, rewritten, session


def scatter(
    reduction: str,
    data: Sequence[int | str],
    indices: np.ndarray,
    updates: Sequence[int | str],
    dtype: int = TensorProto.FLOAT,
    op_type: str = "ScatterND",
    **attributes: Any,
) -> onnx.ModelProto:
    node = helper.make_node(op_type, ["x", "i", "v"], ["y"], reduction=reduction, **attributes)
    inputs = [helper.make_tensor_value_info("x", dtype, data), helper.make_tensor_value_info("v", dtype, updates)]
    output = helper.make_tensor_value_info("y", dtype, data)
    graph = helper.make_graph([node], "g", inputs, [output], [numpy_helper.from_array(indices, "i")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


ROWS = np.array([[1], [2]])
APART = np.array([[0], [1], [4]])
CORNER = np.indices((2, 3)).transpose(1, 2, 0) + 1
BECOME_ARITHMETIC = {
    "a run of rows": (scatter("add", [5, "N"], ROWS, [2, "N"]), {"Slice": 3, "Add": 1, "Concat": 1}),
    "a product": (scatter("mul", [5, 3], ROWS, [2, 3]), {"Slice": 3, "Mul": 1, "Concat": 1}),
    "two runs": (scatter("add", [5, 3], APART, [3, 3]), {"Slice": 5, "Add": 2, "Concat": 1}),
    "a corner": (scatter("add", [4, 4], CORNER, [2, 3]), {"Slice": 4, "Add": 1, "Concat": 2}),
    "in steps": (scatter("add", [6, 2], np.array([[0], [2], [4]]), [3, 2]), {"Slice": 2, "Add": 1}),
    "backwards": (scatter("add", [6, 2], np.array([[3], [2], [1]]), [3, 2]), {"Add": 1}),
    "all of it": (scatter("add", [2, "N"], np.array([[0], [1]]), [2, "N"]), {"Add": 1}),
    "the largest integers": (
        scatter("max", [5, 3], ROWS, [2, 3], TensorProto.INT64),
        {"Slice": 3, "Max": 1, "Concat": 1},
    ),
    "elements": (
        scatter("add", [4, 3], np.array([[1, 1, 1], [3, 3, 3]]), [2, 3], op_type="ScatterElements"),
        {"Add": 1, "Reshape": 1},
    ),
}


@pytest.mark.parametrize("name", BECOME_ARITHMETIC)
def test_becomes_arithmetic(name: str) -> None:
    model, expected = BECOME_ARITHMETIC[name]
    result, report = check(model, {"N": 1}, {"N": 4})
    assert (report.scatters_before, report.scatters_after) == (1, 0)
    found = op_types(result)
    assert {op_type: found[op_type] for op_type in expected} == expected
    assert [done.name for done in report.rewrites] == ["y"]


STAY = {
    "twice in one run": scatter("add", [5, 3], np.array([[1], [1]]), [2, 3]),
    "twice in two runs": scatter("add", [5, 3], np.array([[1], [2], [0], [1]]), [4, 3]),
    "a negative row again": scatter("add", [5, 3], np.array([[4], [-1]]), [2, 3]),
    "the larger float": scatter("max", [5, 3], ROWS, [2, 3]),
    "the smaller double": scatter("min", [5, 3], ROWS, [2, 3], TensorProto.DOUBLE),
    "a diagonal": scatter("add", [4, 4], np.array([[0, 0], [1, 1]]), [2]),
}


@pytest.mark.parametrize("name", STAY)
def test_stays(name: str) -> None:
    result, report = check(STAY[name])
    assert op_types(result)["ScatterND"] == 1
    assert [refusal.reason.split(" with ")[0] for refusal in report.refusals] == ["it reduces"]


def test_positions_known_at_run_time_stay() -> None:
    model = scatter("add", [5, 3], ROWS, [2, 3])
    model.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, [2, 1]))
    del model.graph.initializer[:]
    result, report = rewritten(model)
    assert report.scatters_after == 1
    given = {**feeds(onnx.ModelProto(graph=model.graph), {}), "i": np.array([[1], [1]])}
    assert_same_bits(session(model).run(None, given), session(result).run(None, given))


def test_what_is_assigned_keeps_negative_zero() -> None:
    model = scatter("add", [3, 2], np.array([[1]]), [1, 2])
    given = {"x": np.full((3, 2), -0.0, np.float32), "v": np.full((1, 2), -0.0, np.float32)}
    result, _ = rewritten(model)
    assert_same_bits(session(model).run(None, given), session(result).run(None, given))


def test_a_vector_of_one_index() -> None:
    check(scatter("add", [5], np.array([[2]]), [1]))
    check(scatter("add", [5, 2], ints(2, 1), []))
