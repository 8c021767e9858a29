"""Nodes whose shapes ONNX can infer, in place of operators of the plugins: for estimates, never for a build.

Before: operators of `s2deploy.ops`, without functions, behind which shape inference knows nothing.
After: operators of the standard with outputs of the same shape, type and name; the values are others.
Refused: an operator on a tensor whose number of channels is not known stays.
Preserves: names of nodes and values, shapes, dtypes.
Source: the shape rules of `s2deploy.ops.schema`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from s2deploy.ops import SHIFT_SUM_POOL, SPATIAL_SHIFT, Op, op_named

if TYPE_CHECKING:
    import onnx_ir as ir


def with_stand_ins(model: ir.Model) -> None:
    """Replaces the operators in place."""
    for node in list(model.graph):
        op = op_named(node.domain, node.op_type)
        if op is not None:
            _replace(model.graph, node, op)


def _replace(graph: ir.Graph, node: ir.Node, op: Op) -> None:
    import onnx_ir as ir

    def ints(name: str, values: list[int]) -> ir.Value:
        value = ir.val(f"{node.name}/{name}", const_value=ir.tensor(np.array(values, np.int64)))
        graph.register_initializer(value)
        return value

    x, y = node.inputs[0], node.outputs[0]
    last = bool(node.attributes.get_int("channels_last", 0))
    channels = None if x is None or x.shape is None else x.shape[3 if last else 1]
    if x is None or not isinstance(channels, int):
        return
    if op is SPATIAL_SHIFT:
        new = [ir.node("Abs", [x])]
    else:
        summed, axis = x, 3 if last else 1
        new = []
        if op is SHIFT_SUM_POOL:
            new.append(ir.node("ReduceSum", [x, ints("places", [1, 2] if last else [2, 3])], {"keepdims": 0}))
            summed, axis = new[0].outputs[0], 1
            summed.name, summed.type = f"{node.name}/pooled", x.type
        each = channels // node.attributes.get_int("branches", 1)
        new.append(ir.node("Slice", [summed, ints("from", [0]), ints("to", [each]), ints("axis", [axis])]))
        if op is SHIFT_SUM_POOL:
            new.append(ir.node("Cast", [new[-1].outputs[0]], {"to": int(ir.DataType.FLOAT)}))
            new[-2].outputs[0].name, new[-2].outputs[0].type = f"{node.name}/part", x.type
    for number, one in enumerate(new[:-1]):
        one.name = f"{node.name}/{number}"
    new[-1].name = node.name
    result = new[-1].outputs[0]
    result.name, result.type, result.shape = y.name, y.type, y.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, [y], [result])
