"""Channels ordered so that what is done to several groups of them is done once.

Before: ``Conv(Concat(f(x[A1], y[B1]), f(x[A2], y[B2]), g(x[A3])))``. A and B are groups of channels, f and g work on
every channel alike (arithmetic, movement along other axes), and the weights of the Conv are constant.
After: ``Conv'(Concat(f(x'[A1 A2], y'[B1 B2]), g(x'[A3])))``: x' and y' have their channels in another order, which the
constants they are computed with are given, and Conv' reads them in that order.
Requires: a Conv or MatMul with constant weights that reads the channels; x and y computed by such an operator, or so
small that a Gather orders them; every channel read once.
Refuses: channels that something else reads, too, unless it makes at most 16 elements of each, which a Gather orders
back: a sum over positions, a product or a Reshape of them; sizes that are not known.
Preserves shapes, types and names; sums of the Conv and of several operands may round differently.
Source: a linear operator between two orders of channels is the same operator with its weights in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from s2deploy.rewrite.channel_permutation import input_order, is_kept, is_read_once, permutation_of
from s2deploy.rewrite.channel_segments import COMMUTATIVE, Applied, Expression, Leaf, Reader, Shared
from s2deploy.rewrite.channel_writing import Slot, Writer
from s2deploy.rewrite.coordinates import Interval, UndecidedError
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.refusals import NotMovementError, Refusal
from s2deploy.rewrite.rules import RULES

_OLDEST_OPSET = 13
_NEAR = 32


@dataclass
class Group:
    """Segments of a sum that are computed alike.

    Attributes:
        starts: Where the segments were, in channels.
        sizes: How many channels each has.
        terms: The terms of the sum, each with an expression for every segment.
    """

    starts: list[int]
    sizes: list[int]
    terms: list[list[Expression]]


def order_channels(
    graph: ir.Graph, ranges: Mapping[str, Interval], allow: Callable[[str], bool] = lambda name: True
) -> list[Refusal]:
    """Orders channels in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        allow: Asked with the name of the tensor that is put into another order, right before it is.

    Returns:
        What was left alone although something is done to several groups.
    """
    if graph.opset_imports.get("", _OLDEST_OPSET) < _OLDEST_OPSET:
        return []
    refusals: list[Refusal] = []
    candidates = [node for node in graph if (read := input_order(node)) is not None and _may_help(read.value)]
    if not candidates:
        return []
    facts = Interpretation(graph, ranges, RULES)
    for node in candidates:
        read = input_order(node)
        if read is None or not _may_help(read.value):
            continue
        try:
            reordering = _Reordering(facts, *_unshaped(facts, read.value, read.axis))
            if not reordering.helps():
                continue
            plans = reordering.plan()
            if allow(read.value.name or ""):
                reordering.apply(plans)
                read.reorder(reordering.new_order())
        except (NotMovementError, UndecidedError) as reason:
            refusals.append(Refusal.of(node, str(reason)))
    return refusals


def _unshaped(facts: Interpretation, value: ir.Value, axis: int) -> tuple[ir.Value, int]:
    """Returns a tensor, or what a Reshape that keeps its channels made it from, and the axis of its channels."""
    node = value.producer()
    axis %= len(facts.shape(value))
    if node is None or node.op_type != "Reshape" or node.inputs[0] is None or not is_read_once(value):
        return value, axis
    before, after = facts.shape(node.inputs[0]), facts.shape(value)
    own = axis if axis < len(after) - 1 else len(before) - 1
    return (node.inputs[0], own) if is_kept(before, own, after, axis) else (value, axis)


def _may_help(value: ir.Value) -> bool:
    """Whether a Concat is near, without which there are no groups."""
    waiting, seen = [value], 0
    while waiting and seen < _NEAR:
        node = waiting.pop().producer()
        seen += 1
        if node is not None and node.op_type == "Concat":
            return True
        if node is not None and node.op_type in ("Add", "Sum", "Mul", "Sub", "Relu", "Reshape"):
            waiting += [operand for operand in node.inputs if operand is not None]
    return False


class _Reordering:
    """One tensor whose channels are to be put into another order.

    Raises:
        NotMovementError: Its channels are not known.
    """

    def __init__(self, facts: Interpretation, value: ir.Value, axis: int) -> None:
        self._facts, self._value, self._axis = facts, value, axis
        reader = Reader(facts)
        self._groups = _grouped(reader.segments(value, axis))
        self._nodes = reader.nodes()
        self._whole = self._whole_terms()
        self._order: dict[ir.Value, list[int]] = {}
        self._positions: dict[Slot, int] = {}

    def helps(self) -> bool:
        """Whether something is done to several groups that would be done once."""
        if all(len(group.starts) == 1 for group in self._groups):
            return False
        inside = [
            terms for group in self._groups for index, terms in enumerate(group.terms) if index not in self._whole
        ]
        if not inside:
            return False
        written = [*inside, *(self._groups[0].terms[index] for index in self._whole)]
        return sum(_count(terms[0]) + 1 for terms in written) < len(self._nodes)

    def plan(self) -> dict[ir.Value, Callable[[], ir.Value]]:
        """Returns how each tensor that is read gets its new order.

        Raises:
            NotMovementError: One cannot have it; says why.
        """
        slots = [slot for group in self._groups for terms in self._inside(group) for slot in _slots(terms)]
        for index in self._whole:
            slots += _slots([expression for group in self._groups for expression in group.terms[index]])
        axes: dict[ir.Value, int] = {}
        for slot in dict.fromkeys(slots):
            value = slot[0].value
            order = self._order.setdefault(value, [])
            axes[value] = slot[0].axis
            self._positions[slot] = len(order)
            order += [channel for leaf in slot for channel in range(leaf.start, leaf.start + leaf.size)]
        plans = {}
        for value, order in self._order.items():
            if len(set(order)) != len(order):
                raise NotMovementError("channels that are read in two places")
            total = self._facts.shape(value)[axes[value]]
            assert isinstance(total, int)
            order += sorted(set(range(total)) - set(order))
            if order != list(range(total)):
                plans[value] = permutation_of(self._facts, value, axes[value], order, self._nodes)
        return plans

    def apply(self, plans: Mapping[ir.Value, Callable[[], ir.Value]]) -> None:
        """Writes the new nodes, and has all that reads the tensor read it in the new order."""
        before = self._value.producer()
        assert before is not None
        moved = {value: plan() for value, plan in plans.items()}
        writer = Writer(self._facts, self._positions, before, moved)
        parts = []
        for group in self._groups:
            parts.append(writer.sum([writer.write(terms) for terms in self._inside(group)]))
        joined = parts[0] if len(parts) == 1 else writer.concat(parts, self._axis)
        whole = [
            writer.write([expression for group in self._groups for expression in group.terms[index]])
            for index in self._whole
        ]
        result = writer.sum([joined, *whole])
        writer.split()
        if result not in {*self._order, *moved.values()}:  # it is one of them where nothing is done to its channels
            result.shape, result.name = self._value.shape, f"{self._value.name}_ordered"
        self._value.replace_all_uses_with(result)

    def _inside(self, group: Group) -> list[list[Expression]]:
        return [terms for index, terms in enumerate(group.terms) if index not in self._whole]

    def _whole_terms(self) -> list[int]:
        """Returns the terms that all groups have and that need no copy: they are computed for all at once.

        None where a group would be left without a term of its full shape.
        """
        first, *rest = self._groups
        found = [
            index
            for index in range(min(len(group.terms) for group in self._groups))
            if rest
            and len({_signature(group.terms[index][0]) for group in self._groups}) == 1
            and not _moves(first.terms[index][0])
        ]
        is_whole = all(
            any(index not in found and self._is_full(terms[0]) for index, terms in enumerate(group.terms))
            for group in self._groups
        )
        return found if is_whole else []

    def _is_full(self, expression: Expression) -> bool:
        """Whether an expression is broadcast neither along its channels nor along another axis."""
        if isinstance(expression, Shared):
            return False
        value = expression.value if isinstance(expression, Leaf) else expression.node.outputs[0]
        shape, own = list(self._facts.shape(self._value)), list(self._facts.shape(value))
        if len(own) != len(shape):
            return False
        del shape[self._axis], own[expression.axis]
        return own == shape

    def new_order(self) -> list[int]:
        """Returns which old channel each new one is."""
        return [
            channel
            for group in self._groups
            for start, size in zip(group.starts, group.sizes, strict=True)
            for channel in range(start, start + size)
        ]


def _grouped(segments: Sequence[tuple[int, Expression]]) -> list[Group]:
    groups: dict[Hashable, Group] = {}
    start = 0
    for size, expression in segments:
        terms = sorted((_sorted(term) for term in _terms(expression)), key=_signature)
        key = tuple(map(_signature, terms))
        group = groups.setdefault(key, Group([], [], [[] for _ in terms]))
        group.starts.append(start)
        group.sizes.append(size)
        for members, term in zip(group.terms, terms, strict=True):
            members.append(term)
        start += size
    return list(groups.values())


def _terms(expression: Expression) -> list[Expression]:
    if isinstance(expression, Applied) and expression.node.op_type in ("Add", "Sum"):
        return [term for argument in expression.arguments for term in _terms(argument)]
    return [expression]


def _sorted(expression: Expression) -> Expression:
    """Returns an expression with the operands of commutative operators in one order."""
    if not isinstance(expression, Applied):
        return expression
    arguments = [_sorted(argument) for argument in expression.arguments]
    if expression.node.op_type in COMMUTATIVE:
        arguments.sort(key=_signature)
    return Applied(expression.node, expression.axis, expression.key, tuple(arguments))


def _signature(expression: Expression) -> str:
    """Returns what two expressions that can be computed together have in common."""
    if isinstance(expression, Applied):
        return f"{expression.key}({', '.join(map(_signature, expression.arguments))})"
    return f"{type(expression).__name__} {expression.number}"


def _moves(expression: Expression) -> bool:
    return isinstance(expression, Applied) and (
        expression.node.op_type in ("Pad", "Slice", "Concat") or any(map(_moves, expression.arguments))
    )


def _slots(members: Sequence[Expression]) -> list[Slot]:
    first = members[0]
    if isinstance(first, Leaf):
        return [tuple(leaf for leaf in members if isinstance(leaf, Leaf))]
    if isinstance(first, Applied):
        rows = [member.arguments for member in members if isinstance(member, Applied)]
        return [slot for column in zip(*rows, strict=True) for slot in _slots(column)]
    return []


def _count(expression: Expression) -> int:
    return 1 + sum(map(_count, expression.arguments)) if isinstance(expression, Applied) else 0
