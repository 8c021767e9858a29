"""Rewrites what TensorRT's ONNX parser misreads, keeping the meaning.

Before: ``Slice(data, starts, ends)`` with fewer starts than axes; the standard lets the axes default to the first ones.
After: ``Slice(data, starts, ends, axes)`` with the axes spelt out.
Refused: nothing; a Slice whose number of starts is unknown stays.
Preserves: shapes, dtypes, names, values.
Source: measured, TensorRT-RTX 1.7.1 takes the axes to be all axes and reports that the shapes are misaligned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir


def adapt(model: ir.Model) -> bool:
    """Rewrites the model in place and returns whether it changed."""
    changed = False
    for graph in model.graphs():
        for node in graph:
            if node.op_type == "Slice" and node.domain in ("", "ai.onnx"):
                changed |= _spell_out_axes(model, graph, node)
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


def _length(value: ir.Value) -> int | None:
    if value.const_value is not None:
        return value.const_value.size
    if value.shape is not None and len(value.shape) == 1 and isinstance(value.shape[0], int):
        return value.shape[0]
    return None
