"""Values as pieces along their channels: which channels of which tensors each piece is computed from.

A value that is computed channel by channel (arithmetic of equal or broadcast channels, movement along other axes,
Concat and Slice of channels) is a sequence of segments, each an expression over segments of other values.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.coordinates import UndecidedError
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.layout_nodes import is_constant
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.rules_movement import int_attribute

COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min", "Sum"})
_ELEMENTWISE = COMMUTATIVE | frozenset(
    {"Sub", "Div", "Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Sqrt", "Exp", "Erf", "Gelu", "HardSigmoid", "HardSwish"}
)

_DEEPEST = 32
_LARGEST = 1024
"""What is read several times is written out as often, which doubles from node to node: ``y = y * y``."""


@dataclass(frozen=True)
class Leaf:
    """Channels ``start`` to ``start + size`` of a value, along its axis ``axis``.

    Attributes:
        number: The same for the same value, and for the same graph in every run.
    """

    value: ir.Value
    number: int
    axis: int
    start: int
    size: int


@dataclass(frozen=True)
class Shared:
    """A value that every channel reads alike, because it is broadcast along the channels.

    Attributes:
        number: As of a `Leaf`.
    """

    value: ir.Value
    number: int


@dataclass(frozen=True)
class Applied:
    """An operator on expressions, like ``node`` but for the channels it reads.

    Attributes:
        node: A node that computes this for its own channels.
        axis: The axis of its output that holds the channels.
        key: What two such nodes have in common but for their channels.
        arguments: What the channels are computed from.
    """

    node: ir.Node
    axis: int
    key: Hashable
    arguments: tuple[Expression, ...]


Expression = Leaf | Shared | Applied
Segments = list[tuple[int, "Expression"]]


@dataclass
class Reader:
    """Reads values as segments.

    Attributes:
        facts: Shapes of the values.
        is_shared: Whether values that others read as well are seen through.
        values: The values that were seen through.
    """

    facts: Interpretation
    is_shared: bool = False
    values: set[ir.Value] = field(default_factory=set)
    _numbers: dict[ir.Value, int] = field(default_factory=dict)
    _read: dict[tuple[ir.Value, int], Segments] = field(default_factory=dict)

    def segments(self, value: ir.Value, axis: int, depth: int = 0) -> Segments:
        """Returns a value as segments along an axis of known size, a single leaf where it is not seen through.

        Args:
            value: The value.
            axis: The axis.
            depth: How many operators are between this value and the one that was asked for.

        Raises:
            NotMovementError: The number of channels is not known.
        """
        if (value, axis) in self._read:
            return self._read[value, axis]
        size = self._channels(value, axis)
        node = value.producer()
        is_alone = len(value.uses()) == 1 and not value.is_graph_output()
        is_seen_through = depth < _DEEPEST and (is_alone or self.is_shared)
        found = self._through(node, value, axis, depth + 1) if node is not None and is_seen_through else None
        if found is None or (self.is_shared and _is_large(found)):
            found = [(size, self._leaf(value, axis, 0, size))]
        else:
            self.values.add(value)
        self._read[value, axis] = found
        return found

    def nodes(self) -> set[ir.Node]:
        """Returns the nodes of which nothing is read but what was seen through."""
        found = {value.producer() for value in self.values}
        return {
            node
            for node in found
            if node is not None and all(v in self.values for v in node.outputs if v.uses() or v.is_graph_output())
        }

    def _through(self, node: ir.Node, value: ir.Value, axis: int, depth: int) -> Segments | None:
        if node.domain != "":
            return None
        if node.op_type in _ELEMENTWISE:
            return self._elementwise(node, axis, depth)
        if node.op_type == "Concat":
            return self._concat(node, axis, depth)
        if node.op_type == "Pad":
            return self._pad(node, axis)
        if node.op_type == "Slice":
            return self._slice(node, axis)
        if node.op_type == "Split" and int_attribute(node, "axis", 0) % self._rank(value) == axis:
            start = sum(self._channels(other, axis) for other in node.outputs[: value.index()])
            return [(self._channels(value, axis), self._leaf(node.inputs[0], axis, start, self._channels(value, axis)))]
        return None

    def _elementwise(self, node: ir.Node, axis: int, depth: int) -> Segments | None:
        from_end, total = self._rank(node.outputs[0]) - axis, self._channels(node.outputs[0], axis)
        operands: list[Segments | Shared] = []
        for operand in node.inputs:
            if operand is None:
                return None
            own = self._rank(operand) - from_end
            is_shared = own < 0 or self._channels(operand, own) != total
            operands.append(Shared(operand, self._number(operand)) if is_shared else self.segments(operand, own, depth))
        key = (node.op_type, tuple(sorted((name, str(value.value)) for name, value in node.attributes.items())))
        return [(size, Applied(node, axis, key, arguments)) for size, arguments in _together(operands)]

    def _concat(self, node: ir.Node, axis: int, depth: int) -> Segments | None:
        along = int_attribute(node, "axis", 0) % self._rank(node.outputs[0])
        parts = [self.segments(part, axis, depth) for part in node.inputs if part is not None]
        if along == axis:
            return [segment for part in parts for segment in part]
        operands: list[Segments | Shared] = list(parts)
        return [
            (size, Applied(node, axis, ("Concat", along - self._rank(node.outputs[0])), arguments))
            for size, arguments in _together(operands)
        ]

    def _pad(self, node: ir.Node, axis: int) -> Segments | None:
        pads = pads_of(node)
        rank = self._rank(node.outputs[0])
        if pads is None or len(pads) != 2 * rank or pads[axis] > 0 or pads[rank + axis] > 0:
            return None
        others = tuple(0 if index % rank == axis else pad for index, pad in enumerate(pads))
        mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        size = self._channels(node.outputs[0], axis)
        leaf = self._leaf(node.inputs[0], axis, -pads[axis], size)
        return [
            (size, Applied(node, axis, ("Pad", mode, others, None if fill is None else self._number(fill)), (leaf,)))
        ]

    def _slice(self, node: ir.Node, axis: int) -> Segments | None:
        bounds = slices_of(node, self._rank(node.outputs[0]))
        if bounds is None:
            return None
        size = self._channels(node.outputs[0], axis)
        start, _, step = bounds.pop(axis, (0, size, 1))
        total = self._channels(node.inputs[0], axis)
        start = max(0, start + total) if start < 0 else start
        if step != 1:
            return None
        leaf = self._leaf(node.inputs[0], axis, start, size)
        if not bounds:
            return [(size, leaf)]
        return [(size, Applied(node, axis, ("Slice", tuple(sorted(bounds.items()))), (leaf,)))]

    def _leaf(self, value: ir.Value | None, axis: int, start: int, size: int) -> Leaf:
        assert value is not None
        return Leaf(value, self._number(value), axis, start, size)

    def _number(self, value: ir.Value) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    def _channels(self, value: ir.Value | None, axis: int) -> int:
        try:
            size = self.facts.shape(value)[axis]
        except (IndexError, UndecidedError) as error:
            raise NotMovementError("the number of channels is not known") from error
        if not isinstance(size, int):
            raise NotMovementError("the number of channels is not a number")
        return size

    def _rank(self, value: ir.Value | None) -> int:
        return len(self.facts.shape(value))


def pads_of(node: ir.Node) -> list[int] | None:
    """Returns the pads of a Pad node that names none of its axes, None where they are computed."""
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is None or not is_constant(given) or any(value is not None for value in node.inputs[3:]):
        return None
    assert given.const_value is not None
    return [int(pad) for pad in given.const_value.numpy()]


def slices_of(node: ir.Node, rank: int) -> dict[int, tuple[int, int, int]] | None:
    """Returns start, end and step of every axis that a Slice node names, None where they are computed."""
    constants = [value.const_value if value is not None and is_constant(value) else None for value in node.inputs[1:]]
    if len(constants) < 2 or any(constant is None for constant in constants):
        return None
    arrays = [np.asarray(constant.numpy()) for constant in constants if constant is not None]
    if any(array.ndim != 1 or array.shape != arrays[0].shape or array.dtype.kind != "i" for array in arrays):
        return None  # runtimes refuse such a file
    numbers = [array.tolist() for array in arrays]
    axes = numbers[2] if len(numbers) > 2 else range(len(numbers[0]))
    steps = numbers[3] if len(numbers) > 3 else [1] * len(numbers[0])
    return {axis % rank: (start, end, step) for axis, start, end, step in zip(axes, *numbers[:2], steps, strict=True)}


def part(expression: Expression, start: int, size: int) -> Expression:
    """Returns an expression for some of its channels."""
    if isinstance(expression, Leaf):
        return replace(expression, start=expression.start + start, size=size)
    if isinstance(expression, Applied):
        return replace(expression, arguments=tuple(part(argument, start, size) for argument in expression.arguments))
    return expression


def _is_large(segments: Segments) -> bool:
    waiting = [expression for _, expression in segments]
    for _ in range(_LARGEST):
        if not waiting:
            return False
        expression = waiting.pop()
        if isinstance(expression, Applied):
            waiting += expression.arguments
    return True


def _together(operands: Sequence[Segments | Shared]) -> Iterator[tuple[int, tuple[Expression, ...]]]:
    """Cuts operands at the same channels."""
    cuts = set()
    for operand in operands:
        if not isinstance(operand, Shared):
            cuts |= set(itertools.accumulate(size for size, _ in operand))
    start = 0
    for end in sorted(cuts):
        yield (
            end - start,
            tuple(operand if isinstance(operand, Shared) else _cut(operand, start, end) for operand in operands),
        )
        start = end


def _cut(segments: Segments, start: int, end: int) -> Expression:
    position = 0
    for size, expression in segments:
        if (position, position + size) == (start, end):
            return expression
        if position <= start and end <= position + size:
            return part(expression, start - position, end - start)
        position += size
    raise AssertionError("operands are cut at the borders of every segment")
