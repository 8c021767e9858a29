"""Writing expressions over channels that lie side by side as nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.channel_segments import Applied, Expression, Leaf, Shared, pads_of, slices_of
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.initializers import add_initializer
from s2deploy.rewrite.layout_writing import annotate

_PAIR = 2

Slot = tuple[Leaf, ...]
"""What the members of a group read in one place; in the new order they lie side by side."""


@dataclass(frozen=True)
class _Place:
    """Channels ``start`` to ``end`` of ``total`` along an axis of a value that is in its new order."""

    value: ir.Value
    axis: int
    start: int
    end: int
    total: int


class Writer:
    """Writes expressions as nodes.

    Args:
        facts: Shapes of the values.
        positions: The first channel of every slot, in the new order.
        before: The node in front of which the new ones go.
        moved: The values that have a new order, by those that have the old one.
    """

    def __init__(
        self,
        facts: Interpretation,
        positions: Mapping[Slot, int],
        before: ir.Node,
        moved: Mapping[ir.Value, ir.Value],
    ) -> None:
        self._facts, self._positions, self._before, self._moved = facts, positions, before, moved
        self._read: dict[Slot, ir.Node] = {}

    def write(self, members: Sequence[Expression]) -> ir.Value:
        """Writes what is done to every member, once, on their channels side by side."""
        first = members[0]
        if isinstance(first, Shared):
            return first.value
        if isinstance(first, Leaf):
            return self._leaf(tuple(leaf for leaf in members if isinstance(leaf, Leaf)))
        columns = [
            list(column)
            for column in zip(*(member.arguments for member in members if isinstance(member, Applied)), strict=True)
        ]
        size = sum(_channels(member) for member in members)
        node = first.node
        if node.op_type in ("Pad", "Slice"):
            slot = tuple(leaf for leaf in columns[0] if isinstance(leaf, Leaf))
            return self._cropped(node, slot, first.axis, size)
        return self._node(node, [self.write(column) for column in columns], first.axis, size)

    def sum(self, terms: Sequence[ir.Value]) -> ir.Value:
        """Adds terms."""
        if len(terms) == 1:
            return terms[0]
        node = ir.node("Add" if len(terms) == _PAIR else "Sum", terms)
        node.outputs[0].type = terms[0].type
        result = self._insert(node)
        shape = self._facts.known_shape(result)
        if shape is not None:
            annotate(result, terms[0], shape)
        return result

    def split(self) -> None:
        """Makes slices that leave nothing of a tensor out one Split."""
        slices: dict[ir.Value, list[Slot]] = {}
        for slot in self._read:
            slices.setdefault(slot[0].value, []).append(slot)
        for slots in slices.values():
            places = sorted((self._place(slot) for slot in slots), key=lambda place: place.start)
            ends = [0, *(place.end for place in places)]
            if ends[-1] != places[0].total or any(place.start != end for place, end in zip(places, ends, strict=False)):
                continue
            nodes = [self._read[slot] for slot in sorted(slots, key=lambda slot: self._positions[slot])]
            sizes = self._integers(places[0].value, *(place.end - place.start for place in places))
            outputs = [node.outputs[0] for node in nodes]
            split = ir.node("Split", [places[0].value, sizes], {"axis": places[0].axis}, num_outputs=len(nodes))
            first = next(node for node in self._read.values() if node in nodes)
            self._facts.graph.insert_before(first, split)
            self._facts.visit(split)
            for old, new in zip(outputs, split.outputs, strict=True):
                new.type, new.shape = old.type, old.shape
                old.replace_all_uses_with(new)
            self._facts.graph.remove(nodes, safe=True)

    def concat(self, parts: Sequence[ir.Value], axis: int) -> ir.Value:
        """Joins parts along an axis."""
        node = ir.node("Concat", parts, {"axis": axis})
        node.outputs[0].type = parts[0].type
        return self._insert(node)

    def _leaf(self, slot: Slot) -> ir.Value:
        place = self._place(slot)
        if (place.start, place.end) == (0, place.total):
            return place.value
        if slot not in self._read:
            bounds = [self._integers(place.value, number) for number in (place.start, place.end, place.axis)]
            node = ir.node("Slice", [place.value, *bounds])
            self._insert(self._typed(node, place.value, place.axis, place.end - place.start))
            self._read[slot] = node
        return self._read[slot].outputs[0]

    def _cropped(self, node: ir.Node, slot: Slot, axis: int, size: int) -> ir.Value:
        """Writes movement along other axes of some channels of a tensor, as one node."""
        place = self._place(slot)
        rank = len(self._facts.shape(node.outputs[0]))
        if node.op_type == "Pad":
            pads = list(pads_of(node) or ())
            pads[axis], pads[rank + axis] = -place.start, place.end - place.total
            return self._node(node, [place.value, self._integers(place.value, *pads), *node.inputs[2:]], axis, size)
        bounds = slices_of(node, rank) or {}
        bounds[axis] = (place.start, place.end, 1)
        axes = sorted(bounds)
        starts, ends, steps = ([bounds[index][which] for index in axes] for which in range(3))
        inputs = [self._integers(place.value, *row) for row in (starts, ends, axes, steps)]
        return self._node(node, [place.value, *inputs], axis, size)

    def _place(self, slot: Slot) -> _Place:
        value, axis = slot[0].value, slot[0].axis
        total = self._facts.shape(value)[axis]
        assert isinstance(total, int)
        start = self._positions[slot]
        return _Place(self._moved.get(value, value), axis, start, start + sum(leaf.size for leaf in slot), total)

    def _node(self, like: ir.Node, inputs: Sequence[ir.Value | None], axis: int, size: int) -> ir.Value:
        node = ir.node(
            like.op_type,
            inputs,
            dict(like.attributes),
            metadata_props=dict(like.metadata_props),
        )
        return self._insert(self._typed(node, like.outputs[0], axis, size))

    def _typed(self, node: ir.Node, like: ir.Value, axis: int, size: int) -> ir.Node:
        node.outputs[0].type = like.type
        if like.shape is not None:
            shape = list(like.shape.dims)
            shape[axis] = size
            node.outputs[0].shape = ir.Shape(shape)
        return node

    def _integers(self, value: ir.Value, *numbers: int) -> ir.Value:
        return add_initializer(self._facts.graph, f"{value.name}_bounds", np.array(numbers, np.int64))

    def _insert(self, node: ir.Node) -> ir.Value:
        self._facts.graph.insert_before(self._before, node)
        self._facts.visit(node)
        return node.outputs[0]


def _channels(expression: Expression) -> int:
    if isinstance(expression, Leaf):
        return expression.size
    sizes = [_channels(argument) for argument in expression.arguments] if isinstance(expression, Applied) else []
    return max(sizes, default=0)
