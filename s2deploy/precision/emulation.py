"""A 16-bit graph as one of float32 that rounds where the other one does, so that a CPU can measure it.

Before: a typed graph; onnxruntime's CPU provider runs most of its operators in float32 without rounding between
them (fp16), or not at all (bf16).
After: every 16-bit value is float32; behind every operator that computes, a Cast to the 16-bit type and back, which
onnxruntime keeps because it loses precision. Operators that only move or choose elements round nothing.
Preserves: names of nodes and values: a value of the typed graph is, under its name, the rounded one.
Stands for: kernels that accumulate in float32 and round their result once, as TensorRT's do by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from s2deploy.precision.graph import retyped

if TYPE_CHECKING:
    import onnx_ir as ir

_EXACT = frozenset({
    "Abs", "Compress", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements",
    "GatherND", "Identity", "If", "Loop", "Max", "MaxPool", "Min", "Neg", "Pad", "ReduceMax", "ReduceMin", "Relu",
    "Reshape", "ReverseSequence", "Scan", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose",
    "SpatialShift", "Unsqueeze", "Where",
})  # fmt: skip


def emulated(typed: ir.Model) -> ir.Model:
    """Returns a float32 model that computes what a typed one does; its 16-bit inputs and outputs are float32."""
    import onnx_ir as ir

    model = typed.clone()
    for graph in list(model.graphs()):
        for node in list(graph):
            _widen_attributes(node)
            kinds = {value.dtype for value in node.outputs if value.dtype in _sixteen_bits()}
            if node.op_type in _EXACT or not kinds:
                continue
            for value in node.outputs:
                read = value.uses() or value.is_graph_output()
                if read and value.dtype in kinds and isinstance(value.type, ir.TensorType):
                    _round(graph, node, value)
        for value in graph.inputs:
            if value.dtype in _sixteen_bits() and graph is model.graph:
                _round(graph, None, value)
    for graph in model.graphs():
        for value in (*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)):
            if value.const_value is not None and value.const_value.dtype in _sixteen_bits():
                value.const_value = _widened(value.const_value)
            if value.dtype in _sixteen_bits() and not _rounds(value):
                value.type = retyped(value.type, ir.DataType.FLOAT)
    return model


def _sixteen_bits() -> tuple[ir.DataType, ir.DataType]:
    import onnx_ir as ir

    return ir.DataType.FLOAT16, ir.DataType.BFLOAT16


def _rounds(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.op_type == "Cast" and str(node.name).endswith("/rounds")


def _round(graph: ir.Graph, node: ir.Node | None, value: ir.Value) -> None:
    """Puts a Cast to the 16-bit type and one back behind a value; the name goes to the result of a node."""
    import onnx_ir as ir

    kind = value.dtype
    assert kind is not None
    name = value.name
    narrow = ir.Value(name=f"{name}/narrow", type=ir.TensorType(kind), shape=value.shape)
    wide = ir.Value(name=f"{name}/wide", type=ir.TensorType(ir.DataType.FLOAT), shape=value.shape)
    value.replace_all_uses_with(wide, replace_graph_outputs=True)
    if node is not None:
        value.name = f"{name}/exact"
        wide.name = name
    casts = [
        ir.node("Cast", [value], attributes={"to": int(kind)}, outputs=[narrow], name=f"{name}/rounds"),
        ir.node("Cast", [narrow], attributes={"to": 1}, outputs=[wide], name=f"{name}/widens"),
    ]
    if node is not None:
        graph.insert_after(node, casts)
    else:
        graph.insert_before(graph[0], casts)


def _widened(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """Returns a 16-bit weight as float32, made when it is read and not kept."""
    import onnx_ir as ir

    def widen() -> ir.TensorProtocol:
        return ir.Tensor(np.asarray(tensor.numpy()).astype(np.float32), name=tensor.name)

    return ir.LazyTensor(widen, dtype=ir.DataType.FLOAT, shape=ir.Shape(tensor.shape.numpy()), name=tensor.name)


def _widen_attributes(node: ir.Node) -> None:
    import onnx_ir as ir

    for attribute in list(node.attributes.values()):
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in _sixteen_bits():
            wide = ir.Tensor(np.asarray(attribute.value.numpy()).astype(np.float32), name=attribute.value.name)
            node.attributes.add(ir.AttrTensor(attribute.name, wide))
        elif attribute.name in ("to", "dtype") and attribute.value in tuple(map(int, _sixteen_bits())):
            node.attributes.add(ir.AttrInt64(attribute.name, int(ir.DataType.FLOAT)))
