"""What the tests of the rewriter share: rewrite a model, run both on onnxruntime, compare bit by bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from s2deploy.rewrite import RewriteReport, rewrite
from s2deploy.specs import Dim

Sizes = Mapping[str, int]


def rewritten(model: onnx.ModelProto, ranges: Mapping[str, Dim] | None = None) -> tuple[onnx.ModelProto, RewriteReport]:
    """Returns a rewritten copy of a model, which must be valid, and the report."""
    graph = ir.from_proto(model)
    report = rewrite(graph, ranges)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result)
    return result, report


def check(
    model: onnx.ModelProto, *sizes: Sizes, ranges: Mapping[str, Dim] | None = None
) -> tuple[onnx.ModelProto, RewriteReport]:
    """Rewrites a model and asserts everything a rewrite must preserve.

    That is the interface of the model, every output bit by bit at the given sizes of its named dimensions, and that a
    second rewrite gives the same file.
    """
    result, report = rewritten(model, ranges)
    assert [_interface(value) for value in result.graph.input] == [_interface(value) for value in model.graph.input]
    assert [_interface(value) for value in result.graph.output] == [_interface(value) for value in model.graph.output]
    before, after = session(model), session(result)
    for at in sizes or ({},):
        given = feeds(model, at)
        assert_same_bits(before.run(None, given), after.run(None, given))
    again, _ = rewritten(result, ranges)
    assert again.SerializeToString(deterministic=True) == result.SerializeToString(deterministic=True)
    return result, report


def close(
    model: onnx.ModelProto, *sizes: Sizes, ranges: Mapping[str, Dim] | None = None, atol: float = 2e-5
) -> tuple[onnx.ModelProto, RewriteReport]:
    """Rewrites a model and asserts what a rewrite that puts sums in another order must preserve.

    That is the interface, integers and the type of everything exactly, floating-point outputs within a share of the
    largest value (for float64 of 1e-12), and that a second rewrite gives the same file.
    """
    result, report = rewritten(model, ranges)
    assert [_interface(value) for value in result.graph.input] == [_interface(value) for value in model.graph.input]
    assert [_interface(value) for value in result.graph.output] == [_interface(value) for value in model.graph.output]
    before, after = session(model), session(result)
    for at in sizes or ({},):
        given = {
            name: array if array.dtype == bool else np.nan_to_num(array) for name, array in feeds(model, at).items()
        }
        for expected, found in zip(before.run(None, given), after.run(None, given), strict=True):
            assert (expected.shape, expected.dtype) == (found.shape, found.dtype)
            if expected.dtype.kind != "f":
                assert expected.tobytes() == found.tobytes()
            elif expected.size:
                share = 1e-12 if expected.dtype == np.float64 else atol
                assert np.abs(expected - found).max() <= share * np.abs(expected).max()
    again, _ = rewritten(result, ranges)
    assert again.SerializeToString(deterministic=True) == result.SerializeToString(deterministic=True)
    return result, report


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Returns an onnxruntime session that runs the model as it is, without optimisations of its own."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def feeds(model: onnx.ModelProto, sizes: Sizes) -> dict[str, np.ndarray]:
    """Returns distinct random values for every input of a model that has no default."""
    defaults = {tensor.name for tensor in model.graph.initializer}
    rng = np.random.default_rng(0)
    # onnxruntime's Where gives 0.0 for -0.0.
    negative_zero = "Where" not in op_types(model)
    given = {}
    for value in model.graph.input:
        if value.name in defaults:
            continue
        kind = value.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else sizes[dim.dim_param] for dim in kind.shape.dim]
        values = random_values(rng, shape, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        given[value.name] = values if negative_zero or values.dtype.kind != "f" else values + values.dtype.type(0)
    return given


def random_values(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray:
    """Returns random values of any type, among them negative zero and NaN where there are such."""
    if dtype.kind == "O":
        return rng.integers(0, 1000, shape).astype(str).astype(object)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        return rng.integers(0, 100, shape).astype(dtype)
    values = rng.standard_normal(shape).astype(dtype)
    values[rng.random(shape) < 0.05] = -0.0
    values[rng.random(shape) < 0.05] = np.nan
    return values


def assert_same_bits(expected: Sequence[np.ndarray], actual: Sequence[np.ndarray]) -> None:
    """Asserts equal shapes, types and bits."""
    assert len(expected) == len(actual)
    for first, second in zip(expected, actual, strict=True):
        assert first.shape == second.shape
        assert first.dtype == second.dtype
        if first.dtype.kind == "O":
            assert first.tolist() == second.tolist()
        else:
            assert first.tobytes() == second.tobytes()


def op_types(model: onnx.ModelProto) -> Counter[str]:
    """Returns how many nodes of each operator the graph has."""
    return Counter(node.op_type for node in model.graph.node)


def ints(*values: int) -> np.ndarray:
    """Returns a vector of int64."""
    return np.array(values, dtype=np.int64)


def _interface(value: onnx.ValueInfoProto) -> tuple[str, bytes, str]:
    return value.name, value.type.SerializeToString(deterministic=True), value.doc_string
