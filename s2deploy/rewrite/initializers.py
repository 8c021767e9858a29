"""Constants that rewrites add to a graph."""

from __future__ import annotations

import onnx_ir as ir

from s2deploy.rewrite.constants import Array


def add_initializer(graph: ir.Graph, name: str, elements: Array | ir.TensorProtocol) -> ir.Value:
    """Adds an initializer with the given elements, under the name or the next one that is free, and returns it."""
    key, base = f"s2deploy.numbered {name}", name
    number = graph.meta.get(key, 1)
    while name in graph.initializers:  # counted on from the last one: a large graph has thousands of some
        number += 1
        name = f"{base}_{number}"
    graph.meta[key] = number
    tensor = elements if isinstance(elements, ir.TensorProtocol) else ir.Tensor(elements, name=name)
    tensor.name = name
    value = ir.Value(
        name=name,
        shape=ir.Shape([int(str(size)) for size in tensor.shape]),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value
