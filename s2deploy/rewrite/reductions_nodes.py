"""The reductions of a graph: what they reduce, over which axes, and those in a row as one."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.rules_movement import int_attribute, ints_attribute
from s2deploy.rewrite.views import reduced_axes, without


@dataclass(frozen=True)
class Reduction:
    """One or more reductions of one kind, each of what the one before gives.

    Attributes:
        op_type: The operator.
        data: What is reduced.
        axes: Over which axes of it, ascending.
        chain: The nodes, in order, with the views between them.
    """

    op_type: str
    data: ir.Value
    axes: tuple[int, ...]
    chain: tuple[ir.Node, ...]

    @property
    def node(self) -> ir.Node:
        """The first node."""
        return self.chain[0]

    @property
    def output(self) -> ir.Value:
        """What the last one gives."""
        return self.chain[-1].outputs[0]


def reduction_of(node: ir.Node, facts: Interpretation) -> Reduction | None:
    """Returns the reduction that a node begins, None where its axes or shapes are not known.

    One that something other than the next reduction reads is the last.
    """
    data, axes = node.inputs[0] if node.inputs else None, reduced_by(node, facts)
    if data is None or axes is None or facts.known_shape(node.outputs[0]) is None:
        return None
    chain = [node]
    while True:
        output = chain[-1].outputs[0]
        users = {use.node for use in output.uses()}
        if output.is_graph_output() or len(users) != 1:
            break
        (reader,) = users
        more = reduced_by(reader, facts) if reader.op_type == node.op_type and reader.graph is facts.graph else None
        if more is None or facts.known_shape(reader.outputs[0]) is None:
            break
        kept = [axis for axis in range(len(facts.shape(data))) if axis not in axes]
        left = without(facts.shape(data), axes)
        inner = reduced_axes(left, facts.shape(output), more)
        if inner is None:
            break
        axes = tuple(sorted((*axes, *(kept[axis] for axis in inner))))
        chain.append(reader)
    return Reduction(node.op_type, data, axes, tuple(chain))


def reduced_by(node: ir.Node, facts: Interpretation) -> tuple[int, ...] | None:
    """Returns the axes a reduction reduces over, ascending; None where they are not known."""
    shape = None if not node.inputs or node.inputs[0] is None else facts.known_shape(node.inputs[0])
    if shape is None or node.domain != "" or not node.op_type.startswith("Reduce"):
        return None
    axes = ints_attribute(node, "axes")
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        constant = node.inputs[1].const_value
        if constant is None or node.inputs[1].is_graph_input():
            return None
        axes = tuple(int(axis) for axis in constant.numpy().reshape(-1))
    if not axes:
        return () if int_attribute(node, "noop_with_empty_axes", 0) else tuple(range(len(shape)))
    if any(not -len(shape) <= axis < len(shape) for axis in axes):
        return None
    return tuple(sorted({axis % len(shape) for axis in axes}))
