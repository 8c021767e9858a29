"""Pieces of one tensor in another order become Gathers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common
from rewriting import op_types, session

from s2deploy.rewrite import rewrite
from s2deploy.rewrite.gathered_rows import gather_rows
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.runtime_costs import COUNTING, ONNXRUNTIME_CPU, PerElement, RuntimeCosts
from s2deploy.specs import Runtime

FREE = replace(COUNTING, gather_ns=1000, picked=PerElement(1, 1))
"""Costs by which the fewest copies win."""


class Pieces:
    """Slices of a tensor x, and Concats of them, by and by."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [f"t{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, **attributes))
        return names[0]

    def cut(self, start: int, end: int, axis: int = 1, step: int = 1, data: str = "x") -> str:
        return self.cuts([(start, end, axis, step)], data)

    def cuts(self, rows: list[tuple[int, int, int, int]], data: str = "x") -> str:
        names = []
        for column in zip(*rows, strict=True):
            names.append(f"c{len(self.constants)}")
            self.constants.append(numpy_helper.from_array(np.array(column, np.int64), names[-1]))
        return self.add("Slice", data, *names)

    def join(self, *parts: str, axis: int = 1) -> str:
        return self.add("Concat", *parts, axis=axis)

    def model(self, result: str, shape: list[int | str], dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
        self.add("Identity", result)
        self.nodes[-1].output[0] = "y"
        given = [helper.make_tensor_value_info("x", dtype, shape)]
        wanted = [helper.make_tensor_value_info("y", dtype, None)]
        graph = helper.make_graph(self.nodes, "g", given, wanted, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def gathered(model: onnx.ModelProto, *costs: RuntimeCosts) -> tuple[onnx.ModelProto, list[Rewrite]]:
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    done = gather_rows(graph.graph, {}, {}, costs or (FREE,))
    common.RemoveUnusedNodesPass()(graph)
    common.NameFixPass()(graph)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result, full_check=True)
    return result, done


def assert_equal(model: onnx.ModelProto, result: onnx.ModelProto, *shapes: tuple[int, ...]) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    for shape in shapes:
        x = (np.random.default_rng(0).standard_normal(shape) * 9).astype(dtype)
        (wanted,), (given,) = (session(one).run(None, {"x": x}) for one in (model, result))
        np.testing.assert_array_equal(given, wanted)
        assert given.dtype == wanted.dtype


def rolled(pieces: Pieces, axis: int, by: int = 2, data: str = "x") -> str:
    return pieces.join(pieces.cut(by, 2**62, axis, data=data), pieces.cut(0, by, axis, data=data), axis=axis)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL])
def test_a_roll_along_an_axis_of_known_size(axis: int, dtype: int) -> None:
    pieces = Pieces()
    model = pieces.model(rolled(pieces, axis), ["N", 5, 7, "W"], dtype)
    result, done = gathered(model)
    assert [(one.before, one.after) for one in done] == [({"Concat": 1, "Slice": 2}, {"Gather": 1})]
    assert_equal(model, result, (2, 5, 7, 3), (0, 5, 7, 3), (1, 5, 7, 1), (3, 5, 7, 0))
    assert gathered(result)[1] == []


def test_a_roll_along_two_axes_is_two_gathers_whatever_the_order_of_the_joins() -> None:
    def quarter(pieces: Pieces, row: int, column: int) -> str:
        ranges = ((3, 6), (0, 3))
        return pieces.cuts([(*ranges[row], 1, 1), (*ranges[column], 2, 1)])

    pieces = Pieces()
    halves = [pieces.join(quarter(pieces, k, 0), quarter(pieces, k, 1), axis=2) for k in range(2)]
    model = pieces.model(pieces.join(*halves, axis=1), [2, 6, 6, 3])
    result, done = gathered(model)
    assert [(one.before, one.after) for one in done] == [({"Concat": 3, "Slice": 4}, {"Gather": 2})]
    assert_equal(model, result, (2, 6, 6, 3))


def test_rows_one_by_one_with_steps_and_repetitions_and_the_whole() -> None:
    pieces = Pieces()
    backwards = [pieces.cut(-1, -99, step=-2), pieces.cut(-9, -(2**63), step=-1), pieces.cut(9, 3, step=-1)]
    parts = [pieces.cut(2, 3), *backwards, "x", pieces.cut(1, 2), pieces.cut(1, 2), pieces.cut(-9, 9, step=4)]
    model = pieces.model(pieces.join(*parts), [2, 6, 3])
    result, done = gathered(model)
    assert op_types(result) == {"Gather": 1, "Identity": 1}
    assert done[0].before == {"Concat": 1, "Slice": 7}
    assert_equal(model, result, (2, 6, 3))


def test_what_all_pieces_are_cut_to_is_cut_once() -> None:
    pieces = Pieces()
    parts = [pieces.cuts([(k, k + 1, 1, 1), (1, 3, -1, 1)]) for k in (4, 0, 2)]
    model = pieces.model(pieces.join(*parts), [2, 6, 5])
    result, _ = gathered(model)
    assert op_types(result) == {"Slice": 1, "Gather": 1, "Identity": 1}
    assert_equal(model, result, (2, 6, 5))


def test_parts_of_a_split() -> None:
    pieces = Pieces()
    first = pieces.add("Split", "x", outputs=3, axis=1, num_outputs=3)
    parts = [first.replace("_0", f"_{k}") for k in (2, 0, 1)]
    model = pieces.model(pieces.join(*parts), [2, 6, 5])
    result, done = gathered(model)
    assert done[0].before == {"Concat": 1, "Split": 1}
    assert_equal(model, result, (2, 6, 5))


def test_a_join_that_is_read_elsewhere_stays_for_that_reader() -> None:
    pieces = Pieces()
    half = rolled(pieces, 2)
    whole = pieces.join(half, half, axis=1)
    model = pieces.model(pieces.add("Concat", whole, pieces.add("Relu", half), axis=1), [2, 5, 7])
    result, _ = gathered(model)
    assert op_types(result)["Relu"] == 1
    assert_equal(model, result, (2, 5, 7))


def mixed(pieces: Pieces) -> str:
    return pieces.join(pieces.cut(2, 5), pieces.cut(0, 2, data=pieces.add("Relu", "x")))


def empty(pieces: Pieces) -> str:
    return pieces.join(pieces.cut(2, 2), pieces.cut(1, 1))


def computed(pieces: Pieces) -> str:
    pieces.constants.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
    start = pieces.add("Shape", "x", start=0, end=1)
    return pieces.join(pieces.add("Slice", "x", start, start, "one"), pieces.cut(0, 2))


def unknown(pieces: Pieces) -> str:
    data = pieces.add("Opaque", "x", domain="custom")
    return pieces.join(pieces.cut(2, 5, data=data), pieces.cut(0, 2, data=data))


def test_a_tensor_of_unknown_rank_stays() -> None:
    pieces = Pieces()
    model = pieces.model(unknown(pieces), [2, 5, 4])
    model.opset_import.append(helper.make_opsetid("custom", 1))
    names = [name for node in model.graph.node if node.op_type != "Opaque" for name in node.output if name != "y"]
    model.graph.value_info.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 5, 4]) for name in names)
    assert gather_rows(ir.from_proto(model).graph, {}, {}, (FREE,)) == []


@pytest.mark.parametrize("broken", [mixed, empty, computed])
def test_what_is_no_order_of_rows_stays(broken: Callable[[Pieces], str]) -> None:
    pieces = Pieces()
    model = pieces.model(broken(pieces), [2, 5, 4])
    result, done = gathered(model)
    assert done == []
    assert_equal(model, result, (2, 5, 4))


def test_rows_that_differ_along_another_axis_are_joined() -> None:
    pieces = Pieces()
    low, high = ([pieces.cuts([(a, a + 1, 1, 1), (b, b + 2, 2, 1)]) for b in (0, 2)] for a in (0, 1))
    model = pieces.model(pieces.join(pieces.join(*low, axis=2), pieces.join(*high[::-1], axis=2)), [2, 5, 4])
    result, _ = gathered(model)
    assert op_types(result)["Concat"] == 1
    assert_equal(model, result, (2, 5, 4))


def test_an_axis_of_unknown_size_stays() -> None:
    pieces = Pieces()
    assert gathered(pieces.model(rolled(pieces, 1), [2, "H", 4]))[1] == []


@pytest.mark.parametrize(
    ("costs", "axis", "pieces_of", "is_gathered"),
    [
        ((ONNXRUNTIME_CPU,), 1, 32, True),
        ((ONNXRUNTIME_CPU,), 3, 32, False),
        ((COUNTING, ONNXRUNTIME_CPU), 1, 32, False),
        ((COUNTING, ONNXRUNTIME_CPU), 1, 1, True),
    ],
)
def test_costs_decide(costs: tuple[RuntimeCosts, ...], axis: int, pieces_of: int, is_gathered: bool) -> None:
    size = 64
    pieces = Pieces()
    parts = [pieces.cut(start, start + pieces_of, axis) for start in range(0, size, pieces_of)]
    side = size if pieces_of > 1 else 4
    shape = [4, side, side, side]
    shape[axis] = size
    model = pieces.model(pieces.join(*parts[::-1], axis=axis), [*shape])
    assert bool(gathered(model, *costs)[1]) is is_gathered


def test_in_a_rewrite_onnxruntime_gets_gathers_and_everything_else_slices() -> None:
    pieces = Pieces()
    model = pieces.model(rolled(pieces, 1), [4, 64, 64, 96])
    found = {}
    for runtime in Runtime:
        graph = ir.from_proto(model)
        rewrite(graph, runtime=runtime)
        found[runtime] = op_types(ir.to_proto(graph))
        assert_equal(model, ir.to_proto(graph), (4, 64, 64, 96))
    assert found[Runtime.ONNXRUNTIME_CPU]["Gather"] == 1
    assert found[Runtime.PORTABLE] == found[Runtime.TENSORRT]
    assert found[Runtime.PORTABLE]["Slice"] == 2


def test_bounds_of_several_lengths_are_left_to_a_runtime() -> None:
    pieces = Pieces()
    broken = pieces.cut(0, 2)
    pieces.constants[1].CopyFrom(numpy_helper.from_array(np.array([[2, 3]]), pieces.constants[1].name))
    model = ir.from_proto(pieces.model(pieces.join(pieces.cut(2, 4), broken), [1, 6]))
    assert gather_rows(model.graph, {}, {}, (FREE,)) == []
