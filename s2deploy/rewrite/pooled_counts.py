"""How often every position of a tensor is counted in a sum over all positions of what movement makes of it.

A sum over all positions counts each of them once. Going back from the sum to the tensor, what a movement reads twice
is counted twice, and what it drops is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from s2deploy.rewrite.channel_segments import Applied, Expression, Leaf, Shared, pads_of, slices_of
from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Coord
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.layout_nodes import is_constant
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.rules_movement import int_attribute

Dense = npt.NDArray[Any]
"""A number for every position."""
Strip = tuple[int, ...]
"""Per axis 0 for all of it, k for the first k and -k for the last k positions."""
Strips = Mapping[Strip, int]
"""A number for every strip."""
Count = TypeVar("Count")
Back = Callable[[Interpretation, ir.Node, Sequence[int], Count], Sequence[Count]]

_OUTSIDE = -1
_ADDS = frozenset({"Add", "Sum"})


def counted(
    facts: Interpretation, expression: Expression, axes: Sequence[int], count: Count, back: Back[Count]
) -> Iterator[tuple[Leaf, Count]]:
    """Yields what an expression is computed from, with how often each position is counted.

    Args:
        facts: Shapes of the values.
        expression: The expression.
        axes: The axes that hold the positions.
        count: How often every position of the expression is counted.
        back: Gives the same for the operands of a node.

    Raises:
        NotMovementError: Something is neither movement nor a sum.
    """
    if isinstance(expression, Leaf):
        yield expression, count
    elif isinstance(expression, Applied):
        for argument, own in zip(expression.arguments, back(facts, expression.node, axes, count), strict=True):
            yield from counted(facts, argument, axes, own, back)
    else:
        assert isinstance(expression, Shared)
        raise NotMovementError("an operand that has no channels of its own")


def positions_before(facts: Interpretation, node: ir.Node, axes: Sequence[int], count: Dense) -> list[Dense]:
    """Returns how often every position of a node's operands is counted.

    Raises:
        NotMovementError: The node is neither movement of positions nor a sum.
    """
    if node.op_type in _ADDS:
        return _of_operands(facts, node, count)
    rank = len(facts.shape(node.outputs[0]))
    if node.op_type == "Concat":
        along = int_attribute(node, "axis", 0) % rank
        if along not in axes:
            raise _unknown(node)
        sizes = [_positions(facts.shape(value), axes)[axes.index(along)] for value in node.inputs]
        return list(np.split(count, np.cumsum(sizes)[:-1], axes.index(along)))
    shape = _positions(facts.shape(node.inputs[0]), axes)
    places = np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)
    if node.op_type == "Slice":
        bounds = slices_of(node, rank)
        if bounds is None or not set(bounds) <= {*axes, _channel(axes, rank)}:
            raise _unknown(node)
        taken = places[tuple(_slice(*bounds.get(a, (0, n, 1)), n) for a, n in zip(axes, shape, strict=True))]
    elif node.op_type == "Pad":
        pads = _spatial_pads(node, axes, rank)
        mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
        cut = places[tuple(slice(max(-a, 0), max(n + min(b, 0), 0)) for (a, b), n in zip(pads, shape, strict=True))]
        widths = [(max(a, 0), max(b, 0)) for a, b in pads]
        if mode == "constant" and _fills_with_zero(node):
            taken = np.pad(cut, widths, constant_values=_OUTSIDE)
        elif mode == "edge" and cut.size:
            taken = np.pad(cut, widths, mode="edge")
        else:
            raise _unknown(node)
    else:
        raise _unknown(node)
    if taken.shape != count.shape:
        raise NotMovementError(f"a {node.op_type} of another size than is stated")
    inside = taken != _OUTSIDE
    found = np.bincount(taken[inside], weights=count[inside], minlength=places.size)
    return [np.rint(found).astype(np.int64).reshape(shape)]


def strips_before(facts: Interpretation, node: ir.Node, axes: Sequence[int], count: Strips) -> list[Strips]:
    """Returns the same in strips, for axes of any size.

    Raises:
        NotMovementError: The node is neither a shift with a replicated border, written as a Pad, nor a sum.
    """
    if node.op_type in _ADDS:
        return _of_operands(facts, node, count)
    rank = len(facts.shape(node.outputs[0]))
    if node.op_type != "Pad" or "mode" not in node.attributes or node.attributes["mode"].as_string() != "edge":
        raise _unknown(node)
    for place, (front, behind) in enumerate(_spatial_pads(node, axes, rank)):
        if front + behind != 0:
            raise NotMovementError("a Pad of positions of unknown number that does not keep it")
        if front:
            doubled, dropped = (1, -front) if front > 0 else (-1, -front)
            moved: dict[Strip, int] = {}
            for strip, number in count.items():
                for own, times in ((0, 1), (doubled, abs(front)), (dropped, -1)):
                    key = (*strip[:place], own, *strip[place + 1 :])
                    moved[key] = moved.get(key, 0) + number * times
            count = {strip: number for strip, number in moved.items() if number}
    return [count]


def _of_operands(facts: Interpretation, node: ir.Node, count: Count) -> list[Count]:
    """Returns how often the positions of a sum's operands are counted: as often as its own."""
    shape = facts.shape(node.outputs[0])
    if any(facts.shape(operand) != shape for operand in node.inputs if not is_constant(operand)):
        raise NotMovementError("an operand that is broadcast")
    return [count] * len(node.inputs)


def _spatial_pads(node: ir.Node, axes: Sequence[int], rank: int) -> list[tuple[int, int]]:
    """Returns what a Pad adds in front of and behind the axes of the positions."""
    pads = pads_of(node)
    others = set(range(rank)) - {*axes, _channel(axes, rank)}
    if pads is None or len(pads) != 2 * rank or any(pads[axis] or pads[rank + axis] for axis in others):
        raise _unknown(node)
    return [(pads[axis], pads[rank + axis]) for axis in axes]


def _slice(start: int, end: int, step: int, size: int) -> slice:
    """Returns what a Slice takes; backwards from before the first position it takes that one, unlike Python."""
    return slice(max(start, -size), end, step)


def _fills_with_zero(node: ir.Node) -> bool:
    fill = node.inputs[2] if len(node.inputs) > 2 else None
    return fill is None or (is_constant(fill) and fill.const_value is not None and not fill.const_value.numpy().any())


def _channel(axes: Sequence[int], rank: int) -> int:
    """Returns the axis that is neither the batch nor one of the positions."""
    (channel,) = set(range(1, rank)) - set(axes)
    return channel


def _positions(shape: Shape, axes: Sequence[int]) -> tuple[int, ...]:
    sizes: list[Coord] = [shape[axis] for axis in axes]
    known = tuple(size for size in sizes if isinstance(size, int))
    if len(known) < len(sizes):
        raise NotMovementError("positions of unknown number")
    return known


def _unknown(node: ir.Node) -> NotMovementError:
    return NotMovementError(f"a {node.op_type} between the map and the sum")
