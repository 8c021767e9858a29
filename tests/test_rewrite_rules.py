"""Each operator rule: what it makes of one node, lowered again and compared bit by bit with the node itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from rewriting import assert_same_bits, feeds, ints, session

from s2deploy.rewrite.emit import emit
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.lower import Lowering
from s2deploy.rewrite.rules import RULES

NEWEST = min(onnx.defs.onnx_opset_version(), 26)
FAR = (1 << 63) - 1


def one_node(
    op_type: str,
    *inputs: Any,
    opset: int = 20,
    outputs: int = 1,
    dtype: int = TensorProto.FLOAT,
    gives: int | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """Returns a model of one node; an input is a shape (of a graph input), an array (a constant) or None (missing)."""
    given, constants, names = [], [], []
    for position, value in enumerate(inputs):
        name = f"i{position}"
        if value is None:
            name = ""
        elif isinstance(value, (list, tuple)):
            given.append(helper.make_tensor_value_info(name, dtype, value))
        else:
            constants.append(numpy_helper.from_array(np.asarray(value), name))
        names.append(name)
    results = [f"o{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, **attributes)
    infos = [helper.make_value_info(n, helper.make_tensor_type_proto(gives or dtype, None)) for n in results]
    graph = helper.make_graph([node], "g", given, infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with what its rules understand written down again, whatever that costs."""
    result = ir.from_proto(model)
    graph = result.graph
    facts = Interpretation(graph, {}, RULES, frozenset(RULES))
    assert not facts.refusals
    lowering = Lowering(graph, facts.bounds, facts.dimensions(), facts.opset)
    for node in [node for node in graph if node in facts.moved]:
        for value in node.outputs:
            understood = facts.understood(value)
            if understood is not None:
                assert value.dtype is not None
                found = emit(facts.bounds, understood, facts.source_shape)
                lowering.substitute(value, lowering.lower(found, value.dtype, node), node)
        graph.remove(node, safe=False)
    return ir.to_proto(result)


def compare(model: onnx.ModelProto, *sizes: dict[str, int]) -> None:
    before, after = session(model), session(lowered(model))
    for at in sizes or ({},):
        given = feeds(model, at)
        assert_same_bits(before.run(None, given), after.run(None, given))


def refusal(model: onnx.ModelProto) -> str:
    """Returns why the one node of a model is not understood."""
    facts = Interpretation(ir.from_proto(model).graph, {}, RULES, frozenset(RULES))
    assert not facts.moved
    (found,) = facts.refusals
    return found.reason


N = [{"N": 1}, {"N": 4}, {"N": 7}]

MOVEMENT = {
    "identity": one_node("Identity", [2, "N"]),
    "transpose": one_node("Transpose", [2, "N", 3], perm=[2, 0, 1]),
    "transpose reversed": one_node("Transpose", [2, "N", 3]),
    "transpose scalar": one_node("Transpose", []),
    "slice": one_node("Slice", [2, "N"], ints(1), ints(3), ints(0)),
    "slice all axes": one_node("Slice", [5, 4], ints(1, -3), ints(-1, FAR)),
    "slice one off the end": one_node("Slice", [2, "N"], ints(0), ints(-1), ints(1)),
    "slice one off the front": one_node("Slice", [2, "N"], ints(1), ints(FAR), ints(-1)),
    "slice beyond": one_node("Slice", [4, 5], ints(-9, 2), ints(9, 99), ints(0, 1)),
    "slice nothing": one_node("Slice", [4, 5], ints(3), ints(1), ints(0)),
    "slice nothing with a step": one_node("Slice", [4, 5], ints(3), ints(1), ints(0), ints(2)),
    "slice flip": one_node("Slice", [2, "N"], ints(-1), ints(-FAR), ints(1), ints(-1)),
    "slice back": one_node("Slice", [9, 2], ints(7), ints(1), ints(0), ints(-3)),
    "slice back to the front": one_node("Slice", [9, 2], ints(99), ints(-99), ints(0), ints(-2)),
    "slice every other": one_node("Slice", [2, "N"], ints(0), ints(FAR), ints(1), ints(2)),
    "slice every third from one": one_node("Slice", [2, 8], ints(1), ints(8), ints(1), ints(3)),
    "slice back by two": one_node("Slice", [2, "N"], ints(-1), ints(-FAR), ints(1), ints(-2)),
    "slice of nothing": one_node("Slice", [0, 4], ints(1), ints(3), ints(1)),
    "slice nothing back": one_node("Slice", [0, 4], ints(0), ints(0), ints(0), ints(-2)),
    "slice with int32": one_node("Slice", [4, 5], np.array([1], np.int32), np.array([-1], np.int32)),
    "concat": one_node("Concat", [2, "N"], [2, 3], [2, "N"], axis=1),
    "concat of one": one_node("Concat", [2, 3], axis=-1),
    "concat with nothing": one_node("Concat", [2, 3], [0, 3], axis=0),
    "concat of nothing": one_node("Concat", [0, 3], [0, 3], axis=0),
    "split": one_node("Split", [2, 7], ints(1, 4, 2), outputs=3, axis=-1),
    "split with nothing": one_node("Split", [4, 2], ints(4, 0), outputs=2),
    "split 11": one_node("Split", [2, 7], outputs=2, axis=1, split=[3, 4], opset=11),
    "split equally 11": one_node("Split", [2, 6], outputs=3, axis=1, opset=11),
    "split equally 13": one_node("Split", [6, 2], outputs=3, opset=13),
    "split unequally 18": one_node("Split", [2, 7], outputs=3, axis=1, num_outputs=3, opset=18),
    "unsqueeze": one_node("Unsqueeze", [2, "N"], ints(-1, 0)),
    "unsqueeze in any order": one_node("Unsqueeze", [2, 3], ints(3, 1)),
    "unsqueeze 11": one_node("Unsqueeze", [2, 3], axes=[0, -1], opset=11),
    "unsqueeze scalar": one_node("Unsqueeze", [], ints(0)),
    "squeeze": one_node("Squeeze", [1, 2, 1], ints(-1)),
    "squeeze all": one_node("Squeeze", [1, 2, 1]),
    "squeeze 11": one_node("Squeeze", [1, 2, 1], axes=[0], opset=11),
    "squeeze to a scalar": one_node("Squeeze", [1, 1]),
    "reshape adds ones": one_node("Reshape", [2, 3], ints(2, 1, 3, 1)),
    "reshape copies and infers": one_node("Reshape", [2, "N", 1], ints(0, -1)),
    "reshape infers": one_node("Reshape", ["N", 1], ints(1, -1)),
    "reshape of nothing": one_node("Reshape", [0, 3], ints(0, 3, 1)),
    "reshape allowing zero": one_node("Reshape", [0, 3], ints(0, 1, 3), allowzero=1),
    "expand": one_node("Expand", [2, 1, "N"], ints(2, 3, 1)),
    "expand to a higher rank": one_node("Expand", [1], ints(2, 3)),
    "expand scalar": one_node("Expand", [], ints(2, 2)),
    "expand to nothing": one_node("Expand", [1, 2], ints(0, 2)),
    "gather row": one_node("Gather", ["N", 3], np.int64(0)),
    "gather last": one_node("Gather", ["N", 3], np.int64(-1)),
    "gather vector": one_node("Gather", [2, 5], ints(4, 0, 0, 2), axis=-1),
    "gather ramp": one_node("Gather", [2, 5], ints(1, 2, 3), axis=1),
    "gather back": one_node("Gather", [5, 2], ints(4, 2, 0)),
    "gather negative ramp": one_node("Gather", [5, 2], ints(-3, -2, -1)),
    "gather column of a matrix": one_node("Gather", [5, 2], np.array([[1], [2], [3]])),
    "gather matrix": one_node("Gather", [5, 2], np.full((2, 2), 3)),
    "pad": one_node("Pad", [2, "N"], ints(0, 1, 2, 3)),
    "pad with a value": one_node("Pad", [2, 3], ints(1, 0, 0, 2), np.float32(-0.0)),
    "pad with an input": one_node("Pad", [2, 3], ints(1, 0, 0, 2), ()),
    "pad some axes": one_node("Pad", [2, 3, 4], ints(1, 0, 0, 2), None, ints(-1, 0)),
    "pad cuts": one_node("Pad", [5, "N"], ints(-1, 0, 2, 1)),
    "pad edge": one_node("Pad", [2, 3], ints(0, 2, 1, 1), mode="edge"),
    "pad edge shift": one_node("Pad", [4, 3], ints(1, 0, -1, 0), mode="edge"),
    "pad edge shift back": one_node("Pad", [3, 2], ints(0, -1, 0, 1), mode="edge"),
    "pad reflect": one_node("Pad", [4, 3], ints(3, 1, 2, 2), mode="reflect"),
    "pad wrap": one_node("Pad", [4, 3], ints(4, 1, 2, 3), mode="wrap", opset=19),
    "pad nothing": one_node("Pad", [0, 3], ints(1, 0, 1, 0)),
    "scatter rows": one_node("ScatterND", [5, 3], np.array([[3], [1], [2]]), [3, 3]),
    "scatter a negative row": one_node("ScatterND", [5, 3], np.array([[-2]]), [1, 3]),
    "scatter one element": one_node("ScatterND", [5, 3], ints(4, 0), []),
    "scatter a block": one_node("ScatterND", [4, 4, 2], np.indices((2, 3)).transpose(1, 2, 0) + 1, [2, 3, 2]),
    "scatter transposed": one_node("ScatterND", [4, 4], np.indices((2, 3)).T[..., ::-1] + 0, [3, 2]),
    "scatter every other row": one_node("ScatterND", [6, 2], np.array([[1], [3], [5]]), [3, 2]),
    "scatter every third of seven": one_node("ScatterND", [7, 2], np.array([[0], [3], [6]]), [3, 2]),
    "scatter backwards": one_node("ScatterND", ["N", 2], np.array([[0]]), [1, 2]),
    "scatter elements": one_node("ScatterElements", [4, 3], np.array([[1, 1, 1], [3, 3, 3]]), [2, 3]),
    "scatter elements of a corner": one_node("ScatterElements", [4, 5], np.array([[2, 3]]), [1, 2], axis=-1),
    "where": one_node("Where", np.array([[True], [True], [False]]), [3, "N"], ["N"]),
    "where never": one_node("Where", np.array(False), [2, 3], [1, 3]),
}


@pytest.mark.parametrize("name", MOVEMENT)
def test_movement(name: str) -> None:
    model = MOVEMENT[name]
    dynamic = any(d.dim_param for i in model.graph.input for d in i.type.tensor_type.shape.dim)
    compare(model, *(N if dynamic else ({},)))


@pytest.mark.parametrize("opset", [11, 13, 18, 20, NEWEST])
@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes"),
    [
        ("Slice", ([5, "N"], ints(-3), ints(FAR), ints(0)), {}),
        ("Concat", ([2, "N"], [2, 3]), {"axis": 1}),
        ("Transpose", ([2, "N"],), {}),
        ("Expand", ([1, "N"], ints(3, 1)), {}),
        ("Gather", ([5, "N"], ints(3, 1)), {}),
        ("Pad", ([5, "N"], ints(1, 0, 0, 2)), {}),
        ("Reshape", ([5, "N"], ints(5, 1, -1)), {}),
        ("ScatterND", ([5, "N"], np.array([[1], [2]]), [2, "N"]), {}),
        ("ScatterElements", ([5, 2], np.array([[1, 1]]), [1, 2]), {}),
        ("Where", (np.array(True), [5, "N"], [5, 1]), {}),
        ("Identity", ([5, "N"],), {}),
    ],
)
def test_every_opset(op_type: str, inputs: tuple[Any, ...], attributes: dict[str, Any], opset: int) -> None:
    compare(one_node(op_type, *inputs, opset=opset, **attributes), *N)


@pytest.mark.parametrize("dtype", ["FLOAT16", "DOUBLE", "INT64", "INT32", "INT8", "UINT8", "BOOL"])
def test_every_type(dtype: str) -> None:
    kind = TensorProto.DataType.Value(dtype)
    compare(one_node("Slice", [2, "N"], ints(1), ints(FAR), ints(1), dtype=kind), *N)
    compare(one_node("Pad", [2, 3], ints(1, 0, 0, 1), dtype=kind))
    compare(one_node("ScatterND", [5, 3], np.array([[1], [2]]), [2, 3], dtype=kind))


def test_strings() -> None:
    compare(one_node("Slice", [4, 2], ints(2), ints(3), dtype=TensorProto.STRING))
    compare(one_node("Concat", [4, 2], [1, 2], axis=0, dtype=TensorProto.STRING))
    compare(one_node("ScatterND", [4, 2], np.array([[1]]), [1, 2], dtype=TensorProto.STRING))


INT, BOOL, FLOAT = TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT

ARITHMETIC = {
    "shape": one_node("Shape", ["N"], gives=INT),
    "shape from": one_node("Shape", [2, "N", 3], start=-2, end=-1, gives=INT),
    "shape to beyond": one_node("Shape", [2, "N", 3], start=-1, end=99, gives=INT),
    "size": one_node("Size", [2, "N", 3], gives=INT),
    "range": one_node("Range", np.int64(2), np.int64(11), np.int64(3), gives=INT),
    "range back": one_node("Range", np.int64(9), np.int64(0), np.int64(-2), gives=INT),
    "range of nothing": one_node("Range", np.int64(3), np.int64(3), np.int64(1), gives=INT),
    "range past its end": one_node("Range", np.int64(5), np.int64(3), np.int64(1), gives=INT),
    "constant of shape": one_node("ConstantOfShape", ints(2, 3)),
    "ones of shape": one_node("ConstantOfShape", ints(2), value=numpy_helper.from_array(ints(1)), gives=INT),
    "true of shape": one_node("ConstantOfShape", ints(3), value=numpy_helper.from_array(np.array([True])), gives=BOOL),
    "nothing of shape": one_node("ConstantOfShape", ints(0, 2)),
    "cast to bool": one_node("Cast", ints(3, 3, 3), to=BOOL, gives=BOOL),
    "cast to int": one_node("Cast", np.array([True, False]), to=INT, gives=INT),
    "cast of a constant": one_node("Cast", np.full((2, 2), -1.75, np.float32), to=INT, gives=INT),
    "cast to half": one_node("Cast", np.full(3, 0.1, np.float32), to=TensorProto.FLOAT16, gives=TensorProto.FLOAT16),
    "cast int to float": one_node("Cast", ints(3, 3), to=FLOAT),
    "add": one_node("Add", ints(1, 2, 4), ints(10), gives=INT),
    "add broadcast": one_node("Add", np.array([[0], [5]]), ints(1, 2, 3), gives=INT),
    "sub": one_node("Sub", ints(1, 2, 3), ints(3, 2, 1), gives=INT),
    "mul": one_node("Mul", ints(1, 2, 3), ints(3, 2, 1), gives=INT),
    "div": one_node("Div", ints(7, 8, 9), ints(2), gives=INT),
    "div exactly": one_node("Div", ints(-8, 4), ints(-2), gives=INT),
    "mod": one_node("Mod", ints(7, 8, 9), ints(4), gives=INT),
    "min": one_node("Min", ints(7, 1), ints(4), gives=INT),
    "max": one_node("Max", ints(7, 1), ints(4), gives=INT),
    "neg": one_node("Neg", ints(7, 1), gives=INT),
    "equal": one_node("Equal", ints(1, 2, 3), ints(3, 2, 1), gives=BOOL),
    "less": one_node("Less", ints(1, 2, 3), ints(2), gives=BOOL),
    "less or equal": one_node("LessOrEqual", ints(1, 2, 3), ints(2), gives=BOOL),
    "and": one_node("And", np.array([True, True, False]), np.array([True, False, False]), gives=BOOL),
    "or": one_node("Or", np.array([True, True, False]), np.array([True, False, False]), gives=BOOL),
    "not": one_node("Not", np.array([True, True]), gives=BOOL),
    "product": one_node("ReduceProd", ints(2, 3, 4), keepdims=0, gives=INT),
    "product 11": one_node("ReduceProd", ints(2, 3), axes=[0], opset=11, gives=INT),
    "product of axes": one_node("ReduceProd", ints(2, 3), ints(0), opset=18, gives=INT),
    "product of no axes": one_node("ReduceProd", ints(2, 3), noop_with_empty_axes=1, opset=18, gives=INT),
    "non zero": one_node("NonZero", np.ones(4, np.int64), gives=INT),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name: str) -> None:
    compare(ARITHMETIC[name], *(N if ARITHMETIC[name].graph.input else ({},)))


REFUSALS = {
    "depends on": one_node("Slice", [2, "N"], ints(2), ints(FAR), ints(1)),
    "computed at run time": one_node("Gather", [4, 2], [3], dtype=INT),
    "merges or splits": one_node("Reshape", [2, 3], ints(6)),
    "does not split": one_node("Split", [2, "N"], outputs=2, axis=1, num_outputs=2),
    "reduces with add": one_node("ScatterND", [4, 2], np.array([[1]]), [1, 2], reduction="add"),
    "reduces with max": one_node("ScatterElements", [4, 2], np.array([[1]]), [1, 1], reduction="max"),
    "twice or along a diagonal": one_node("ScatterND", [4, 4], np.array([[0, 0], [1, 1]]), [2]),
    "outside": one_node("ScatterND", [4, 2], np.array([[4]]), [1, 2]),
    "depends on the sizes": one_node("Squeeze", [1, "N"]),
    "not known to be 1": one_node("Squeeze", [1, "N"], ints(1)),
    "whether 5 and N are equal": one_node("Expand", [2, "N"], ints(2, 5)),
    "negative pad in mode reflect": one_node("Pad", [4], ints(-1, 1), mode="reflect"),
    "reversed slice to the largest integer": one_node("Slice", [4], ints(1), ints(FAR), ints(0), ints(-2)),
    "wraps around more than once": one_node("Pad", [3], ints(4, 0), mode="wrap"),
    "wider than what it reflects": one_node("Pad", [3], ints(3, 0), mode="reflect"),
    "numbers that do not fit": one_node("Cast", ints(FAR), to=TensorProto.INT32, gives=TensorProto.INT32),
    "on which runtimes may differ": one_node("Cast", np.full(2, 300, np.float32), to=TensorProto.UINT8),
    "a range that is not of integers": one_node("Range", np.float32(0), np.float32(1), np.float32(0.3)),
    "quotient of negative numbers": one_node("Div", ints(-7, 1), ints(2), gives=INT),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_refusal(reason: str) -> None:
    assert reason in refusal(REFUSALS[reason])
