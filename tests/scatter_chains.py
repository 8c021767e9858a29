"""Long chains of ScatterND assignments."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def rows(count: int) -> onnx.ModelProto:
    """Returns a model that writes every row of a tensor once, in a random order, one ScatterND each."""
    order = np.random.default_rng(0).permutation(count)
    constants = {f"i{k}": np.array([[row]]) for k, row in enumerate(order)}
    constants |= {f"c{k}": np.array([k]) for k in range(count + 1)}
    nodes = []
    for k in range(count):
        nodes.append(helper.make_node("Slice", ["u", f"c{k}", f"c{k + 1}"], [f"s{k}"]))
        nodes.append(helper.make_node("ScatterND", [f"y{k}", f"i{k}", f"s{k}"], [f"y{k + 1}"]))
    return _model(nodes, constants, count, {"y0": [count, 4], "u": [count, 4]}, [count, 4])


def shifts(count: int, size: int = 8) -> onnx.ModelProto:
    """Returns a model that shifts the rows of a small tensor down by one, over and over."""
    constants = {"i": np.arange(1, size).reshape(-1, 1), "zero": np.array([0]), "end": np.array([size - 1])}
    nodes = []
    for k in range(count):
        nodes.append(helper.make_node("Slice", [f"y{k}", "zero", "end"], [f"s{k}"]))
        nodes.append(helper.make_node("ScatterND", [f"y{k}", "i", f"s{k}"], [f"y{k + 1}"]))
    return _model(nodes, constants, count, {"y0": [size, 4]}, [size, 4])


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    count: int,
    inputs: dict[str, list[int]],
    output: list[int],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(f"y{count}", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def nested(count: int) -> onnx.ModelProto:
    """Returns a model that writes boxes within boxes around one corner."""
    size = count + 2
    constants, nodes = {}, []
    for k in range(1, count + 1):
        index = np.stack(np.meshgrid(range(k, size), range(k, size), indexing="ij"), axis=-1)
        constants |= {f"i{k}": index, f"u{k}": np.full((size - k, size - k), k, np.float32)}
        nodes.append(helper.make_node("ScatterND", [f"y{k - 1}", f"i{k}", f"u{k}"], [f"y{k}"]))
    return _model(nodes, constants, count, {"y0": [size, size]}, [size, size])
