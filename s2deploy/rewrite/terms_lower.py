"""From terms to ONNX nodes, in front of the node whose output they replace; and what both cost.

Movement goes through `lower.py`, so that slice bounds and Reshape targets need no arithmetic where that can be. Equal
terms become one value, and all pieces of a tensor one Split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.constants import Array
from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Coord
from s2deploy.rewrite.elementwise import VIEWS
from s2deploy.rewrite.expressions import (
    Concat,
    Expression,
    Reshape,
    Slice,
    Source,
    Squeeze,
    Transpose,
    Unsqueeze,
    Window,
    elements,
)
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.lower import CannotLowerError, Lowering
from s2deploy.rewrite.shapes import Shapes
from s2deploy.rewrite.terms import Applied, Joined, Leaf, Number, Part, Permuted, Reduced, Term, View, operands_of
from s2deploy.rewrite.views import trimmed, without

_DISPATCH = 1.0
_VIEW = 0.5
_ELEMENTS_PER_DISPATCH = 8192.0
_AXES_AS_INPUT = {"ReduceSum": 13}
_OTHER_AXES_AS_INPUT = 18


class TermLowering:
    """Turns terms into nodes of one graph.

    Args:
        facts: The facts about the graph, which receives the nodes.
    """

    def __init__(self, facts: Interpretation) -> None:
        self._facts = facts
        self._movement = Lowering(facts.graph, facts.bounds, facts.dimensions(), facts.opset)
        self._values: dict[Term, ir.Value] = {}
        self._splits: dict[tuple[Term, int, Shape], ir.Node] = {}
        self.added: list[str] = []

    def lower(self, term: Term, before: ir.Node) -> ir.Value:
        """Returns a value of a term, computed by nodes inserted in front of a node.

        Raises:
            CannotLowerError: See there; nodes inserted until then are left unused.
        """
        if isinstance(term, Leaf):
            return term.value
        if term not in self._values:
            self._values[term] = self._lowered(term, before)
        return self._values[term]

    def substitute(self, old: ir.Value, new: ir.Value, before: ir.Node) -> None:
        """Makes every reader of `old` read `new`; see `outputs.py`."""
        self._movement.substitute(old, new, before)

    def _lowered(self, term: Term, before: ir.Node) -> ir.Value:
        if isinstance(term, Number):
            return self._movement.constant(np.array(term.number, term.dtype.numpy()))
        if isinstance(term, Applied):
            inputs = [None if one is None else self.lower(one, before) for one in term.operands]
            attributes = [] if term.like is None else list(term.like.attributes.values())
            node = ir.node(term.op_type, inputs, attributes={one.name: one for one in attributes})
            return self._add(node, before, [term.shape], term.dtype)[0]
        if isinstance(term, Reduced):
            return self._reduced(term, before, term.shape)
        constant = _constant(term)
        if constant is not None:
            return self._movement.constant(constant)
        if isinstance(term, Part):
            return self._part(term, before)
        if isinstance(term, View) and isinstance(term.of, Reduced) and term.shape == _kept(term.of):
            return self._reduced(term.of, before, term.shape)
        if (
            isinstance(term, View)
            and isinstance(term.of, Part)
            and term.shape == without(term.of.shape, [term.of.axis])
        ):
            inputs = [self.lower(term.of.of, before), self._movement.constant(np.array(term.of.index))]
            return self._add(
                ir.node("Gather", inputs, attributes={"axis": term.of.axis}), before, [term.shape], term.dtype
            )[0]
        count = len(self._movement.added)
        found = self._movement.lower(self._moved(term, before), term.dtype, before)
        self.added += [node.op_type for node in self._movement.added[count:]]
        return found

    def _moved(self, term: Term, before: ir.Node) -> Expression:
        """Returns a term as movement of values that exist by then."""
        if isinstance(term, Joined):
            return Concat(term.axis, tuple(self._moved(one, before) for one in term.parts), term.shape)
        if isinstance(term, Permuted):
            return Transpose(self._moved(term.of, before), term.perm, term.shape)
        if not isinstance(term, View):
            return Source(self.lower(term, before), term.shape)
        if isinstance(term.of, Part) and _constant(term.of) is None:
            # As movement that is composed it would be written so, if it were not yet.
            return _view(_slice(term.of, self._moved(term.of.of, before)), term.shape)
        return _view(self._moved(term.of, before), term.shape)

    def _reduced(self, term: Reduced, before: ir.Node, shape: Shape) -> ir.Value:
        inputs: list[ir.Value | None] = [self.lower(term.of, before)]
        attributes: dict[str, int | list[int]] = {"keepdims": int(shape != term.shape)}
        if self._facts.opset >= _AXES_AS_INPUT.get(term.op_type, _OTHER_AXES_AS_INPUT):
            inputs.append(self._movement.constant(np.array(term.axes, np.int64)))
        else:
            attributes["axes"] = list(term.axes)
        node = ir.node(term.op_type, inputs, attributes=attributes)
        return self._add(node, before, [shape], term.dtype)[0]

    def _part(self, term: Part, before: ir.Node) -> ir.Value:
        key = (term.of, term.axis, term.sizes)
        if key not in self._splits:
            lengths = [size for size in term.sizes if isinstance(size, int)]
            if len(lengths) < len(term.sizes):
                raise CannotLowerError("the sizes of its pieces are not known")
            inputs: list[ir.Value | None] = [self.lower(term.of, before)]
            attributes: dict[str, int | list[int]] = {"axis": term.axis}
            if self._facts.opset >= 13:
                inputs.append(self._movement.constant(np.array(lengths, np.int64)))
            else:
                attributes["split"] = lengths
            node = ir.node("Split", inputs, attributes=attributes, num_outputs=len(lengths))
            shape = term.of.shape
            shapes = [(*shape[: term.axis], size, *shape[term.axis + 1 :]) for size in lengths]
            self._add(node, before, shapes, term.dtype)
            self._splits[key] = node
        return self._splits[key].outputs[term.index]

    def _add(self, node: ir.Node, before: ir.Node, shapes: Sequence[Shape], dtype: ir.DataType) -> Sequence[ir.Value]:
        source = before.metadata_props.get("s2deploy.source")
        if source is not None:
            node.metadata_props["s2deploy.source"] = source
        for value, shape in zip(node.outputs, shapes, strict=True):
            value.type = ir.TensorType(dtype)
            value.shape = ir.Shape([size if isinstance(size, int) else str(size) for size in shape])
        self._facts.graph.insert_before(before, node)
        self.added.append(node.op_type)
        return node.outputs


def term_cost(term: Term, sizes: Mapping[str, int]) -> float:
    """Returns what one term costs, its operands not counted: its dispatch, and what it reads and writes."""
    if isinstance(term, (Leaf, Number)):
        return 0.0
    if isinstance(term, View):
        return _VIEW
    moved = elements(term.shape, sizes)
    if isinstance(term, Part):
        return (_DISPATCH if term.index == 0 else 0.0) + 2 * moved / _ELEMENTS_PER_DISPATCH
    moved += sum(elements(one.shape, sizes) for one in operands_of(term))
    return _DISPATCH + moved / _ELEMENTS_PER_DISPATCH


def node_cost(node: ir.Node, shapes: Shapes, sizes: Mapping[str, int]) -> float:
    """Returns what a node costs, in the same unit."""
    if node.op_type in VIEWS or node.op_type == "Identity":
        return _VIEW
    known = (None if value is None else shapes.known_shape(value) for value in (*node.inputs, *node.outputs))
    return _DISPATCH + sum(elements(shape, sizes) for shape in known if shape is not None) / _ELEMENTS_PER_DISPATCH


def _kept(term: Reduced) -> Shape:
    """Returns the shape of a reduction whose axes are kept as axes of size 1."""
    return tuple(1 if axis in term.axes else size for axis, size in enumerate(term.of.shape))


def _constant(term: Term) -> Array | None:
    """Returns a constant in pieces, another shape or another order of axes; None for any other term."""
    if isinstance(term, Leaf):
        tensor = None if term.value.is_graph_input() else term.value.const_value
        return None if tensor is None else tensor.numpy()
    if isinstance(term, View) and all(isinstance(size, int) for size in term.shape):
        array = _constant(term.of)
        return None if array is None else array.reshape([size for size in term.shape if isinstance(size, int)])
    if isinstance(term, Permuted):
        array = _constant(term.of)
        return None if array is None else np.ascontiguousarray(array.transpose(term.perm))
    if isinstance(term, Part) and all(isinstance(size, int) for size in term.sizes):
        array, ends = _constant(term.of), np.cumsum([0, *(size for size in term.sizes if isinstance(size, int))])
        return None if array is None else array.take(range(ends[term.index], ends[term.index + 1]), term.axis)
    return None


def _slice(term: Part, whole: Expression) -> Expression:
    start: Coord = 0
    for size in term.sizes[: term.index]:
        start = start + size
    return Slice(whole, (Window(term.axis, start, term.sizes[term.index], 1),), term.shape)


def _view(of: Expression, shape: Shape) -> Expression:
    if trimmed(of.shape) == trimmed(shape):
        if len(shape) < len(of.shape):
            dropped = _extra_ones(of.shape, shape)
            if dropped is not None:
                return Squeeze(of, dropped, shape)
        else:
            new = _extra_ones(shape, of.shape)
            if new is not None:
                return Unsqueeze(of, new, shape)
    return Reshape(of, shape)


def _extra_ones(longer: Shape, shorter: Shape) -> tuple[int, ...] | None:
    """Returns the axes of size 1 that one shape has beyond another; None where they are not equal otherwise."""
    extra: list[int] = []
    place = 0
    for axis, size in enumerate(longer):
        if place < len(shorter) and shorter[place] == size:
            place += 1
        elif size == 1:
            extra.append(axis)
        else:
            return None
    return tuple(extra) if place == len(shorter) else None
