"""Constants that rewrites add to a graph."""

from __future__ import annotations

import onnx_ir as ir

from s2deploy.rewrite.constants import Array


def add_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Adds an initializer with the given elements, under the name or the next one that is free, and returns it."""
    while name in graph.initializers:
        name += "_"
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
