"""Shapes in which one tensor may be read: which axes of one make which axes of the other.

A Reshape, Squeeze or Unsqueeze keeps elements in their order, so the axes before and after fall into groups of equal
size, as small as can be: ``(b, 3, h, w, c)`` and ``(b, 3, h*w, c)`` have the groups b to b, 3 to 3, h and w to h*w, and
c to c. What is done to whole groups, such as reducing them or broadcasting along them, can be done in either shape.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Coord, divide

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """Axes of a tensor in one shape, and the axes they are in the other."""

    inner: tuple[int, ...]
    outer: tuple[int, ...]


def groups(inner: Shape, outer: Shape) -> tuple[Group, ...] | None:
    """Returns the groups of axes of two shapes of one tensor, in order; None where they are not known to match."""
    if 0 in inner or 0 in outer:
        return None
    found: list[Group] = []
    i = j = 0
    while i < len(inner) and j < len(outer):
        first_i, first_j = i, j
        left, right = inner[i], outer[j]
        i, j = i + 1, j + 1
        while left != right:
            if i < len(inner) and divide(right, left) is not None:
                left = left * inner[i]
                i += 1
            elif j < len(outer) and divide(left, right) is not None:
                right = right * outer[j]
                j += 1
            else:
                return None
        found.append(Group(tuple(range(first_i, i)), tuple(range(first_j, j))))
    rest = (*inner[i:], *outer[j:])
    if any(size != 1 for size in rest):
        return None
    if rest and not found:
        return (Group(tuple(range(len(inner))), tuple(range(len(outer)))),)
    if rest:
        last = found.pop()
        found.append(Group((*last.inner, *range(i, len(inner))), (*last.outer, *range(j, len(outer)))))
    return tuple(found)


def own_axis(inner: Shape, outer: Shape, axis: int) -> tuple[int, Coord] | None:
    """Returns the inner axis that is one outer axis, or begins with it, and how many elements go to one position of it.

    None where there is none: after a Reshape of ``(b, 2*c)`` to ``(b, 2, c)`` the 2 is the inner axis 1 by rows of c,
    and the c is none.
    """
    for group in groups(inner, outer) or ():
        if axis in group.outer:
            wide = [a for a in group.inner if inner[a] != 1]
            apart = [a for a in group.outer if outer[a] != 1]
            if apart[:1] != [axis] or len(wide) != 1:
                return None
            return wide[0], size_of([outer[a] for a in apart[1:]])
    return None


def seen_from(inner: Shape, outer: Shape, operand: Shape) -> Shape | None:
    """Returns the shape that makes an operand fit the inner shape if it is broadcast to the outer one as it is.

    None where it is broadcast along a part of a group. Axes of size 1 in front are left out.
    """
    wide: Shape = (*((1,) * (len(outer) - len(operand))), *operand)
    sizes: list[Coord] = [1] * len(inner)
    for group in groups(inner, outer) or ():
        theirs = [wide[a] for a in group.outer]
        if theirs == [outer[a] for a in group.outer]:
            for a in group.inner:
                sizes[a] = inner[a]
        elif any(size != 1 for size in theirs):
            return None
    while sizes and sizes[0] == 1:
        del sizes[0]
    return tuple(sizes)


def reduced_axes(inner: Shape, outer: Shape, axes: Collection[int]) -> tuple[int, ...] | None:
    """Returns the inner axes that some outer axes are; None where they are a part of a group."""
    found: list[int] = []
    for group in groups(inner, outer) or ():
        wide = {a for a in group.outer if outer[a] != 1}
        if wide & set(axes):
            if not wide <= set(axes):
                return None
            found += [a for a in group.inner if inner[a] != 1]
    return tuple(found)


def without(shape: Sequence[T], axes: Collection[int]) -> tuple[T, ...]:
    """Returns a shape, or whatever has an entry for each axis, without some of its axes."""
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def trimmed(shape: Sequence[Coord]) -> Shape:
    """Returns a shape without its axes of size 1."""
    return tuple(size for size in shape if size != 1)


def size_of(shape: Sequence[Coord]) -> Coord:
    """Returns the number of elements of a shape."""
    total: Coord = 1
    for size in shape:
        total = total * size
    return total


def broadcast(shapes: Sequence[Shape]) -> Shape | None:
    """Returns the shape that operands are broadcast to, None where that is not known."""
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Coord] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if size not in (1, result[axis]):
                if result[axis] != 1:
                    return None
                result[axis] = size
    return tuple(result)
