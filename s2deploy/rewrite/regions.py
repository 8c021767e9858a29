"""The region algebra: a tensor as disjoint boxes that cover it, each saying where its elements come from.

A `Tiling` is a tree of boxes (`tree.py`) whose leaves hold contents (`contents.py`). Composition is the only thing
that happens: slicing, writing or concatenating tilings gives the tiling of the result in terms of the original
sources, so eight overlapping slice assignments become one tiling of the tensor they started from. Subtrees are
shared and a transpose only renames axes, so a chain of n movements costs close to n steps however long it gets.

Every operation preserves the value exactly. Where the declared ranges do not decide how two boxes lie
(`coordinates.py`), an operation raises `UndecidedError` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Content, Shape, identity, normalized
from s2deploy.rewrite.coordinates import Coord
from s2deploy.rewrite.tree import Cut, Node, boxes, combined, joined, mapped, renamed, sliced, written


@dataclass(frozen=True, eq=False)
class Tiling:
    """A tensor by where its elements come from.

    Attributes:
        shape: One coordinate per axis.
        order: Axis ``t`` of the tensor is axis ``order[t]`` of the tree.
        root: The tree.
    """

    shape: Shape
    order: tuple[int, ...]
    root: Node

    @staticmethod
    def of(content: Content, shape: Sequence[Coord]) -> Tiling:
        """Returns the tiling of one box."""
        shape = tuple(shape)
        return Tiling(shape, tuple(range(len(shape))), normalized(content, shape))

    @staticmethod
    def whole(source: Hashable, shape: Sequence[Coord]) -> Tiling:
        """Returns the tiling that reads a source of the given shape unchanged."""
        return Tiling.of(identity(source, shape), shape)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def transpose(self, perm: Sequence[int]) -> Tiling:
        """Returns the tiling with axis ``t`` taken from axis ``perm[t]``."""
        return Tiling(tuple(self.shape[p] for p in perm), tuple(self.order[p] for p in perm), self.root)

    def slice(self, bounds: Bounds, axis: int, start: Coord, size: Coord, step: int = 1) -> Tiling:
        """Returns ``size`` elements along an axis, the first at `start`, all of them inside the tensor."""
        root = sliced(bounds, self.root, self._tree_shape(), self.order[axis], start, size, step)
        return Tiling((*self.shape[:axis], size, *self.shape[axis + 1 :]), self.order, root)

    def box(self, bounds: Bounds, starts: Sequence[Coord], shape: Sequence[Coord]) -> Tiling:
        """Returns the box of the given shape at `starts`."""
        result = self
        for axis, (start, size) in enumerate(zip(starts, shape, strict=True)):
            result = result.slice(bounds, axis, start, size)
        return result

    def write(self, bounds: Bounds, starts: Sequence[Coord], update: Tiling) -> Tiling:
        """Returns the tiling with the box of the update's shape at `starts` replaced by the update."""
        tree_starts = _permuted(starts, self.order)
        update = update._reordered(self.order)
        box = update._tree_shape()
        root = written(bounds, self.root, self._tree_shape(), tree_starts, box, update.root)
        return Tiling(self.shape, self.order, root)

    def expand(self, shape: Sequence[Coord]) -> Tiling:
        """Returns the tiling broadcast to a shape: leading axes are new, axes of size 1 grow."""
        tiling = self.insert_axes(range(len(shape) - self.rank))
        # Contents are unmapped along an axis of size 1 and no cut divides one, so the tree stands as it is.
        return Tiling(tuple(shape), tiling.order, tiling.root)

    def insert_axes(self, axes: Sequence[int]) -> Tiling:
        """Returns the tiling with new axes of size 1 at the given positions of the result."""
        if not axes:
            return self
        rank = self.rank + len(axes)
        kept = [t for t in range(rank) if t not in set(axes)]
        return self._with_axes(dict(zip(range(self.rank), kept, strict=True)), rank)

    def drop_axes(self, axes: Sequence[int]) -> Tiling:
        """Returns the tiling without the given axes, which must be of size 1."""
        if not axes:
            return self
        kept = [t for t in range(self.rank) if t not in set(axes)]
        return self._with_axes({old: new for new, old in enumerate(kept)}, len(kept))

    def boxes(self) -> Iterator[tuple[Shape, Shape, Content]]:
        """Yields ``(origin, shape, content)`` of every box, contents in the tensor's own axes."""
        straight = self._reordered(tuple(range(self.rank)))
        yield from boxes(straight.root, (0,) * self.rank, straight.shape)

    def map(self, function: Callable[[Content, Shape], Content]) -> Tiling:
        """Returns the tiling with every content replaced; the function sees content and box shape in tree axes."""
        return Tiling(self.shape, self.order, mapped(self.root, self._tree_shape(), function))

    def combine(self, bounds: Bounds, other: Tiling, function: Callable[[Content, Content, Shape], Node]) -> Tiling:
        """Returns the tiling of an elementwise function of two tensors of one shape, on their common refinement."""
        other = other._reordered(self.order)
        root = combined(bounds, self.root, other.root, self._tree_shape(), function)
        return Tiling(self.shape, self.order, root)

    def straight(self) -> Tiling:
        """Returns the same tiling with tree axes and tensor axes alike."""
        return self._reordered(tuple(range(self.rank)))

    def _tree_shape(self) -> Shape:
        return _permuted(self.shape, self.order)

    def _reordered(self, order: tuple[int, ...]) -> Tiling:
        if order == self.order:
            return self
        new_axis = dict(zip(self.order, order, strict=True))
        return Tiling(self.shape, order, renamed(self.root, new_axis, self.rank))

    def _with_axes(self, new_axis: dict[int, int], rank: int) -> Tiling:
        straight = self.straight()
        shape: list[Coord] = [1] * rank
        for old, new in new_axis.items():
            shape[new] = self.shape[old]
        return Tiling(tuple(shape), tuple(range(rank)), renamed(straight.root, new_axis, rank))


def concat(axis: int, tilings: Sequence[Tiling]) -> Tiling:
    """Returns the concatenation of tilings along an axis."""
    first = max(tilings, key=lambda tiling: len(tiling.root.children) if isinstance(tiling.root, Cut) else 0)
    size: Coord = 0
    for tiling in tilings:
        size = size + tiling.shape[axis]
    parts = [(tiling.shape[axis], tiling._reordered(first.order).root) for tiling in tilings]
    shape = (*first.shape[:axis], size, *first.shape[axis + 1 :])
    return Tiling(shape, first.order, joined(first.order[axis], parts))


def _permuted(values: Sequence[Coord], order: Sequence[int]) -> Shape:
    result: list[Coord] = [0] * len(values)
    for value, position in zip(values, order, strict=True):
        result[position] = value
    return tuple(result)
