"""Trees of boxes: a leaf is a content, a cut divides a box along one axis.

Positions are relative to the box and nodes are never changed, so trees share what they have in common: replacing
one of n children copies references and nothing else. A node does not store its shape; every function takes the
shape of the box it works on, one coordinate per tree axis.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Content, Shape, merged, moved, normalized, renumbered
from s2deploy.rewrite.coordinates import Coord, UndecidedError


@dataclass(frozen=True, eq=False)
class Cut:
    """A box divided along `axis`; child k begins at ``starts[k]`` and ends where the next one begins."""

    axis: int
    starts: tuple[Coord, ...]
    children: tuple[Node, ...]

    def pieces(self, size: Coord) -> Iterator[tuple[Coord, Coord, Node]]:
        """Yields ``(start, size, child)`` in order, for a box of the given size along `axis`."""
        ends = (*self.starts[1:], size)
        for start, end, child in zip(self.starts, ends, self.children, strict=True):
            yield start, end - start, child


Node: TypeAlias = "Cut | Content"
Part: TypeAlias = "tuple[Coord, Node]"


def count_boxes(node: Node, limit: int) -> int:
    """Returns the number of boxes of a tree, or `limit` if there are at least that many."""
    if not isinstance(node, Cut):
        return 1
    total = 0
    for child in node.children:
        total += count_boxes(child, limit - total)
        if total >= limit:
            return limit
    return total


def resized(shape: Shape, axis: int, size: Coord) -> Shape:
    """Returns the shape with one size replaced."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def joined(axis: int, parts: Sequence[Part]) -> Node:
    """Joins neighbours along an axis: nested cuts are flattened, empty parts dropped, continuing boxes merged."""
    starts: list[Coord] = []
    sizes: list[Coord] = []
    children: list[Node] = []
    position: Coord = 0

    def append(size: Coord, node: Node) -> None:
        nonlocal position
        if size == 0:
            return
        if children and not isinstance(node, Cut):
            last = children[-1]
            one = None if isinstance(last, Cut) else merged(axis, last, sizes[-1], node, size)
            if one is not None:
                children[-1] = one
                sizes[-1] = sizes[-1] + size
                position = position + size
                return
        starts.append(position)
        sizes.append(size)
        children.append(node)
        position = position + size

    for size, node in parts:
        if isinstance(node, Cut) and node.axis == axis:
            for _, inner_size, child in node.pieces(size):
                append(inner_size, child)
        else:
            append(size, node)
    if not children:
        return parts[0][1]
    return children[0] if len(children) == 1 else Cut(axis, tuple(starts), tuple(children))


def sliced(bounds: Bounds, node: Node, shape: Shape, axis: int, start: Coord, size: Coord, step: int) -> Node:
    """Returns ``size`` elements along an axis, the first at `start`; all must lie inside the box."""
    if start == 0 and step == 1 and size == shape[axis]:
        return node
    if not isinstance(node, Cut):
        return normalized(moved(node, axis, start, step), resized(shape, axis, size))
    if node.axis != axis:
        parts = [
            (part, sliced(bounds, child, resized(shape, node.axis, part), axis, start, size, step))
            for _, part, child in node.pieces(shape[node.axis])
        ]
        return joined(node.axis, parts)
    if step != 1:
        return _strided(bounds, node, shape, start, size, step)
    end = start + size
    first, last = _overlapped(bounds, node, shape[axis], start, end)
    parts = []
    for index in range(first, last):
        low = node.starts[index]
        high = node.starts[index + 1] if index + 1 < len(node.starts) else shape[axis]
        begin = bounds.larger(low, start) if index == first else low
        stop = bounds.smaller(high, end) if index == last - 1 else high
        inner = resized(shape, axis, high - low)
        parts.append((stop - begin, sliced(bounds, node.children[index], inner, axis, begin - low, stop - begin, 1)))
    if not parts:
        return sliced(bounds, node.children[0], resized(shape, axis, node.starts[1]), axis, 0, size, 1)
    return joined(axis, parts)


def _strided(bounds: Bounds, node: Cut, shape: Shape, start: Coord, size: Coord, step: int) -> Node:
    """Slices a cut along its own axis with a step: element by element of each child where positions are known."""
    axis = node.axis
    if size == 1:
        return sliced(bounds, node, shape, axis, start, 1, 1)
    last = start + (size - 1) * step
    if step == -1:
        forward = sliced(bounds, node, shape, axis, last, size, 1)
        if not isinstance(forward, Cut) or forward.axis != axis:
            return sliced(bounds, forward, resized(shape, axis, size), axis, size - 1, size, -1)
        pieces = reversed(list(forward.pieces(size)))
        parts = [
            (part, sliced(bounds, child, resized(shape, axis, part), axis, part - 1, part, -1))
            for _, part, child in pieces
        ]
        return joined(axis, parts)
    if not (isinstance(start, int) and isinstance(size, int)):
        raise UndecidedError(f"a slice with step {step} through several boxes needs a fixed size, not {size}")
    forward_start, forward_step = (start, step) if step > 0 else (start + (size - 1) * step, -step)
    end = forward_start + (size - 1) * forward_step + 1
    parts = []
    for low, part, child in node.pieces(shape[axis]):
        if not (isinstance(low, int) and isinstance(part, int)):
            if bounds.at_most(end, low):
                break
            raise UndecidedError(f"a slice with step {step} through several boxes needs fixed sizes, not {part}")
        skipped = max(0, -((forward_start - low) // forward_step)) if low > forward_start else 0
        begin = forward_start + skipped * forward_step
        count = max(0, -((begin - min(low + part, end)) // forward_step))
        if count:
            inner = resized(shape, axis, part)
            parts.append((count, sliced(bounds, child, inner, axis, begin - low, count, forward_step)))
    forward = joined(axis, parts)
    if step > 0:
        return forward
    return sliced(bounds, forward, resized(shape, axis, size), axis, size - 1, size, -1)


def _overlapped(bounds: Bounds, node: Cut, total: Coord, start: Coord, end: Coord) -> tuple[int, int]:
    """Returns the range of children that ``[start, end)`` touches."""
    starts = node.starts
    if isinstance(start, int) and isinstance(end, int) and isinstance(starts[-1], int):
        return bisect_right(starts, start) - 1, bisect_left(starts, end)  # type: ignore[type-var]  # all are ints
    first, last = 0, len(starts)
    while first + 1 < last and not _ends_before(bounds, start, starts[first + 1]):
        first += 1
    while last - 1 > first and end != total and not _ends_before(bounds, starts[last - 1], end):
        last -= 1
    return first, last


def _ends_before(bounds: Bounds, position: Coord, limit: Coord) -> bool:
    """Whether a position lies in front of a limit, or on it where that is undecided (empty parts do no harm)."""
    if bounds.at_most(limit, position):
        return False
    return bounds.require_at_most(position, limit)


def written(bounds: Bounds, node: Node, shape: Shape, starts: Shape, box: Shape, update: Node) -> Node:
    """Returns the tree with the box of shape `box` at `starts` replaced by `update`."""
    partial = [axis for axis, size in enumerate(shape) if not (starts[axis] == 0 and box[axis] == size)]
    if not partial:
        return update
    if isinstance(node, Cut):
        return _written_in_cut(bounds, node, shape, starts, box, update, splice=partial == [node.axis])
    axis = _narrowest(partial, shape, box)
    start, size = starts[axis], box[axis]
    after = shape[axis] - start - size
    middle = sliced(bounds, node, shape, axis, start, size, 1)
    parts = [
        (start, sliced(bounds, node, shape, axis, 0, start, 1)),
        (size, written(bounds, middle, resized(shape, axis, size), resized(starts, axis, 0), box, update)),
        (after, sliced(bounds, node, shape, axis, start + size, after, 1)),
    ]
    return joined(axis, parts)


def _written_in_cut(
    bounds: Bounds, node: Cut, shape: Shape, starts: Shape, box: Shape, update: Node, *, splice: bool
) -> Node:
    """Writes into the children the box touches, all others untouched; a splice puts the update in as it is."""
    axis, total = node.axis, shape[node.axis]
    start, end = starts[axis], starts[axis] + box[axis]
    first, last = _overlapped(bounds, node, total, start, end)
    # One neighbour on either side takes part, so that boxes that continue each other become one.
    low, high = max(first - 1, 0), min(last + 1, len(node.children))
    parts: list[Part] = []
    for index in range(low, high):
        child, begin = node.children[index], node.starts[index]
        stop = node.starts[index + 1] if index + 1 < len(node.starts) else total
        inner = resized(shape, axis, stop - begin)
        if not first <= index < last:
            parts.append((stop - begin, child))
            continue
        left = bounds.larger(begin, start) if index == first else begin
        right = bounds.smaller(stop, end) if index == last - 1 else stop
        if splice:
            if index == first:
                parts.append((left - begin, sliced(bounds, child, inner, axis, 0, left - begin, 1)))
                parts.append((box[axis], update))
            if index == last - 1:
                rest = stop - right
                parts.append((rest, sliced(bounds, child, inner, axis, right - begin, rest, 1)))
            continue
        piece = sliced(bounds, update, box, axis, left - start, right - left, 1)
        offset, piece_box = resized(starts, axis, left - begin), resized(box, axis, right - left)
        parts.append((stop - begin, written(bounds, child, inner, offset, piece_box, piece)))
    middle = joined(axis, parts)
    if low == 0 and high == len(node.children):
        return middle
    spliced = middle if isinstance(middle, Cut) and middle.axis == axis else Cut(axis, (0,), (middle,))
    base = node.starts[low]
    new_starts = spliced.starts if base == 0 else tuple(base + begin for begin in spliced.starts)
    return Cut(
        axis,
        (*node.starts[:low], *new_starts, *node.starts[high:]),
        (*node.children[:low], *spliced.children, *node.children[high:]),
    )


def _narrowest(partial: Sequence[int], shape: Shape, box: Shape) -> int:
    """Returns the axis to cut first: the one of which the box takes the smallest known share, else the last."""

    def share(axis: int) -> tuple[float, int]:
        size, total = box[axis], shape[axis]
        if isinstance(size, int):
            return (size / total if isinstance(total, int) else 0.0), -axis
        return 1.0, -axis

    return min(partial, key=share)


def renamed(node: Node, new_axis: Mapping[int, int], rank: int) -> Node:
    """Returns the tree with its axes renumbered; axes without a new number must be of size 1."""
    if not isinstance(node, Cut):
        return renumbered(node, new_axis, rank)
    children = tuple(renamed(child, new_axis, rank) for child in node.children)
    return Cut(new_axis[node.axis], node.starts, children)


def boxes(node: Node, origin: Shape, shape: Shape) -> Iterator[tuple[Shape, Shape, Content]]:
    """Yields ``(origin, shape, content)`` of every leaf."""
    if not isinstance(node, Cut):
        yield origin, shape, node
        return
    axis = node.axis
    for start, size, child in node.pieces(shape[axis]):
        yield from boxes(child, resized(origin, axis, origin[axis] + start), resized(shape, axis, size))


def mapped(node: Node, shape: Shape, function: Callable[[Content, Shape], Content]) -> Node:
    """Returns the tree with every content replaced by ``function(content, shape)``."""
    if not isinstance(node, Cut):
        return normalized(function(node, shape), shape)
    parts = [
        (size, mapped(child, resized(shape, node.axis, size), function))
        for _, size, child in node.pieces(shape[node.axis])
    ]
    return joined(node.axis, parts)


def combined(
    bounds: Bounds, first: Node, second: Node, shape: Shape, function: Callable[[Content, Content, Shape], Node]
) -> Node:
    """Returns the tree of an elementwise function of two trees, on their common refinement."""
    if isinstance(first, Cut):
        cut = first
    elif isinstance(second, Cut):
        cut = second
    else:
        return function(first, second, shape)
    parts: list[Part] = []
    for start, size, _ in cut.pieces(shape[cut.axis]):
        left = sliced(bounds, first, shape, cut.axis, start, size, 1)
        right = sliced(bounds, second, shape, cut.axis, start, size, 1)
        parts.append((size, combined(bounds, left, right, resized(shape, cut.axis, size), function)))
    return joined(cut.axis, parts)
