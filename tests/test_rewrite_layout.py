"""Orders of axes: what takes another one, what refuses, and that nothing changes but that."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from random_layouts import RandomGraph
from rewriting import op_types, session
from small_models import make, weights

from s2deploy.rewrite import RewriteReport, rewrite, runtime_costs
from s2deploy.rewrite.runtime_costs import COUNTING, PerElement
from s2deploy.specs import Dim, Runtime

REGION = """
a = Transpose<perm = [0, 2, 3, 1]>(x)
b = MatMul(a, w)
c = Add(b, bias)
d = Tanh(c)
e = MatMul(d, v)
y = Transpose<perm = [0, 3, 1, 2]>(e)
"""


def linear_weights(c: int, dtype: type = np.float32) -> dict[str, np.ndarray]:
    return {
        "w": weights(c, 2 * c, dtype=dtype) / np.sqrt(c).astype(dtype),
        "bias": weights(2 * c, dtype=dtype, seed=1),
        "v": weights(2 * c, c, dtype=dtype, seed=2) / np.sqrt(c).astype(dtype),
    }


def region(n: int, c: int, h: int, w: int, dtype: type = np.float32) -> onnx.ModelProto:
    """Returns two linear maps along the channels of an image, between Transposes."""
    name = {np.float32: "float", np.float64: "double", np.float16: "float16"}[dtype]
    return make(f"({name}[{n},{c},{h},{w}] x) => ({name}[{n},{c},{h},{w}] y)", REGION, linear_weights(c, dtype))


def laid_out(
    model: onnx.ModelProto, runtime: Runtime = Runtime.TENSORRT, ranges: Mapping[str, Dim] | None = None
) -> tuple[onnx.ModelProto, RewriteReport]:
    """Returns a valid rewritten copy whose outputs are the same up to rounding, and which a second run leaves alone."""
    graph = ir.from_proto(model)
    report = rewrite(graph, ranges, runtime=runtime)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result, full_check=True)
    again = ir.from_proto(result)
    assert rewrite(again, ranges, runtime=runtime).layouts == []
    assert ir.to_proto(again).SerializeToString(deterministic=True) == result.SerializeToString(deterministic=True)
    return result, report


def assert_close(model: onnx.ModelProto, result: onnx.ModelProto, *shape: int, tolerance: float = 1e-5) -> None:
    """Asserts that two models give the same up to rounding on one random input."""
    element = onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    feed = {"x": np.random.default_rng(0).standard_normal(shape).astype(element)}
    for expected, actual in zip(session(model).run(None, feed), session(result).run(None, feed), strict=True):
        assert expected.shape == actual.shape
        assert expected.dtype == actual.dtype
        largest = np.abs(expected, dtype=np.float64).max(initial=0)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(largest, 1))


def test_linear_maps_become_convolutions_where_transposes_cost_more() -> None:
    result, report = laid_out(region(2, 8, 5, 7))
    assert op_types(result) == {"Conv": 2, "Tanh": 1}
    (layout,) = report.layouts
    assert layout.order == (0, 3, 1, 2)
    assert str(layout).startswith("c and 2 more: axes in the order 0, 3, 1, 2, ")
    assert [value.name for value in result.graph.output] == ["y"]


def test_a_convolution_becomes_a_product_where_the_rest_has_channels_last() -> None:
    body = """
    a = LayerNormalization(x, scale, scale)
    b = Transpose<perm = [0, 3, 1, 2]>(a)
    c = Conv(b, w, bias)
    d = Transpose<perm = [0, 2, 3, 1]>(c)
    y = LayerNormalization(d, scale, scale)
    """
    model = make(
        "(float[2,5,3,8] x) => (float[2,5,3,8] y)",
        body,
        {"scale": weights(8), "w": weights(8, 8, 1, 1), "bias": weights(8)},
    )
    result, _ = laid_out(model)
    assert op_types(result) == {"LayerNormalization": 2, "MatMul": 1, "Add": 1}
    assert_close(model, result, 2, 5, 3, 8)


def test_a_map_along_tokens_multiplies_from_the_left() -> None:
    body = "a = Transpose<perm = [0, 2, 1]>(x) b = MatMul(a, w) c = Add(b, bias) y = Transpose<perm = [0, 2, 1]>(c)"
    tables = {"w": weights(6, 6, dtype=np.float64), "bias": weights(6, dtype=np.float64)}
    model = make("(double[2,6,5] x) => (double[2,6,5] y)", body, tables)
    result, _ = laid_out(model)
    assert op_types(result) == {"MatMul": 1, "Add": 1}
    assert result.graph.node[0].input[1] == "x"
    assert_close(model, result, 2, 6, 5)


def test_everything_between_takes_the_other_order() -> None:
    body = """
    a = Transpose<perm = [0, 2, 3, 1]>(x)
    b = MatMul(a, w)
    g0, g1 = Split<axis = 3, num_outputs = 2>(b)
    s0 = Slice(g0, zero, one, axis1)
    s1 = Slice(g0, zero, minus, axis1)
    s = Concat<axis = 1>(s0, s1)
    p = Pad(g1, pads)
    q = Slice(p, zero, end, axis1)
    r = Add(s, q)
    m = ReduceMean<keepdims = 0>(r, axes12)
    f = Softmax<axis = -1>(m)
    u = Unsqueeze(f, axes12)
    t = Mul(r, u)
    n = Reshape(t, flat)
    o = Reshape(n, back)
    k = Concat<axis = -1>(o, fixed)
    y = Transpose<perm = [0, 3, 1, 2]>(k)
    """
    tables = {
        "w": weights(6, 8),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "minus": np.array([-1], np.int64),
        "end": np.array([5], np.int64),
        "axis1": np.array([1], np.int64),
        "axes12": np.array([1, 2], np.int64),
        "pads": np.array([0, 1, 0, 0, 0, 0, 0, 0], np.int64),
        "flat": np.array([2, 15, 4], np.int64),
        "back": np.array([2, 5, 3, 4], np.int64),
        "fixed": weights(2, 5, 3, 2),
    }
    model = make("(float[2,6,5,3] x) => (float[2,6,5,3] y)", body, tables)
    result, _ = laid_out(model)
    assert op_types(result)["Transpose"] == 0
    assert op_types(result)["Conv"] == 1
    assert_close(model, result, 2, 6, 5, 3)


def test_a_normalization_keeps_its_axes_last() -> None:
    body = """
    a = Transpose<perm = [0, 2, 3, 1]>(x)
    b = LayerNormalization(a, scale, scale)
    y = Transpose<perm = [0, 3, 1, 2]>(b)
    """
    model = make("(float[2,8,5,3] x) => (float[2,8,5,3] y)", body, {"scale": weights(8)})
    result, report = laid_out(model)
    assert op_types(result) == {"Transpose": 2, "LayerNormalization": 1}
    assert report.layouts == []


def test_axes_exchanged_with_each_other_are_refused() -> None:
    model = make("(float[4,4] x) => (float[4,4] y)", "a = Transpose(x) b = Add(a, x) y = Tanh(b)")
    result, report = laid_out(model)
    assert op_types(result) == {"Transpose": 1, "Add": 1, "Tanh": 1}
    assert [refusal.reason for refusal in report.refusals] == ["its axes are exchanged with each other"]


def test_an_operator_that_means_its_axes_by_position_gets_them_as_they_were() -> None:
    body = "a = Transpose<perm = [0, 2, 3, 1]>(x) b = CumSum(a, axis) y = Transpose<perm = [0, 3, 1, 2]>(b)"
    model = make("(float[2,8,5,3] x) => (float[2,8,5,3] y)", body, {"axis": np.array(1, np.int64)})
    result, _ = laid_out(model)
    assert op_types(result) == {"Transpose": 2, "CumSum": 1}


def test_double_has_no_convolution() -> None:
    model = region(2, 16, 20, 20, np.float64)
    result, _ = laid_out(model)
    assert op_types(result)["Conv"] == 0
    assert op_types(result)["Transpose"] == 0
    assert_close(model, result, 2, 16, 20, 20, tolerance=1e-12)


def test_the_portable_layout_is_never_much_slower_on_onnxruntime() -> None:
    """Where counting and onnxruntime disagree, the portable choice is that of onnxruntime."""
    model = region(1, 512, 1, 49)
    counted, _ = laid_out(model, Runtime.TENSORRT)
    measured, _ = laid_out(model, Runtime.ONNXRUNTIME_CPU)
    portable, _ = laid_out(model, Runtime.PORTABLE)
    assert op_types(counted)["Conv"] == 2
    assert op_types(portable) in (op_types(counted), op_types(measured))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 2, 2, 2), (1, 3, 5, 7), (3, 6, 1, 4), (0, 4, 3, 3), (2, 10, 9, 2)])
def test_values_stay(shape: tuple[int, int, int, int], dtype: type) -> None:
    model = region(*shape, dtype=dtype)
    result, _ = laid_out(model)
    assert_close(model, result, *shape, tolerance=1e-5 if dtype is np.float32 else 1e-12)


def test_half_precision_stays_as_accurate() -> None:
    model = region(2, 8, 5, 7, np.float16)
    result, report = laid_out(model)
    assert report.layouts
    assert_close(model, result, 2, 8, 5, 7, tolerance=4e-3)


def test_a_dynamic_shape_gets_the_layout_of_its_opt_size() -> None:
    static = region(4, 192, 32, 32)
    dynamic = make("(float[n,192,h,w] x) => (float[n,192,h,w] y)", REGION, linear_weights(192))
    ranges = {"n": Dim("n", 1, 4, 8), "h": Dim("h", 2, 32, 64), "w": Dim("w", 2, 32, 64)}
    fixed, _ = laid_out(static, Runtime.ONNXRUNTIME_CPU)
    result, _ = laid_out(dynamic, Runtime.ONNXRUNTIME_CPU, ranges)
    assert op_types(result) == op_types(fixed)
    assert_close(dynamic, result, 2, 192, 3, 5)


def test_a_region_can_be_left_out() -> None:
    from s2deploy.rewrite import Change, Changes

    graph = ir.from_proto(region(2, 8, 5, 7))
    report = rewrite(graph, changes=Changes(without=[Change("layout", "c")]), runtime=Runtime.TENSORRT)
    assert report.layouts == []
    assert op_types(ir.to_proto(graph))["Transpose"] == 2


@pytest.fixture
def transposes_cost(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes Transposes on TensorRT cost so much per element."""
    costs = dataclasses.replace(COUNTING, transposed=PerElement(request.param, request.param), node_ns=1, product_ns=1)
    monkeypatch.setitem(runtime_costs.COSTS, Runtime.TENSORRT, (costs,))


@pytest.mark.parametrize("transposes_cost", [1, 30], indirect=True)
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("transposes_cost")
def test_random_graphs_keep_their_values(seed: int) -> None:
    shape = tuple(np.random.default_rng(seed).integers(1, 6, 2 + seed % 4).tolist())
    dynamic = seed % 3 == 0
    model = RandomGraph(seed, shape, [np.float32, np.float64][seed % 2], dynamic=dynamic).model(14)
    graph = ir.from_proto(model)
    rewrite(graph, {"batch": Dim("batch", 1, shape[0], 9)} if dynamic else None, runtime=Runtime.TENSORRT)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result, full_check=True)
    assert_close(model, result, *shape)
