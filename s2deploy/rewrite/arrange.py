"""Arranging the boxes of a tiling so that few of them remain.

Before: a tree cut in the order the writes came. After: the tree with the fewest boxes found, of the same value.
A box may be split by a cut on the way; neighbours that read contiguously become one again afterwards. Small
tilings try every axis first, large ones take the axis with the most cuts that go through all boxes, and a tiling
no cut goes through (a pinwheel) is cut where the fewest boxes are split.

Refuses (returns the tree as it is) where the declared ranges do not order the cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from s2deploy.rewrite.contents import Content, Shape, merged, moved, normalized
from s2deploy.rewrite.coordinates import Bounds, Coord, UndecidedError
from s2deploy.rewrite.tree import Cut, Node, boxes, count_boxes, joined, resized

_TRY_EVERY_AXIS = 32
_LEAVE_ALONE = 4096


@dataclass(frozen=True)
class _Box:
    origin: Shape
    shape: Shape
    content: Content


def arranged(bounds: Bounds, root: Node, shape: Shape) -> Node:
    """Returns a tree of the same value with no more boxes, and fewer where a better order of cuts is found."""
    total = count_boxes(root, _LEAVE_ALONE)
    if total in (1, _LEAVE_ALONE):
        return root
    found = [_Box(origin, size, content) for origin, size, content in boxes(root, (0,) * len(shape), shape)]
    try:
        better = _best(bounds, found, (0,) * len(shape), shape)
    except UndecidedError:
        return root
    return better if _weight(better) < _weight(root) else root


def _best(bounds: Bounds, found: Sequence[_Box], origin: Shape, shape: Shape) -> Node:
    if len(found) == 1:
        return found[0].content
    positions = {axis: bounds.sort(box.origin[axis] for box in found)[1:] for axis in range(len(shape))}
    if len(found) <= _TRY_EVERY_AXIS:
        options = {axis: cuts for axis, cuts in positions.items() if cuts}
    else:
        through = {axis: [c for c in cuts if not _crossed(bounds, found, axis, c)] for axis, cuts in positions.items()}
        axis = max(through, key=lambda a: len(through[a]))
        options = {axis: through[axis]} if through[axis] else _cheapest_cut(bounds, found, positions)
    trees = [_cut(bounds, found, origin, shape, axis, cuts) for axis, cuts in options.items()]
    return min(trees, key=_weight)


def _cut(bounds: Bounds, found: Sequence[_Box], origin: Shape, shape: Shape, axis: int, cuts: Sequence[Coord]) -> Node:
    """Returns the tree that cuts at the given positions along one axis first."""
    limits = [origin[axis], *cuts, origin[axis] + shape[axis]]
    slabs: list[tuple[Coord, Node]] = []
    for low, high in pairwise(limits):
        inside = [part for box in found if (part := _clipped(bounds, box, axis, low, high)) is not None]
        node = _best(bounds, inside, resized(origin, axis, low), resized(shape, axis, high - low))
        fused = _fused(axis, slabs[-1][1], slabs[-1][0], node, high - low) if slabs else None
        if fused is None:
            slabs.append((high - low, node))
        else:
            slabs[-1] = (slabs[-1][0] + (high - low), fused)
    return joined(axis, slabs)


def _clipped(bounds: Bounds, box: _Box, axis: int, low: Coord, high: Coord) -> _Box | None:
    start, end = box.origin[axis], box.origin[axis] + box.shape[axis]
    if bounds.require_at_most(end, low) or bounds.require_at_most(high, start):
        return None
    begin, stop = bounds.larger(start, low), bounds.smaller(end, high)
    if begin == start and stop == end:
        return box
    shape = resized(box.shape, axis, stop - begin)
    content = normalized(moved(box.content, axis, begin - start), shape)
    return _Box(resized(box.origin, axis, begin), shape, content)


def _crossed(bounds: Bounds, found: Sequence[_Box], axis: int, position: Coord) -> int:
    """Returns how many boxes a cut at a position would split."""
    return sum(
        not bounds.require_at_most(position, box.origin[axis])
        and not bounds.require_at_most(box.origin[axis] + box.shape[axis], position)
        for box in found
    )


def _cheapest_cut(bounds: Bounds, found: Sequence[_Box], positions: dict[int, list[Coord]]) -> dict[int, list[Coord]]:
    every = [(axis, position) for axis, cuts in positions.items() for position in cuts]
    axis, position = min(every, key=lambda cut: _crossed(bounds, found, *cut))
    return {axis: [position]}


def _fused(axis: int, first: Node, first_size: Coord, second: Node, second_size: Coord) -> Node | None:
    """Returns the tree of two neighbouring slabs that continue each other box by box, or None."""
    if not isinstance(first, Cut) and not isinstance(second, Cut):
        return merged(axis, first, first_size, second, second_size)
    if not (isinstance(first, Cut) and isinstance(second, Cut)):
        return None
    if first.axis != second.axis or first.axis == axis or first.starts != second.starts:
        return None
    children: list[Node] = []
    for left, right in zip(first.children, second.children, strict=True):
        one = _fused(axis, left, first_size, right, second_size)
        if one is None:
            return None
        children.append(one)
    return Cut(first.axis, first.starts, tuple(children))


def _weight(node: Node) -> tuple[int, int]:
    """Returns the number of boxes and of cuts, the fewer the better."""
    if not isinstance(node, Cut):
        return 1, 0
    weights = [_weight(child) for child in node.children]
    return sum(w[0] for w in weights), 1 + sum(w[1] for w in weights)
