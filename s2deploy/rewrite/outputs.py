"""Putting one value in another's place without changing what the graph shows to the outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class Face:
    """What a graph output shows to the outside.

    Attributes:
        name: Its name.
        type: Its element type.
        shape: Its shape as the file states it.
        doc_string: Its description.
        metadata: Its metadata.
    """

    name: str | None
    type: ir.TypeProtocol | None
    shape: ir.Shape | None
    doc_string: str | None
    metadata: dict[str, str]


def faces(graph: ir.Graph) -> Sequence[Face]:
    """Returns what the outputs of a graph show, in order."""
    return [
        Face(
            value.name,
            value.type,
            None if value.shape is None else value.shape.copy(),
            value.doc_string,
            dict(value.metadata_props),
        )
        for value in graph.outputs
    ]


def restore(graph: ir.Graph, before: Sequence[Face]) -> None:
    """Gives the outputs of a graph the face they had."""
    for value, face in zip(graph.outputs, before, strict=True):
        value.name, value.type, value.shape, value.doc_string = face.name, face.type, face.shape, face.doc_string
        value.metadata_props.clear()
        value.metadata_props.update(face.metadata)


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


def splice(graph: ir.Graph, before: ir.Node, body: ir.Graph, inputs: Mapping[ir.Value, ir.Value]) -> Sequence[ir.Value]:
    """Moves the nodes of a body into the graph around it, in front of a node, and returns what the body gave.

    Args:
        graph: The graph.
        before: The node in front of which the nodes go.
        body: The body, empty afterwards.
        inputs: What its nodes read instead of its inputs.
    """
    hoist_initializers(graph, body)
    for inside, around in inputs.items():
        inside.replace_all_uses_with(around, replace_graph_outputs=True)
    given = list(body.outputs)
    body.outputs.clear()
    inner = list(body)
    body.remove(inner)
    graph.insert_before(before, inner)
    return given


def hoist_initializers(graph: ir.Graph, body: ir.Graph) -> None:
    """Moves the initializers of a body to the graph around it, under names that are free there."""
    for name, value in list(body.initializers.items()):
        body.initializers.pop(name)
        while value.name in graph.initializers:
            value.name = f"{value.name}_"
        graph.register_initializer(value)


def remove_with_bodies(graph: ir.Graph, node: ir.Node) -> None:
    """Removes a node that nothing reads; what its bodies read is free to go as well."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph().all_nodes():
                for position in range(len(inner.inputs)):
                    inner.replace_input_with(position, None)
    graph.remove(node, safe=True)


def remove_identities(graph: ir.Graph) -> None:
    """Removes the Identity nodes of a graph and its subgraphs, except where an output needs a value of its own."""
    for node in ir.traversal.RecursiveGraphIterator(graph):
        if node.op_type != "Identity" or node.domain != "" or node.graph is None or node.inputs[0] is None:
            continue
        source, copy = node.inputs[0], node.outputs[0]
        if copy.is_graph_output():
            producer = source.producer()
            if producer is None or producer.graph is not node.graph or source.is_graph_output():
                continue
            source.name, copy.name = copy.name, f"{copy.name}_replaced"
            source.type, source.shape = copy.type or source.type, copy.shape or source.shape
        copy.replace_all_uses_with(source, replace_graph_outputs=True)
        node.graph.remove(node, safe=True)
