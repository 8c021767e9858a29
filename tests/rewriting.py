"""What the tests of the rewriter share: rewrite a model, run both on onnxruntime, compare bit by bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from s2deploy.rewrite import REORDERING, Changes, RewriteReport, rewrite
from s2deploy.specs import Dim

Sizes = Mapping[str, int]


def rewritten(model: onnx.ModelProto, ranges: Mapping[str, Dim] | None = None) -> tuple[onnx.ModelProto, RewriteReport]:
    """Returns a rewritten copy of a model, which must be valid, and the report."""
    result, report, _ = _rewritten(model, ranges)
    return result, report


def check(
    model: onnx.ModelProto, *sizes: Sizes, ranges: Mapping[str, Dim] | None = None
) -> tuple[onnx.ModelProto, RewriteReport]:
    """Rewrites a model and asserts everything a rewrite must preserve.

    That is the interface of the model, every output bit by bit at the given sizes of its named dimensions, and that a
    second rewrite gives the same file. Where a pass put sums in another order, floating-point outputs may differ by
    2e-5 of the largest value, float64 by 1e-12 of it.
    """
    result, report, reordered = _rewritten(model, ranges)
    assert [_interface(value) for value in result.graph.input] == [_interface(value) for value in model.graph.input]
    assert [_interface(value) for value in result.graph.output] == [_interface(value) for value in model.graph.output]
    before, after = session(model), session(result)
    for at in sizes or ({},):
        given = feeds(model, at)
        if reordered:
            given = {name: np.nan_to_num(array) if array.dtype.kind == "f" else array for name, array in given.items()}
        compared = assert_close if reordered else assert_same_bits
        compared(before.run(None, given), after.run(None, given))
    again, _ = rewritten(result, ranges)
    assert again.SerializeToString(deterministic=True) == result.SerializeToString(deterministic=True)
    return result, report


def _rewritten(model: onnx.ModelProto, ranges: Mapping[str, Dim] | None) -> tuple[onnx.ModelProto, RewriteReport, bool]:
    graph, changes = ir.from_proto(model), Changes()
    report = rewrite(graph, ranges, changes=changes)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result)
    return result, report, any(change.part and change.pass_name in REORDERING for change in changes.made)


def assert_close(expected: Sequence[np.ndarray], actual: Sequence[np.ndarray]) -> None:
    """Asserts equal shapes, types and integers, and floating-point values as close as another order of sums gives."""
    for first, second in zip(expected, actual, strict=True):
        if first.dtype.kind != "f":
            assert_same_bits([first], [second])
        assert (first.shape, first.dtype) == (second.shape, second.dtype)
        share = 1e-12 if first.dtype == np.float64 else 2e-5 if first.dtype == np.float32 else 4e-3
        assert not first.size or np.abs(first - second).max() <= share * np.abs(first).max()


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
