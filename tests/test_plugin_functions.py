"""The functions that say what the operators of the plugins compute, against their reference."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rewriting import assert_close, assert_same_bits, session

from s2deploy import ops
from s2deploy.ops import Border, Configuration, Shift
from s2deploy.ops.schema import Op
from s2deploy.rewrite.plugin_functions import operator_node

SHIFTS = (Shift(0, 2, -1, 0), Shift(2, 3, 2, -1), Shift(4, 6, 0, 3))
SIZES = [(2, 4, 5), (1, 1, 1), (1, 2, 1), (3, 1, 2), (2, 7, 3)]


def of_operator(op: Op, configuration: Configuration, channels: int, dtype: ir.DataType) -> onnx.ModelProto:
    """Returns a file of one operator with its function."""
    inputs = []
    for tensor, rank in zip(op.inputs, (4, 3), strict=False):
        sizes = [f"{tensor.name}{axis}" for axis in range(rank)]
        inputs.append(ir.Value(name=tensor.name, type=ir.TensorType(dtype), shape=ir.Shape(sizes)))
    graph = ir.Graph(inputs, [], nodes=[], opset_imports={"": 20}, name="one")
    model = ir.Model(graph, ir_version=10)
    node = operator_node(model, op, configuration, channels, inputs)
    graph.append(node)
    pooled = op is ops.SHIFT_SUM_POOL
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT if pooled else dtype)
    node.outputs[0].shape = ir.Shape([f"y{axis}" for axis in range(2 if pooled else 4)])
    graph.outputs.append(node.outputs[0])
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    return proto


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("border", list(Border))
@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT, ir.DataType.FLOAT16])
def test_the_function_of_a_shift_is_its_reference(border: Border, dtype: ir.DataType, channels_last: bool) -> None:
    configuration = Configuration(SHIFTS, channels_last, border)
    run = session(of_operator(ops.SPATIAL_SHIFT, configuration, 7, dtype))
    rng = np.random.default_rng(0)
    for n, h, w in SIZES:
        x = rng.standard_normal((n, h, w, 7) if channels_last else (n, 7, h, w)).astype(dtype.numpy())
        assert_same_bits([ops.spatial_shift(configuration, x)], run.run(None, {"x": x}))


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_functions_of_the_sums_are_their_references(channels_last: bool) -> None:
    configuration = Configuration(SHIFTS, channels_last, branches=2)
    weighted = session(of_operator(ops.SHIFT_SUM, configuration, 5, ir.DataType.FLOAT))
    pooled = session(of_operator(ops.SHIFT_SUM_POOL, configuration, 5, ir.DataType.FLOAT))
    rng = np.random.default_rng(0)
    for n, h, w in SIZES:
        x = rng.standard_normal((n, h, w, 10) if channels_last else (n, 10, h, w)).astype(np.float32)
        weights = rng.standard_normal((n, 2, 5)).astype(np.float32)
        assert_close([ops.shift_sum(configuration, x, weights)], weighted.run(None, {"x": x, "w": weights}))
        assert_close([ops.shift_sum_pool(configuration, x)], pooled.run(None, {"x": x}))
