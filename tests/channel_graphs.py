"""Small graphs of linear maps and shifts of some of their channels, written node by node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common
from rewriting import feeds, session

from s2deploy.rewrite.channel_order import order_channels
from s2deploy.rewrite.refusals import Refusal

TOLERANCE = 2e-6
DOWN, UP, RIGHT, LEFT = (1, 0, -1, 0), (-1, 0, 1, 0), (0, 1, 0, -1), (0, -1, 0, 1)
"""What a Pad adds at the top, left, bottom and right."""


class Graph:
    """Nodes by and by, with constants written in place."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(0)

    def add(self, op_type: str, *inputs: str | np.ndarray, name: str = "", **attributes: object) -> str:
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, names, [output], name=f"n{len(self.nodes)}", **attributes))
        return output

    def conv(self, data: str, inputs: int, outputs: int, name: str = "") -> str:
        weights = self.rng.standard_normal((outputs, inputs, 1, 1)).astype(np.float32) / inputs
        return self.add("Conv", data, weights, self.rng.standard_normal(outputs).astype(np.float32), name=name)

    def shift(self, data: str, start: int, size: int, total: int, to: Sequence[int]) -> str:
        top, left, bottom, right = to
        pads = [0, -start, top, left, 0, start + size - total, bottom, right]
        return self.add("Pad", data, np.array(pads, np.int64), mode="edge")

    def cut(self, data: str, start: int, end: int, axis: int = 1, name: str = "") -> str:
        return self.add("Slice", data, *(np.array([bound], np.int64) for bound in (start, end, axis)), name=name)

    def split(self, data: str, sizes: Sequence[int], axis: int = 1) -> list[str]:
        outputs = [f"t{len(self.nodes)}_{index}" for index in range(len(sizes))]
        self.add("Split", data, np.array(sizes, np.int64), name=outputs[0], axis=axis)
        self.nodes[-1].output.extend(outputs[1:])
        return outputs

    def model(self, shape: Sequence[int | str], *outputs: str) -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", inputs, given, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

    def _constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name


def ordered(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[Refusal]]:
    """Returns a model with its channels in order, and what was left alone."""
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    refusals = order_channels(graph.graph, {})
    common.RemoveUnusedNodesPass()(graph)
    common.NameFixPass()(graph)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result, full_check=True)
    return result, refusals


def assert_close(model: onnx.ModelProto, result: onnx.ModelProto, **sizes: int) -> None:
    given = feeds(model, sizes)
    given = {name: np.nan_to_num(array, posinf=2, neginf=-2) for name, array in given.items()}
    for old, new in zip(session(model).run(None, given), session(result).run(None, given), strict=True):
        assert old.shape == new.shape
        np.testing.assert_allclose(new, old, rtol=0, atol=TOLERANCE * (abs(old).max() if old.size else 1))
