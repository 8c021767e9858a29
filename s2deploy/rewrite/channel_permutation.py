"""Giving a tensor's channels another order, in the constants it is computed with."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.initializers import add_initializer
from s2deploy.rewrite.layout_nodes import constant_shape, is_constant
from s2deploy.rewrite.reductions_nodes import reduced_by
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.rules_movement import int_attribute

_SMALL = 16
_MATRIX = 2


@dataclass(frozen=True)
class LinearInput:
    """A tensor whose channels a linear operator with constant weights sums over.

    Attributes:
        node: The operator.
        value: The tensor.
        axis: The axis of its channels; may count from the end.
        weights: The index of the operator's input that holds its weights.
        weights_axis: The axis of the weights that belongs to the channels.
    """

    node: ir.Node
    value: ir.Value
    axis: int
    weights: int
    weights_axis: int

    def reorder(self, order: Sequence[int]) -> None:
        """Makes the operator read the same channels in a new order.

        Args:
            order: Which old channel each new one is.
        """
        _reorder_constant(self.node, self.weights, self.weights_axis, order)


def input_order(node: ir.Node) -> LinearInput | None:
    """Returns what a linear operator with constant weights reads, None for any other node."""
    if node.domain != "" or len(node.inputs) < 2 or node.inputs[0] is None or node.inputs[1] is None:
        return None
    left, right = node.inputs[0], node.inputs[1]
    if node.op_type == "Conv" and _has_one_group(node) and is_constant(right):
        return LinearInput(node, left, 1, 1, 1)
    if node.op_type == "MatMul" and _is_matrix(right):
        return LinearInput(node, left, -1, 1, 0)
    if node.op_type == "MatMul" and _is_matrix(left):
        return LinearInput(node, right, -2, 0, 1)
    return None


def permutation_of(
    facts: Interpretation, value: ir.Value, axis: int, order: Sequence[int], readers: Collection[ir.Node]
) -> Callable[[], ir.Value]:
    """Returns what gives a tensor's channels another order and returns the tensor that has it.

    Args:
        facts: What is known of the graph.
        value: The tensor.
        axis: The axis of its channels.
        order: Which old channel each new one is.
        readers: The nodes that are to read the new order; any other is given the old one.

    Raises:
        NotMovementError: The order cannot be had for less than it saves; says why.
    """
    if _is_per_channel(facts.shape(value), axis):
        return lambda: _gathered(facts, value, axis, order)
    if value.is_graph_output():
        raise NotMovementError("channels that are an output")
    constants = list(_constants(facts, value, axis))
    others = [use.node for use in value.uses() if use.node not in readers]
    restored = [_small_after(facts, reader, axis) for reader in others]
    back = np.argsort(order).tolist()

    def apply() -> ir.Value:
        for node, index, constant_axis in constants:
            _reorder_constant(node, index, constant_axis, order)
        for small in restored:
            users = list(small.uses())
            ordered = _gathered(facts, small, axis, back)
            for use in users:
                use.node.replace_input_with(use.idx, ordered)
        return value

    return apply


def _is_per_channel(shape: Shape, axis: int) -> bool:
    """Whether a tensor has one element a channel and sample at most."""
    others = [size for index, size in enumerate(shape) if index != axis]
    return all(size == 1 for size in others[1:]) and (len(shape) > _MATRIX or others == [1])


def _constants(facts: Interpretation, value: ir.Value, axis: int) -> Iterator[tuple[ir.Node, int, int]]:
    """Yields the inputs that hold the constants which decide the order of a tensor's channels, with the axis of each.

    Raises:
        NotMovementError: There are none.
    """
    node = value.producer()
    refusal = NotMovementError("channels in an order that no constant decides")
    if node is None or node.domain != "" or len(node.inputs) < _MATRIX:
        raise refusal
    rank, inputs = len(facts.shape(value)), node.inputs
    if (
        node.op_type == "Conv"
        and axis == 1
        and _has_one_group(node)
        and all(given is None or is_constant(given) for given in inputs[1:])
    ):
        yield from ((node, index, 0) for index, given in enumerate(inputs) if index and given is not None)
    elif node.op_type == "MatMul" and axis == rank - 1 and _is_matrix(inputs[1]):
        yield node, 1, 1
    elif node.op_type == "MatMul" and axis == rank - 2 and _is_matrix(inputs[0]):
        yield node, 0, 0
    elif node.op_type == "Reshape" and inputs[0] is not None and is_read_once(inputs[0]):
        before = axis - rank + len(facts.shape(inputs[0])) if axis == rank - 1 else axis
        if not is_kept(facts.shape(inputs[0]), before, facts.shape(value), axis):
            raise refusal
        yield from _constants(facts, inputs[0], before)
    elif node.op_type == "Add" and sum(map(is_constant, inputs)) == 1:
        constant = 0 if is_constant(inputs[0]) else 1
        added, other = inputs[constant], inputs[1 - constant]
        assert added is not None
        assert other is not None
        own = axis - rank + len(facts.shape(added))
        is_whole = len(facts.shape(other)) == rank and facts.shape(other)[axis] == facts.shape(value)[axis]
        if not is_read_once(other) or not is_whole:
            raise refusal
        if own >= 0 and facts.shape(added)[own] != 1:
            yield node, constant, own
        yield from _constants(facts, other, axis)
    else:
        raise refusal


def is_read_once(value: ir.Value) -> bool:
    """Whether nothing but one node reads a tensor, so that it may be another one."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def is_kept(before: Shape, axis: int, after: Shape, new_axis: int) -> bool:
    """Whether a Reshape keeps an axis, if there is such a one: all before it, or all behind it, stays as it is."""
    if not 0 <= axis < len(before) or before[axis] != after[new_axis]:
        return False
    return before[:axis] == after[:new_axis] or before[axis + 1 :] == after[new_axis + 1 :]


def _small_after(facts: Interpretation, node: ir.Node, axis: int) -> ir.Value:
    """Returns the first tensor on the way from a node on that is small and has its channels on the same axis.

    Raises:
        NotMovementError: There is none.
    """
    for _ in range(4):
        is_here = node.graph is facts.graph and not node.outputs[0].is_graph_output()
        if not is_here or not _keeps_channels(facts, node, axis):
            break
        shape = facts.shape(node.outputs[0])
        behind = shape[axis + 1 :]
        known = [size for size in behind if isinstance(size, int)]
        if len(known) == len(behind) and math.prod(known) <= _SMALL:
            return node.outputs[0]
        uses = node.outputs[0].uses()
        if len(uses) != 1:
            break
        node = next(iter(uses)).node
    raise NotMovementError("channels that another operator reads")


def _keeps_channels(facts: Interpretation, node: ir.Node, axis: int) -> bool:
    """Whether every channel of the first output is computed from the same channel of the first input."""
    if node.domain != "" or node.inputs[0] is None:
        return False
    before, after = facts.shape(node.inputs[0]), facts.shape(node.outputs[0])
    if before[: axis + 1] != after[: axis + 1]:
        return False
    if node.op_type == "MatMul":
        return axis < len(before) - 1 and _is_matrix(node.inputs[1])
    if node.op_type in ("ReduceSum", "ReduceMean"):
        axes = reduced_by(node, facts)
        return axes is not None and all(reduced > axis for reduced in axes)
    return node.op_type == "Reshape"


def _gathered(facts: Interpretation, value: ir.Value, axis: int, order: Sequence[int]) -> ir.Value:
    graph = facts.graph
    indices = add_initializer(graph, f"{value.name}_order", np.array(order, np.int64))
    node = ir.node("Gather", [value, indices], {"axis": axis})
    node.outputs[0].type, node.outputs[0].shape = value.type, None if value.shape is None else value.shape.copy()
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(producer, node)
    facts.visit(node)
    return node.outputs[0]


def _reorder_constant(node: ir.Node, index: int, axis: int, order: Sequence[int]) -> None:
    constant = node.inputs[index]
    assert constant is not None
    assert constant.const_value is not None
    ordered = np.ascontiguousarray(np.take(constant.const_value.numpy(), order, axis))
    assert isinstance(node.graph, ir.Graph)
    node.replace_input_with(index, add_initializer(node.graph, f"{constant.name}_ordered", ordered))


def _has_one_group(node: ir.Node) -> bool:
    return int_attribute(node, "group", 1) == 1


def _is_matrix(value: ir.Value | None) -> bool:
    return len(constant_shape(value) or ()) == _MATRIX
