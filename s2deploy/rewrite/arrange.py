"""Arranging the boxes of a tiling so that few of them remain.

Before: a tree cut in the order the writes came. After: the tree with the fewest boxes found, of the same value.
A box may be split by a cut on the way; neighbours that read contiguously become one again afterwards. Small
tilings try every axis first, large ones take the axis with the most cuts that go through all boxes, and a tiling
no cut goes through (a pinwheel) is cut where the fewest boxes are split.

Refuses (returns the tree as it is) where the declared ranges do not order the cuts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Content, Shape, merged, moved, normalized
from s2deploy.rewrite.coordinates import Coord, UndecidedError
from s2deploy.rewrite.tree import Cut, Node, boxes, count_boxes, joined

_TRY_EVERY_AXIS = 32
_LEAVE_ALONE = 4096


@dataclass(frozen=True)
class _Box:
    """A box between grid lines: ``low`` and ``high`` are line numbers, one per axis."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    content: Content


Lines: TypeAlias = "Sequence[Sequence[Coord]]"


def arranged(bounds: Bounds, root: Node, shape: Shape) -> Node:
    """Returns a tree of the same value with no more boxes, and fewer where a better order of cuts is found."""
    if not isinstance(root, Cut) or not any(isinstance(child, Cut) for child in root.children):
        return root
    if count_boxes(root, _LEAVE_ALONE) == _LEAVE_ALONE:
        return root
    found = list(boxes(root, (0,) * len(shape), shape))
    try:
        lines = [
            bounds.sort([*(origin[t] for origin, _, _ in found), *(origin[t] + size[t] for origin, size, _ in found)])
            for t in range(len(shape))
        ]
    except UndecidedError:
        return root
    number = [{line: index for index, line in enumerate(along)} for along in lines]
    grid = [
        _Box(
            tuple(number[t][origin[t]] for t in range(len(shape))),
            tuple(number[t][origin[t] + size[t]] for t in range(len(shape))),
            content,
        )
        for origin, size, content in found
    ]
    better = _best(lines, grid, tuple(0 for _ in lines), tuple(len(along) - 1 for along in lines))
    return better if _weight(better) < _weight(root) else root


def _best(lines: Lines, found: Sequence[_Box], low: tuple[int, ...], high: tuple[int, ...]) -> Node:
    if len(found) == 1:
        return found[0].content
    axes = range(len(lines))
    positions = {axis: sorted({box.low[axis] for box in found} - {low[axis]}) for axis in axes}
    if len(found) <= _TRY_EVERY_AXIS:
        options = {axis: cuts for axis, cuts in positions.items() if cuts}
    else:
        through = {axis: _through(found, axis) for axis in axes}
        axis = max(through, key=lambda a: len(through[a]))
        options = {axis: through[axis]} if through[axis] else _cheapest_cut(found, positions)
    return min((_cut(lines, found, low, high, axis, cuts) for axis, cuts in options.items()), key=_weight)


def _cut(
    lines: Lines, found: Sequence[_Box], low: tuple[int, ...], high: tuple[int, ...], axis: int, cuts: Sequence[int]
) -> Node:
    """Returns the tree that cuts at the given lines of one axis first."""
    limits = [low[axis], *cuts, high[axis]]
    inside: list[list[_Box]] = [[] for _ in limits[1:]]
    for box in found:
        for slab in range(bisect_right(limits, box.low[axis]) - 1, bisect_left(limits, box.high[axis])):
            inside[slab].append(_clipped(lines, box, axis, limits[slab], limits[slab + 1]))
    slabs: list[tuple[Coord, Node]] = []
    for members, (begin, end) in zip(inside, pairwise(limits), strict=True):
        node = _best(lines, members, _replaced(low, axis, begin), _replaced(high, axis, end))
        size = lines[axis][end] - lines[axis][begin]
        fused = _fused(axis, slabs[-1][1], slabs[-1][0], node, size) if slabs else None
        if fused is None:
            slabs.append((size, node))
        else:
            slabs[-1] = (slabs[-1][0] + size, fused)
    return joined(axis, slabs)


def _clipped(lines: Lines, box: _Box, axis: int, begin: int, end: int) -> _Box:
    first, last = max(box.low[axis], begin), min(box.high[axis], end)
    if first == box.low[axis] and last == box.high[axis]:
        return box
    low, high = _replaced(box.low, axis, first), _replaced(box.high, axis, last)
    shape = tuple(along[h] - along[g] for along, g, h in zip(lines, low, high, strict=True))
    content = moved(box.content, axis, lines[axis][first] - lines[axis][box.low[axis]])
    return _Box(low, high, normalized(content, shape))


def _through(found: Sequence[_Box], axis: int) -> list[int]:
    """Returns the lines of an axis that no box crosses."""
    cuts: list[int] = []
    reached = -1
    for low, high in sorted((box.low[axis], box.high[axis]) for box in found):
        if 0 <= reached <= low:
            cuts.append(low)
        reached = max(reached, high)
    return cuts


def _cheapest_cut(found: Sequence[_Box], positions: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """Returns the axis and line that split the fewest boxes."""
    every = [(axis, position) for axis, cuts in positions.items() for position in cuts]
    axis, position = min(every, key=lambda cut: sum(box.low[cut[0]] < cut[1] < box.high[cut[0]] for box in found))
    return {axis: [position]}


def _replaced(numbers: tuple[int, ...], axis: int, number: int) -> tuple[int, ...]:
    return (*numbers[:axis], number, *numbers[axis + 1 :])


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
