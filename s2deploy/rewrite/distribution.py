"""A tensor taken apart along an axis, down to the tensors that a Concat has joined along it.

Elementwise operators are applied to the pieces one by one, views and transposes of the whole become views and
transposes of the pieces, and operands that are the same for all pieces stay as they are. What is small and not joined,
such as the weights of a weighted sum, is split.

Softmax over the stacked axis gives weights that add up to 1, and as good as 0 for all but the largest where its input
is a sum over a large map. CPUs compute many times more slowly with numbers below 1e-38; as weights of a sum such ones
are made 1e-30, which is as far below rounding.

Refuses (raises `ObstacleError` with the reason) where a large operand would have to be split, which costs what the
Concat costs, or where two operands are joined at different positions.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Coord, divide
from s2deploy.rewrite.elementwise import ELEMENTWISE, VIEWS
from s2deploy.rewrite.expressions import elements
from s2deploy.rewrite.rules_movement import int_attribute, ints_attribute
from s2deploy.rewrite.shapes import Shapes
from s2deploy.rewrite.terms import Leaf, Number, Term, View, applied, joined, part, permuted, viewed
from s2deploy.rewrite.views import own_axis, size_of

_DEEPEST = 64
_SMALL_SHARE = 4
_NEGLIGIBLE = 1e-30
_LINEAR = frozenset({"Add", "Identity", "Mul", "Sub", "Sum"})
_SUMS = frozenset({"ReduceMean", "ReduceSum"})


class ObstacleError(Exception):
    """A tensor cannot be taken apart; the message says why."""


class Distribution:
    """Takes the input of one reduction apart.

    Args:
        shapes: The shapes of the graph's values.
        sizes: Typical sizes of named dimensions.
        whole: The input.
        op_type: The reduction.

    Attributes:
        nodes: The nodes that are not needed for the pieces.
    """

    def __init__(self, shapes: Shapes, sizes: Mapping[str, int], whole: ir.Value, op_type: str) -> None:
        self._shapes, self._sizes, self._whole = shapes, sizes, whole
        self._is_sum = op_type in _SUMS
        self._pieces: dict[tuple[ir.Value, int], Shape | None] = {}
        self.nodes: set[ir.Node] = set()

    def pieces(self, value: ir.Value, axis: int, depth: int = 0) -> Shape | None:
        """Returns the sizes of the pieces that a value is joined of along an axis, None where it is not."""
        key = (value, axis)
        if key not in self._pieces:
            self._pieces[key] = None if depth > _DEEPEST else self._found(value, axis, depth + 1)
        return self._pieces[key]

    def _found(self, value: ir.Value, axis: int, depth: int) -> Shape | None:
        node, shape = value.producer(), self._shapes.known_shape(value)
        if node is None or shape is None or node.domain != "" or value.graph is not self._shapes.graph:
            return None
        known = [None if one is None else self._shapes.known_shape(one) for one in node.inputs]
        if not known or known[0] is None:
            return None
        data = node.inputs[0]
        assert data is not None
        if node.op_type == "Concat":
            if any(one is None for one in known):
                return None
            if int_attribute(node, "axis", 0) % len(shape) == axis:
                return tuple(one[axis] for one in known if one is not None)
            parts = [self.pieces(one, axis, depth) for one in node.inputs if one is not None]
            return parts[0] if all(one == parts[0] for one in parts) else None
        if node.op_type in VIEWS:
            own = own_axis(known[0], shape, axis)
            inside = None if own is None else self.pieces(data, own[0], depth)
            if own is None or inside is None:
                return None
            pieces = tuple(divide(size, own[1]) for size in inside)
            return tuple(size for size in pieces if size is not None) if None not in pieces else None
        if node.op_type == "Transpose":
            return self.pieces(data, _perm(node, len(shape))[axis], depth)
        if node.op_type in ELEMENTWISE:
            for one, inner_shape in zip(node.inputs, known, strict=True):
                place = axis - len(shape) + len(inner_shape or ())
                if one is not None and inner_shape is not None and place >= 0 and inner_shape[place] != 1:
                    found = self.pieces(one, place, depth)
                    if found is not None:
                        return found
        return None

    def piece(self, value: ir.Value, axis: int, index: int, sizes: Shape, *, linear: bool = True) -> Term:
        """Returns one piece of a value, or all of it where it is broadcast along the axis.

        Args:
            value: The value.
            axis: The axis, negative where the value has none because it is broadcast.
            index: Which piece.
            sizes: The sizes of all pieces.
            linear: Whether the input is linear in the value.

        Raises:
            ObstacleError: See there.
        """
        whole = self.whole(value)
        shape = whole.shape
        if axis < 0 or shape[axis] == 1:
            return whole
        found, node = self.pieces(value, axis), value.producer()
        if found is None or node is None:
            if elements(shape, self._sizes) * _SMALL_SHARE > elements(self._shapes.shape(self._whole), self._sizes):
                raise ObstacleError(f"{value.name} is large and no stack itself")
            if linear and self._is_sum and self._is_softmax_over(value, axis):
                floor = Number(_NEGLIGIBLE, whole.dtype)
                whole = applied("Max", [whole, floor], whole.dtype) or whole
            return part(whole, axis, index, sizes)
        if found != sizes:
            raise ObstacleError("its operands are joined at different positions")
        self.nodes.add(node)
        data = node.inputs[0]
        assert data is not None
        if node.op_type == "Concat":
            if int_attribute(node, "axis", 0) % len(shape) == axis:
                return _named_alike(self.whole(node.inputs[index]), (*shape[:axis], sizes[index], *shape[axis + 1 :]))
            rest = [self.piece(one, axis, index, sizes, linear=linear) for one in node.inputs if one is not None]
            return joined(int_attribute(node, "axis", 0) % len(shape), rest)
        if node.op_type in VIEWS:
            own = own_axis(self._shapes.shape(data), shape, axis)
            assert own is not None
            shape = (*shape[:axis], sizes[index], *shape[axis + 1 :])
            inner, rows = own[0], tuple(size * own[1] for size in sizes)
            return viewed(self.piece(data, inner, index, rows, linear=linear), shape)
        if node.op_type == "Transpose":
            perm = _perm(node, len(shape))
            return permuted(self.piece(data, perm[axis], index, sizes, linear=linear), perm)
        return self._elementwise(node, whole, axis, index, sizes, linear=linear)

    def _elementwise(self, node: ir.Node, whole: Term, axis: int, index: int, sizes: Shape, *, linear: bool) -> Term:
        operands: list[Term | None] = []
        for one in node.inputs:
            if one is None:
                operands.append(None)
                continue
            own = axis - len(whole.shape) + len(self.whole(one).shape)
            operands.append(self.piece(one, own, index, sizes, linear=linear and node.op_type in _LINEAR))
        found = applied(node.op_type, operands, whole.dtype, node)
        if found is None:
            raise ObstacleError("how its operands are broadcast is not known")
        return found

    def _is_softmax_over(self, value: ir.Value, axis: int) -> bool:
        """Whether a value is weights of float32 along an axis, views seen through."""
        term = self.whole(value)
        core = term.of if isinstance(term, View) else term
        own = own_axis(core.shape, term.shape, axis)
        node = core.value.producer() if isinstance(core, Leaf) else None
        if (
            node is None
            or own is None
            or own[1] != 1
            or node.op_type != "Softmax"
            or node.domain != ""
            or self._shapes.opset < 13
        ):
            return False
        return core.dtype == ir.DataType.FLOAT and int_attribute(node, "axis", -1) % len(core.shape) == own[0]

    def whole(self, value: ir.Value | None) -> Term:
        """Returns all of a value.

        Raises:
            ObstacleError: Its shape or type is not known.
        """
        term = None if value is None else term_of(self._shapes, value)
        if term is None:
            raise ObstacleError("the shape or type of an operand is not known")
        return term


def term_of(shapes: Shapes, value: ir.Value) -> Term | None:
    """Returns a value as a term, the views that lead to it seen through; None where its shape or type is not known."""
    shape, source = shapes.known_shape(value), value
    if shape is None or value.dtype is None:
        return None
    while True:
        node = source.producer()
        if node is None or node.domain != "" or node.op_type not in VIEWS or node.graph is not shapes.graph:
            break
        data = node.inputs[0]
        before = None if data is None else shapes.known_shape(data)
        if data is None or before is None or data.dtype is None or not _may_equal(size_of(before), size_of(shape)):
            break
        source = data
    return viewed(Leaf(source, shapes.shape(source), value.dtype), shape)


def _may_equal(first: Coord, second: Coord) -> bool:
    """Whether two numbers of elements are not known to differ: a view that says so is for a runtime to refuse."""
    return not (isinstance(first, int) and isinstance(second, int)) or first == second


def _named_alike(term: Term, shape: Shape) -> Term:
    """Returns one of the tensors that a Concat joins, its sizes under the names that the result has for them.

    Shape inference gives the outputs of two Convs names of their own, of which a Concat says that they are equal.
    """
    names = {own: shared for own, shared in zip(term.shape, shape, strict=True) if own != shared}
    core = term.of if isinstance(term, View) else term
    if not names or not isinstance(core, Leaf):
        return term
    return viewed(Leaf(core.value, tuple(names.get(size, size) for size in core.shape), core.dtype), shape)


def _perm(node: ir.Node, rank: int) -> tuple[int, ...]:
    return ints_attribute(node, "perm") or tuple(reversed(range(rank)))
