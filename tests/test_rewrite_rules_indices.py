"""The rules for index arithmetic and lists of positions: each node lowered again and compared with itself."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rewriting import check, ints, op_types
from test_rewrite_rules import compare, one_node, refusal

INT, BOOL = TensorProto.INT64, TensorProto.BOOL
N = [{"N": 1}, {"N": 4}]
BLOCK = np.indices((2, 3)).transpose(1, 2, 0) + 1
LONG = np.arange(100)

SELECTING = {
    "gather a block": one_node("GatherND", [4, 5, "N"], BLOCK),
    "gather a transposed block": one_node(
        "GatherND", [5, 4], np.ascontiguousarray(BLOCK[..., ::-1].transpose(1, 0, 2))
    ),
    "gather rows backwards": one_node("GatherND", [5, "N"], np.array([[3], [2], [1]])),
    "gather negative rows": one_node("GatherND", [5, "N"], np.array([[-3], [-2]])),
    "gather two runs": one_node("GatherND", [6, 2], np.array([[4], [5], [0], [1]])),
    "gather every other": one_node("GatherND", [6, 2], np.array([[1], [3], [5]])),
    "gather one element": one_node("GatherND", [4, 5], ints(2, 3)),
    "gather one row often": one_node("GatherND", [4, 5], np.array([[2], [2], [2]])),
    "gather elements": one_node("GatherElements", [4, 3], np.array([[1, 1, 1], [3, 3, 3]])),
    "gather elements of a corner": one_node("GatherElements", [4, 5], np.array([[2, 3], [2, 3]]), axis=-1),
    "gather elements backwards": one_node("GatherElements", [4, 2], np.array([[3, 3], [2, 2], [1, 1]])),
    "compress": one_node("Compress", [5, "N"], np.array([True, False, False, True, True]), axis=0),
    "compress by a short condition": one_node("Compress", [5, 2], np.array([False, True]), axis=0),
    "compress to nothing": one_node("Compress", [5, 2], np.zeros(5, bool), axis=0),
    "compress a vector": one_node("Compress", [3], np.array([True, False, True])),
    "tile": one_node("Tile", [2, "N"], ints(1, 3)),
    "tile ones": one_node("Tile", [1, "N"], ints(4, 1)),
    "tile to nothing of ones": one_node("Tile", [1, 2], ints(0, 1)),
    "crop and pad": one_node("CenterCropPad", [5, 4], ints(2, 7)),
    "crop some axes": one_node("CenterCropPad", ["N", 5], ints(2), axes=[-1]),
}


@pytest.mark.parametrize("name", SELECTING)
def test_selecting(name: str) -> None:
    model = SELECTING[name]
    dynamic = any(d.dim_param for i in model.graph.input for d in i.type.tensor_type.shape.dim)
    compare(model, *(N if dynamic else ({},)))


ARITHMETIC = {
    "a long comparison": one_node("Less", LONG, ints(70), gives=BOOL),
    "from where on": one_node("GreaterOrEqual", LONG, ints(70), gives=BOOL),
    "above": one_node("Greater", LONG[::-1].copy(), ints(70), gives=BOOL),
    "always": one_node("LessOrEqual", LONG, ints(99), gives=BOOL),
    "never": one_node("Less", LONG, ints(0), gives=BOOL),
    "in steps": one_node("LessOrEqual", 3 * LONG, ints(100), gives=BOOL),
    "down in steps": one_node("LessOrEqual", -3 * LONG, ints(-100), gives=BOOL),
    "equal once": one_node("Equal", LONG, ints(30), gives=BOOL),
    "equal between the steps": one_node("Equal", 2 * LONG, ints(31), gives=BOOL),
    "equal at the start": one_node("Equal", LONG, ints(0), gives=BOOL),
    "the smaller part by part": one_node("Min", LONG, ints(30), gives=INT),
    "the larger part by part": one_node("Max", LONG, 40 - LONG, gives=INT),
    "of three": one_node("Max", ints(1, 5), ints(4, 2), ints(3, 3), gives=INT),
    "quotient by rows": one_node("Div", LONG, ints(10), gives=INT),
    "remainder by rows": one_node("Mod", LONG, ints(10), gives=INT),
    "quotient of a grid": one_node("Div", LONG.reshape(10, 10), ints(10), gives=INT),
    "remainder of a grid": one_node("Mod", LONG.reshape(10, 10), ints(10), gives=INT),
    "quotient by a scalar": one_node("Div", LONG + 100, np.int64(20), gives=INT),
    "a product along two axes": one_node("Mul", np.array([[[0]], [[1]], [[2]]]), np.array([[[1, 0]]]), gives=INT),
    "not of flags that look like a ramp": one_node("Not", np.array([False, True]), gives=BOOL),
    "positions of runs": one_node("NonZero", np.array([1, 0, 0, 1, 1]), gives=INT),
    "positions of a block": one_node("NonZero", np.pad(np.ones((2, 3), np.int64), 1), gives=INT),
    "positions of everything": one_node("NonZero", np.ones((2, 3), np.int64), gives=INT),
    "positions of nothing": one_node("NonZero", np.zeros((2, 3), np.int64), gives=INT),
    "positions of columns": one_node("NonZero", np.tile(np.array([1, 0, 1]), (4, 1)), gives=INT),
    "the sum of sizes": one_node("ReduceSum", ints(2, 3, 4), keepdims=0, opset=18, gives=INT),
    "the largest size": one_node("ReduceMax", ints(2, 5, 4), opset=18, gives=INT),
    "the smallest size": one_node("ReduceMin", ints(2, 5, 4), keepdims=0, opset=18, gives=INT),
    "a table flattened": one_node("Reshape", LONG.reshape(10, 10), ints(-1), gives=INT),
    "a table in rows": one_node("Reshape", LONG[:24], ints(2, 3, 4), gives=INT),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name: str) -> None:
    compare(ARITHMETIC[name])


REFUSALS = {
    "a diagonal": one_node("GatherND", [4, 4], np.array([[0, 0], [1, 1], [2, 2]])),
    "batch dimensions": one_node("GatherND", [4, 4], np.array([[0], [1], [2], [3]]), batch_dims=1),
    "outside": one_node("GatherND", [4, 4], np.array([[3], [4]])),
    "vary along other axes": one_node("GatherElements", [4, 3], np.array([[0, 1, 2]])),
    "merged axes": one_node("Compress", [2, 2], np.array([True, False, True])),
    "repeated 100 times": one_node("Tile", [2, "N"], ints(1, 100)),
    "does not follow the axes": one_node("NonZero", np.tri(9, dtype=np.int64), gives=INT),
    "a product of two indices": one_node("Mul", LONG, LONG, gives=INT),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_refusal(reason: str) -> None:
    assert reason in refusal(REFUSALS[reason])


def scatter_of_flattened(rows: int | str, take: list[int], onto: list[int]) -> onnx.ModelProto:
    """Returns an assignment whose table and value are flattened: ``x[:, onto] = v[:, take]``, both of any batch."""
    text = f"""
        <ir_version: 10, opset_import: ["" : 18]>
        g (float[{rows}, 6] x, float[{rows}, 3] v) => (float[{rows}, 6] y)
        <int64 zero = {{0}}, int64 one = {{1}}, int64[1] first = {{0}}, int64[1] last = {{1}}, int64[1] flat = {{-1}},
         int64[1] two = {{2}}> {{
            shape = Shape(x)
            n = Gather(shape, zero)
            rows = Range(zero, n, one)
            column = Unsqueeze(rows, last)
            count = Shape(onto)
            size = Unsqueeze(n, first)
            full = Concat<axis=0>(size, count)
            a = Expand(column, full)
            b = Expand(onto, full)
            a1 = Reshape(a, flat)
            b1 = Reshape(b, flat)
            a2 = Unsqueeze(a1, last)
            b2 = Unsqueeze(b1, last)
            table = Concat<axis=1>(a2, b2)
            part = Gather<axis=1>(v, take)
            value = Reshape(part, flat)
            y = ScatterND(x, table, value)
        }}"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(ints(*onto), "onto"))
    model.graph.initializer.append(numpy_helper.from_array(ints(*take), "take"))
    return model


@pytest.mark.parametrize("rows", [3, "N"])
@pytest.mark.parametrize(
    ("take", "onto", "most"),
    [([0, 1], [2, 3], 4), ([2, 1], [0, 1], 3), ([0, 1, 2], [1, 3, 5], 6), ([0, 1], [4, 0], 5), ([0], [-1], 3)],
)
def test_flattened_tables(rows: int | str, take: list[int], onto: list[int], most: int) -> None:
    result, report = check(scatter_of_flattened(rows, take, onto), {"N": 1}, {"N": 4})
    assert (report.scatters_after, report.refusals) == (0, [])
    assert report.nodes_after <= most
    assert op_types(result)["Gather"] == 0


def test_a_value_flattened_from_another_shape_is_read_through_a_reshape() -> None:
    nodes = [
        helper.make_node("Reshape", ["v", "flat"], ["value"]),
        helper.make_node("Reshape", ["grid", "rows"], ["table"]),
        helper.make_node("ScatterND", ["x", "table", "value"], ["y"]),
    ]
    grid = np.indices((2, 3)).transpose(1, 2, 0) + 1
    weights = [
        numpy_helper.from_array(array, name)
        for array, name in ((ints(-1), "flat"), (ints(6, 2), "rows"), (grid, "grid"))
    ]
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [4, 5]), ("v", [3, 2]))]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 5])
    graph = helper.make_graph(nodes, "g", given, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    result, report = check(model)
    assert report.scatters_after == 0
    assert op_types(result)["Reshape"] == 1
