"""Putting one value in another's place without changing what the graph shows to the outside."""

from __future__ import annotations

import onnx_ir as ir


def substitute(graph: ir.Graph, old: ir.Value, new: ir.Value, before: ir.Node) -> ir.Value:
    """Makes every reader of `old`, graph outputs included, read `new`; an output keeps its name, type and shape.

    Args:
        graph: The graph of both values.
        old: The value to replace.
        new: The value in its place; it must be computed before any reader of `old`.
        before: The node in front of which an Identity goes where an output needs a value of its own.

    Returns:
        The value that is read now.
    """
    if old.is_graph_output():
        if new.producer() is None or new.is_graph_output() or new.producer() is before:
            copy = ir.node("Identity", [new])
            graph.insert_before(before, copy)
            new = copy.outputs[0]
        new.name, old.name = old.name, f"{old.name}_replaced"
        new.type, new.shape = old.type, old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    return new
