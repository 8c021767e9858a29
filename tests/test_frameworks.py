"""Files as frameworks export them: `tests/data/README.md` says which, and how they were made."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, version_converter
from rewriting import assert_same_bits, check, feeds, ints, op_types, rewritten, session

from s2deploy.specs import Dim

DATA = Path(__file__).parent / "data"
NEWEST = min(onnx.defs.onnx_opset_version(), 26)

# Nodes are counted without constants: the fewest the rewriter has needed, which no change may exceed.
REMOVED = {
    "jax/add_slice_dynamic": 6,
    "jax/multiply_slice_static": 4,
    "jax/pads_dynamic": 5,
    "jax/read_slices_static": 5,
    "jax/roll_dynamic": 27,
    "jax/set_grid_dynamic": 6,
    "jax/set_indices_dynamic": 6,
    "jax/set_mask_static": 3,
    "jax/set_row_dynamic": 4,
    "jax/set_scalar_dynamic": 4,
    "jax/set_slice_dynamic": 6,
    "jax/set_slice_static": 6,
    "jax/set_strided_dynamic": 6,
    "jax/shift_dynamic": 15,
    "jax/temporal_shift_dynamic": 6,
    "jax/update_slice_dynamic": 7,
    "tf/add_rows_static": 9,
    "tf/pads_dynamic": 9,
    "tf/roll_dynamic": 10,
    "tf/scatter_zeros_static": 2,
    "tf/shift_dynamic": 17,
    "tf/strided_dynamic": 5,
    "tf/temporal_shift_dynamic": 6,
    "tf/update_constant_dynamic": 5,
    "tf/update_rows_dynamic": 4,
    "tf/update_rows_static": 4,
    "tf/window_mask_dynamic": 1,
    "torch/cost_volume_ts12_static": 8,
    "torch/decode_dynamo_static": 15,
    "torch/decode_ts12_static": 15,
    "torch/focus_inverse_ts11_static": 6,
    "torch/index_add_dynamo_static": 8,
    "torch/index_add_ts16_static": 2,
    "torch/index_put_dynamo_static": 14,
    "torch/index_put_ts13_dynamic": 20,
    "torch/mask_ts11_static": 1,
    "torch/negative_dynamo_static": 8,
    "torch/negative_ts13_static": 8,
    "torch/shift_dynamo_open": 15,
    "torch/shift_ts11_dynamic": 15,
    "torch/shift_ts13_open": 15,
    "torch/temporal_shift_dynamo_dynamic": 6,
    "torch/temporal_shift_ts13_open": 6,
}
STAYING = {
    "jax/maximum_slice_static": "it reduces with max",
    "jax/update_slice_at_static": "the indices are computed at run time",
}
IN_A_LOOP = ["jax/shift_loop_static", "jax/shift_scan_static", "tf/loop_static"]


def load(name: str) -> onnx.ModelProto:
    model = onnx.load(DATA / f"{name}.onnx")
    model.ir_version = min(model.ir_version, 11)
    return model


def sizes(model: onnx.ModelProto) -> list[dict[str, int]]:
    dims = {dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim} - {""}
    return [dict.fromkeys(dims, size) for size in (2, 5)] if dims else [{}]


def test_every_fixture_is_expected() -> None:
    found = {path.relative_to(DATA).with_suffix("").as_posix() for path in DATA.glob("*/*.onnx")}
    assert found == {*REMOVED, *STAYING, *IN_A_LOOP}


@pytest.mark.parametrize("name", REMOVED)
def test_no_scatter_is_left(name: str) -> None:
    model = load(name)
    result, report = check(model, *sizes(model))
    assert report.scatters_after == 0
    assert [refusal for refusal in report.refusals if not refusal.reason.startswith("no Pad")] == []
    assert report.nodes_after <= REMOVED[name]
    assert result.ByteSize() < 4000


@pytest.mark.parametrize("name", STAYING)
def test_scatters_that_must_stay(name: str) -> None:
    model = load(name)
    _, report = check(model)
    assert report.scatters_after == report.scatters_before == 1
    assert [refusal.reason for refusal in report.refusals] == [STAYING[name]]


@pytest.mark.parametrize("name", IN_A_LOOP)
def test_loops_stay_right(name: str) -> None:
    check(load(name))


CONVERTED = [
    "tf/update_constant_dynamic",
    "torch/shift_ts11_dynamic",
    "torch/cost_volume_ts12_static",
    "tf/pads_dynamic",
]


@pytest.mark.parametrize("opset", sorted({13, 18, NEWEST}))
@pytest.mark.parametrize("name", CONVERTED)
def test_every_opset(name: str, opset: int) -> None:
    model = version_converter.convert_version(load(name), opset)
    assert model.opset_import[0].version == opset
    _, report = check(model, *sizes(model)[-1:])
    assert report.scatters_after == 0
    assert report.nodes_after <= REMOVED[name]


@pytest.mark.parametrize("rows", ["6", "H"])
def test_paddle_set_value(rows: str) -> None:
    """The operators by which paddle2onnx assigns to a slice of axis 1: bounds and indices from Shape and Range."""
    text = f"""
        <ir_version: 8, opset_import: ["" : 12]>
        paddle (float[N, {rows}, 3] x, float[1] v) => (float[N, {rows}, 3] y)
        <int64[1] start = {{1}}, int64[1] last = {{4}}, int64[1] axis = {{0}}, int64[1] step = {{1}}> {{
            t = Transpose<perm=[1, 0, 2]>(x)
            shape = Shape(t)
            size = Gather<axis=0>(shape, axis)
            end = Min(size, last)
            part = Slice(t, start, end, axis, step)
            wanted = Shape(part)
            value = Expand(v, wanted)
            from = Squeeze(start)
            to = Squeeze(end)
            by = Squeeze(step)
            run = Range(from, to, by)
            indices = Unsqueeze<axes=[1]>(run)
            done = ScatterND(t, indices, value)
            y = Transpose<perm=[1, 0, 2]>(done)
        }}"""
    model = onnx.parser.parse_model(text)
    ranges = {"H": Dim("H", 4, 6, 9)} if rows == "H" else None
    result, report = check(model, {"N": 2, "H": 4}, {"N": 3, "H": 9}, ranges=ranges)
    assert (report.scatters_after, report.refusals) == (0, [])
    assert report.nodes_after <= 8
    assert op_types(result)["Transpose"] == 0


FUNCTION = """
    <ir_version: 10, opset_import: ["" : 18, "block" : 1]>
    model (float[N, 4] x) => (float[N, 4] y) {
        a = block.shift<by=1>(x)
        b = block.shift : other (a)
        y = block.twice(b)
    }
    <domain: "block", opset_import: ["" : 18]>
    shift <by> (x) => (y) {
        i = Constant<value = int64[3, 1] {1, 2, 3}>()
        t = Transpose<perm=[1, 0]>(x)
        end = Constant<value = int64[1] {-1}>()
        zero = Constant<value = int64[1] {0}>()
        part = Slice(t, zero, end, zero)
        moved = ScatterND(t, i, part)
        sum = CumSum(moved, zero)
        s = Constant<value_int: int = @by>()
        f = CastLike(s, sum)
        m = Mul(sum, f)
        y = Transpose<perm=[1, 0]>(m)
    }
    <domain: "block", overload: "other", opset_import: ["" : 18]>
    shift (x) => (y) {
        y = Neg(x)
    }
    <domain: "block", opset_import: ["" : 18, "block" : 1]>
    twice (x) => (y) {
        a = block.shift<by=2>(x)
        y = block.shift<by=3>(a)
    }"""


def test_functions_with_scatters() -> None:
    """Nested functions, an overload and attributes taken from the caller; names inside may repeat."""
    model = onnx.parser.parse_model(FUNCTION)
    result, report = check(model, {"N": 2}, {"N": 5})
    assert len(result.functions) == 0
    assert report.scatters_after == 0
    assert report.refusals == []


def test_unknown_operators_pass_through() -> None:
    node = helper.make_node("Anything", ["t"], ["u"], domain="vendor.ops", setting="as it was", name="mine")
    text = """<ir_version: 10, opset_import: ["" : 18, "vendor.ops" : 3]>
        g (float[5, 2] x, float[2, 2] v) => (float[5, 2] y) <int64[2, 1] i = {1, 2}>
        { t = ScatterND(x, i, v) y = Relu(t) }"""
    model = onnx.parser.parse_model(text)
    model.graph.node.insert(1, node)
    model.graph.node[2].input[0] = "u"
    result, report = rewritten(model)
    assert report.scatters_after == 0
    (kept,) = [other for other in result.graph.node if other.domain == "vendor.ops"]
    assert (kept.op_type, kept.name, kept.attribute[0].s, list(kept.output)) == (
        "Anything",
        "mine",
        b"as it was",
        ["u"],
    )
    assert {entry.domain: entry.version for entry in result.opset_import} == {"": 18, "vendor.ops": 3}


def test_large_tables_are_never_stored() -> None:
    """A flattened index table of a million numbers is understood, and gone from the result."""
    batch, height, width, channels = 2, 65, 64, 32
    count = batch * (height - 1) * width * channels
    shape = ints(batch, height - 1, width, channels)
    columns = []
    nodes = []
    weights = {"zero": ints(0)[0], "one": ints(1)[0], "shape": shape, "flat": ints(count), "column": ints(1)}
    for axis, size in enumerate(shape):
        ones = [1, 1, 1, 1]
        ones[axis] = int(size)
        weights |= {f"size{axis}": ints(int(size))[0], f"ones{axis}": ints(*ones)}
        weights[f"offset{axis}"] = ints(int(axis == 1))
        chain = [("Range", ["zero", f"size{axis}", "one"]), ("Reshape", [f"ones{axis}"]), ("Expand", ["shape"])]
        chain += [("Reshape", ["flat"]), ("Add", [f"offset{axis}"]), ("Unsqueeze", ["column"])]
        last: list[str] = []
        for step, (op_type, inputs) in enumerate(chain):
            nodes.append(helper.make_node(op_type, [*last, *inputs], [f"c{axis}_{step}"]))
            last = [f"c{axis}_{step}"]
        columns += last
    nodes.append(helper.make_node("Concat", columns, ["table"], axis=1))
    nodes.append(helper.make_node("Reshape", ["v", "flat"], ["updates"]))
    nodes.append(helper.make_node("ScatterND", ["x", "table", "updates"], ["y"]))
    full = [batch, height, width, channels]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, full)]
    given.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, shape.tolist()))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, full)
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", given, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    result, report = rewritten(model)
    assert op_types(result) == {"Slice": 1, "Concat": 1}
    assert result.ByteSize() < 2000
    assert report.scatters_after == 0
    at = feeds(model, {})
    assert_same_bits(session(model).run(None, at), session(result).run(None, at))
