"""Movement and integer arithmetic that is computed twice.

Before: two nodes with the same operator, inputs and attributes; equal constants of a few numbers are one input. After:
one of them, read by the readers of both.
Requires: an operator with a rule in `rules.py`, which therefore gives the same for the same; anything else, random
numbers and operators of other domains among them, is left alone. Keeps a node whose output is a graph output.
Preserves every value, and the names and types of inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.rules import RULES

_STEERING = 16


def remove_duplicates(graph: ir.Graph) -> int:
    """Removes the duplicates of one graph, subgraphs left alone, and returns how many there were."""
    first: dict[Hashable, ir.Node] = {}
    removed = 0
    for node in graph:
        key = _key(node)
        if key is None:
            continue
        twin = first.setdefault(key, node)
        if twin is node or any(value.is_graph_output() for value in node.outputs):
            continue
        for old, new in zip(node.outputs, twin.outputs, strict=True):
            old.replace_all_uses_with(new)
        graph.remove(node, safe=True)
        removed += 1
    return removed


def _key(node: ir.Node) -> Hashable:
    """Returns what two nodes that compute the same have in common, None where that is not known."""
    if node.domain != "" or node.op_type not in RULES:
        return None
    attributes = tuple(
        (name, ir.serde.serialize_attribute(node.attributes[name]).SerializeToString(deterministic=True))
        for name in sorted(node.attributes)
    )
    return (
        node.op_type,
        tuple(map(_operand, node.inputs)),
        attributes,
        tuple(bool(value.name) for value in node.outputs),
    )


def _operand(value: ir.Value | None) -> Hashable:
    """Returns what two operands that are the same have in common: equal constants that steer nodes are."""
    tensor = None if value is None or value.is_graph_input() else value.const_value
    if tensor is None or tensor.size > _STEERING or tensor.dtype == ir.DataType.STRING:
        return id(value)
    return tensor.dtype, tuple(np.shape(tensor)), tensor.numpy().tobytes()
