"""Merged axes: an index tensor that a Reshape has flattened, by the tiling it had before.

Before: the positions of a box, one row each, as a table of shape ``(a*b*c, 3)``. After: a tiling of shape
``(a, b, c, 3)`` and how many of its axes, in row-major order, make each axis of the table. In that form every
component of the table is a ramp however large the box is; along the flattened axis it would be one only by rows.
Requires: known integers. Refuses what takes merged axes apart in the middle of a row.
Preserves the value exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Content, Ramp, Read, Shape
from s2deploy.rewrite.coordinates import Coord, divide
from s2deploy.rewrite.regions import Tiling, concat
from s2deploy.rewrite.strides import Interleaved, StrideError
from s2deploy.rewrite.tree import Cut, Node

_APART = "it takes apart axes that a Reshape has merged"


@dataclass(frozen=True, eq=False)
class Merged:
    """A tensor by the tiling of which it is a Reshape.

    Attributes:
        tiling: The tensor with every merged axis taken apart.
        counts: How many axes of the tiling, in order, make each axis of the tensor.
    """

    tiling: Tiling
    counts: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Number of axes of the tensor."""
        return len(self.counts)

    @property
    def shape(self) -> Shape:
        """The tensor's shape."""
        return tuple(_product(self.sizes(axis)) for axis in range(self.rank))

    def sizes(self, axis: int) -> Shape:
        """Returns the sizes that make one axis of the tensor."""
        first = self.place(axis)
        return self.tiling.shape[first : first + self.counts[axis]]

    def place(self, axis: int) -> int:
        """Returns the first axis of the tiling that belongs to an axis of the tensor."""
        return sum(self.counts[:axis])

    def slice(self, bounds: Bounds, axis: int, start: Coord, size: Coord, step: int = 1) -> Table:
        """Returns ``size`` elements along an axis, the first at `start`, all of them inside the tensor."""
        sizes = self.sizes(axis)
        total = _product(sizes)
        if start == 0 and size == total and step == 1:
            return simplest(self)
        place = self.place(axis)
        if len(sizes) == 1:
            return simplest(Merged(self.tiling.slice(bounds, place, start, size, step), self.counts))
        row = _product(sizes[1:])
        first, rows = divide(start, row), divide(size, row)
        if step != 1 or first is None or rows is None:
            raise StrideError(_APART)
        return simplest(Merged(self.tiling.slice(bounds, place, first, rows), self.counts))

    def transpose(self, perm: Sequence[int]) -> Table:
        """Returns the tensor with axis ``t`` taken from axis ``perm[t]``."""
        inner = [self.place(axis) + i for axis in perm for i in range(self.counts[axis])]
        return simplest(Merged(self.tiling.transpose(inner), tuple(self.counts[axis] for axis in perm)))

    def insert_axes(self, axes: Sequence[int]) -> Table:
        """Returns the tensor with new axes of size 1 at the given positions of the result."""
        counts = list(self.counts)
        for axis in sorted(axes):
            counts.insert(axis, 1)
        places = [sum(counts[:axis]) for axis in sorted(axes)]
        return simplest(Merged(self.tiling.insert_axes(places), tuple(counts)))

    def drop_axes(self, axes: Sequence[int]) -> Table:
        """Returns the tensor without the given axes, which must be of size 1."""
        places = [self.place(axis) + i for axis in axes for i in range(self.counts[axis])]
        counts = tuple(count for axis, count in enumerate(self.counts) if axis not in axes)
        return simplest(Merged(self.tiling.drop_axes(places), counts))

    def expand(self, shape: Sequence[Coord]) -> Table:
        """Returns the tensor broadcast to a shape: leading axes are new, axes of size 1 grow."""
        wider = [1] * (len(shape) - self.rank) + list(self.counts)
        new: Shape = (1,) * (len(shape) - self.rank)
        grown, own = [*new, *self.tiling.shape], (*new, *self.shape)
        for axis, size in enumerate(shape):
            if own[axis] == 1 != size:
                grown[sum(wider[:axis])] = size
        return simplest(Merged(self.tiling.expand(grown), tuple(wider)))

    def map(self, function: Callable[[Content, Shape], Content]) -> Table:
        """Returns the tensor with every content replaced."""
        return simplest(Merged(self.tiling.map(function), self.counts))


@dataclass(frozen=True)
class View:
    """A source that is another one in another shape.

    Attributes:
        value: The other source.
        shape: The shape it is read in.
    """

    value: Hashable
    shape: Shape


Movement: TypeAlias = "Tiling | Interleaved | Merged"
Table: TypeAlias = "Tiling | Merged"


def simplest(tensor: Merged) -> Table:
    """Returns a tensor as a tiling where no axis of it is merged any more, or all elements are one number."""
    root = tensor.tiling.root
    if isinstance(root, Ramp) and root.is_constant:
        return Tiling.of(Ramp(root.base, (0,) * tensor.rank), tensor.shape)
    return tensor.tiling if all(count == 1 for count in tensor.counts) else tensor


def as_merged(tensor: Table) -> Merged:
    """Returns a tensor in the form that merged axes have, its own axes as they are."""
    return tensor if isinstance(tensor, Merged) else Merged(tensor, (1,) * tensor.rank)


def joined_along(axis: int, parts: Sequence[Table]) -> Table:
    """Returns the concatenation of tensors along an axis that is merged in none of them."""
    merged = [as_merged(part) for part in parts]
    if any(part.counts[axis] != 1 for part in merged):
        raise StrideError(_APART)
    for index in range(1, len(merged)):
        merged[0], merged[index] = _aligned(merged[0], merged[index], axis)
    merged = [_aligned(part, merged[0], axis)[0] for part in merged]
    result = concat(merged[0].place(axis), [part.tiling for part in merged])
    return simplest(Merged(result, merged[0].counts))


def combined(bounds: Bounds, first: Table, second: Table, function: Callable[[Content, Content, Shape], Node]) -> Table:
    """Returns an elementwise function of two tensors of one shape."""
    left, right = _aligned(as_merged(first), as_merged(second))
    return simplest(Merged(left.tiling.combine(bounds, right.tiling, function), left.counts))


def regrouped(tensor: Table, shape: Sequence[Coord]) -> Table:
    """Returns a Reshape of a tensor.

    Raises:
        StrideError: The new axes are no products of the old ones or of parts of them.
    """
    tiling = tensor.tiling if isinstance(tensor, Merged) else tensor
    if 0 in tiling.shape:
        raise StrideError("a reshape of an empty tensor")
    tiling = tiling.drop_axes([t for t, size in enumerate(tiling.shape) if size == 1])
    counts: list[int] = []
    place = 0
    for size in shape:
        first = place
        left = size
        while left != 1:
            if place == tiling.rank:
                raise StrideError(_APART)
            rest = divide(left, tiling.shape[place])
            if rest is None:
                tiling = split_axis(tiling, place, left)
                rest = 1
            left = rest
            place += 1
        if place == first:
            tiling = tiling.insert_axes([place])
            place += 1
        counts.append(place - first)
    if place != tiling.rank:
        raise StrideError(_APART)
    return simplest(Merged(tiling, tuple(counts)))


def split_axis(tiling: Tiling, axis: int, rows: Coord) -> Tiling:
    """Returns a tiling with an axis taken apart into `rows` and what is left, in row-major order.

    Raises:
        StrideError: The rows do not divide the axis or the boxes along it, or a tensor is read along it.
    """
    columns = divide(tiling.shape[axis], rows)
    if columns is None:
        raise StrideError(_APART)
    straight = tiling.straight()
    root = _split(straight.root, axis, columns)
    shape = (*tiling.shape[:axis], rows, columns, *tiling.shape[axis + 1 :])
    return Tiling(shape, tuple(range(len(shape))), root).map(lambda content, _: content)


def _split(node: Node, axis: int, columns: Coord) -> Node:
    if isinstance(node, Cut):
        starts = node.starts
        if node.axis == axis:
            rows = [divide(start, columns) for start in starts]
            if any(row is None for row in rows):
                raise StrideError(_APART)
            starts = tuple(row for row in rows if row is not None)
        children = tuple(_split(child, axis, columns) for child in node.children)
        return Cut(node.axis + (node.axis > axis), starts, children)
    if isinstance(node, Ramp):
        step = node.steps[axis]
        return Ramp(node.base, (*node.steps[:axis], columns * step, step, *node.steps[axis + 1 :]))
    if isinstance(node, Read):
        raise StrideError(_APART)
    return node


def _aligned(first: Merged, second: Merged, joined: int | None = None) -> tuple[Merged, Merged]:
    """Returns two tensors of one shape with every axis but a joined one taken apart in the same way."""
    for axis in range(first.rank):
        if axis == joined:
            continue
        if first.sizes(axis) != second.sizes(axis):
            factors = _common(first.sizes(axis), second.sizes(axis))
            first, second = _apart(first, axis, factors), _apart(second, axis, factors)
    return first, second


def _common(first: Shape, second: Shape) -> Shape:
    """Returns sizes of which both lists of sizes are made, in row-major order."""
    left, right = [s for s in first if s != 1], [s for s in second if s != 1]
    found: list[Coord] = []
    while left and right:
        a, b = left.pop(0), right.pop(0)
        over, under = divide(a, b), divide(b, a)
        if over is None and under is None:
            raise StrideError(_APART)
        found.append(a if over is None else b)
        if over is not None and over != 1:
            left.insert(0, over)
        elif over is None and under is not None:
            right.insert(0, under)
    if left or right:
        raise StrideError(_APART)
    return tuple(found) or (1,)


def _apart(tensor: Merged, axis: int, factors: Shape) -> Merged:
    place = tensor.place(axis)
    ones = [place + i for i, size in enumerate(tensor.sizes(axis)) if size == 1]
    tiling = tensor.tiling.drop_axes(ones)
    for index, factor in enumerate(factors):
        if place + index == tiling.rank or factor == 1:
            tiling = tiling.insert_axes([place + index])
        elif tiling.shape[place + index] != factor:
            tiling = split_axis(tiling, place + index, factor)
    return Merged(tiling, (*tensor.counts[:axis], len(factors), *tensor.counts[axis + 1 :]))


def _product(sizes: Sequence[Coord]) -> Coord:
    total: Coord = 1
    for size in sizes:
        total = total * size
    return total
