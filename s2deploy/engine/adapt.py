"""Rewrites what TensorRT's ONNX parser misreads, and what TensorRT trips over, keeping the meaning.

Before: ``Slice(data, starts, ends)`` with fewer starts than axes; the standard lets the axes default to the first ones.
After: ``Slice(data, starts, ends, axes)`` with the axes spelt out.
Refused: nothing; a Slice whose number of starts is unknown stays.
Preserves: shapes, dtypes, names, values.
Source: measured, TensorRT-RTX 1.7.1 takes the axes to be all axes and reports that the shapes are misaligned.

Before: ``LSTM(x, ...)``, or a GRU or RNN, where `x` is the result of a Cast, or of one that is moved.
After: ``LSTM(Add(x, 0), ...)``.
Refused: nothing.
Preserves: shapes, dtypes, names, values; -0 becomes 0.
Source: measured, TensorRT-RTX 1.7.1 takes the Cast into the loop over time and then reads a step as the whole sequence
(`Mismatched number of elements in reshape`). It drops a multiplication by 1 and an Identity, an addition of 0 stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from s2deploy.precision.graph import RECURRENT_OPERATORS

if TYPE_CHECKING:
    import onnx_ir as ir


_MOVING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Identity", "Flatten", "Gather", "Expand")


def adapt(model: ir.Model) -> bool:
    """Rewrites the model in place and returns whether it changed."""
    changed = False
    for graph in model.graphs():
        for node in graph:
            if node.op_type == "Slice" and node.domain in ("", "ai.onnx"):
                changed |= _spell_out_axes(model, graph, node)
            elif node.op_type in RECURRENT_OPERATORS and node.domain in ("", "ai.onnx"):
                changed |= _part_from_cast(model, graph, node)
    return changed


def _spell_out_axes(model: ir.Model, graph: ir.Graph, node: ir.Node) -> bool:
    import onnx_ir as ir

    has_axes = len(node.inputs) > 3 and node.inputs[3] is not None
    starts = node.inputs[1] if len(node.inputs) > 1 else None
    if has_axes or starts is None:
        return False
    count = _length(starts)
    if count is None:
        return False
    name = f"s2deploy_first_{count}_axes"
    axes = model.graph.initializers.get(name)
    if axes is None:
        tensor = ir.tensor(np.arange(count, dtype=np.int64), name=name)
        axes = ir.Value(name=name, const_value=tensor, shape=ir.Shape([count]), type=ir.TensorType(ir.DataType.INT64))
        model.graph.register_initializer(axes)
    # axes must have the type of starts; every exporter writes int64
    if starts.dtype not in (None, ir.DataType.INT64):
        return False
    if len(node.inputs) < 4:
        node.resize_inputs(4)
    node.replace_input_with(3, axes)
    return True


def _part_from_cast(model: ir.Model, graph: ir.Graph, node: ir.Node) -> bool:
    import onnx_ir as ir

    sequence = node.inputs[0]
    maker = None if sequence is None else sequence.producer()
    while maker is not None and maker.op_type in _MOVING:
        maker = None if maker.inputs[0] is None else maker.inputs[0].producer()
    if sequence is None or sequence.dtype is None or maker is None or maker.op_type != "Cast":
        return False
    name = f"s2deploy_zero_{sequence.dtype.name.lower()}"
    zero = model.graph.initializers.get(name)
    if zero is None:
        tensor = ir.tensor(np.zeros((), sequence.dtype.numpy()), name=name)
        zero = ir.Value(name=name, const_value=tensor, shape=ir.Shape([]), type=ir.TensorType(sequence.dtype))
        model.graph.register_initializer(zero)
    apart = ir.node("Add", [sequence, zero], name=f"{node.name}/apart")
    apart.outputs[0].name = f"{sequence.name}/apart"
    apart.outputs[0].type, apart.outputs[0].shape = sequence.type, sequence.shape
    graph.insert_before(node, apart)
    node.replace_input_with(0, apart.outputs[0])
    return True


def _length(value: ir.Value) -> int | None:
    if value.const_value is not None:
        return value.const_value.size
    if value.shape is not None and len(value.shape) == 1 and isinstance(value.shape[0], int):
        return value.shape[0]
    return None
