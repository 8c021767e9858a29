"""What one box of a tiling holds: a read of a source, one scalar, or an integer ramp; and when two boxes are one.

All positions are relative to the box, so a box can be moved without touching what it holds. An axis of size 1
is never mapped (its read has one fixed index, its ramp no step): equal contents are equal values.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from s2deploy.rewrite.coordinates import Coord

Shape: TypeAlias = "tuple[Coord, ...]"


@dataclass(frozen=True)
class Axis:
    """How one axis of a source is indexed: ``start + step * i[out]``, or ``start`` alone where `out` is None."""

    start: Coord
    out: int | None = None
    step: int = 1


@dataclass(frozen=True)
class Read:
    """Element ``i`` is ``source[axis(i) for axis in axes]``; box axes that no source axis names are broadcast."""

    source: Hashable
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Scalar:
    """Every element is the same constant, identified by a key that distinguishes -0.0 from 0.0."""

    key: Hashable


@dataclass(frozen=True)
class Ramp:
    """Element ``i`` is the integer ``base + sum(step * i)``: index arithmetic, sizes, and masks as 0 and 1."""

    base: Coord
    steps: tuple[Coord, ...]

    @property
    def is_constant(self) -> bool:
        """Whether every element is `base`."""
        return not any(self.steps)


Content: TypeAlias = Read | Scalar | Ramp


def normalized(content: Content, shape: Shape) -> Content:
    """Returns the content with every axis of size 1 unmapped."""
    if 1 not in shape:
        return content
    if isinstance(content, Read):
        if any(axis.out is not None and shape[axis.out] == 1 for axis in content.axes):
            axes = (Axis(a.start) if a.out is not None and shape[a.out] == 1 else a for a in content.axes)
            return Read(content.source, tuple(axes))
    elif isinstance(content, Ramp) and any(step and size == 1 for step, size in zip(content.steps, shape, strict=True)):
        steps = (0 if size == 1 else step for step, size in zip(content.steps, shape, strict=True))
        return Ramp(content.base, tuple(steps))
    return content


def moved(content: Content, axis: int, start: Coord, step: int = 1) -> Content:
    """Returns the content seen from ``start + step * i`` along one box axis."""
    if isinstance(content, Read):
        if any(a.out == axis for a in content.axes):
            axes = (
                replace(a, start=a.start + start * a.step, step=a.step * step) if a.out == axis else a
                for a in content.axes
            )
            return Read(content.source, tuple(axes))
    elif isinstance(content, Ramp) and content.steps[axis]:
        slope = content.steps[axis]
        steps = (*content.steps[:axis], slope * step, *content.steps[axis + 1 :])
        return Ramp(content.base + slope * start, steps)
    return content


def renumbered(content: Content, new_axis: Mapping[int, int], rank: int) -> Content:
    """Returns the content with its box axes renumbered; axes without a new number must be of size 1."""
    if isinstance(content, Read):
        axes = (a if a.out is None else replace(a, out=new_axis[a.out]) for a in content.axes)
        return Read(content.source, tuple(axes))
    if isinstance(content, Ramp):
        steps: list[Coord] = [0] * rank
        for old, new in new_axis.items():
            steps[new] = content.steps[old]
        return Ramp(content.base, tuple(steps))
    return content


def merged(axis: int, first: Content, first_size: Coord, second: Content, second_size: Coord) -> Content | None:
    """Returns the one content that two neighbouring boxes along an axis amount to, or None."""
    if first == second and not _depends_on(first, axis):
        return first
    if isinstance(first, Read) and isinstance(second, Read):
        return _merged_reads(axis, first, first_size, second, second_size)
    if isinstance(first, Ramp) and isinstance(second, Ramp):
        return _merged_ramps(axis, first, first_size, second, second_size)
    return None


def _depends_on(content: Content, axis: int) -> bool:
    if isinstance(content, Read):
        return any(a.out == axis for a in content.axes)
    return isinstance(content, Ramp) and content.steps[axis] != 0


def _merged_reads(axis: int, first: Read, first_size: Coord, second: Read, second_size: Coord) -> Read | None:
    if first.source is not second.source or len(first.axes) != len(second.axes):
        return None
    different = [index for index, (a, b) in enumerate(zip(first.axes, second.axes, strict=True)) if a != b]
    mapped = [index for index, a in enumerate(first.axes) if a.out == axis]
    mapped = mapped or [index for index, a in enumerate(second.axes) if a.out == axis]
    index = (mapped or different)[0]
    if set(different) - {index}:
        return None
    a, b = first.axes[index], second.axes[index]
    step = a.step if a.out == axis else b.step if b.out == axis else 1
    fits = all(
        side.out == axis if size != 1 else side.out in (axis, None)
        for side, size in ((a, first_size), (b, second_size))
    )
    # Two single rows become a run only if they are neighbours in the source: any other step would block a longer run.
    if not fits or (a.out == b.out == axis and a.step != b.step) or b.start != a.start + first_size * step:
        return None
    axes = list(first.axes)
    axes[index] = Axis(a.start, axis, step)
    return Read(first.source, tuple(axes))


def _merged_ramps(axis: int, first: Ramp, first_size: Coord, second: Ramp, second_size: Coord) -> Ramp | None:
    others = [pair for i, pair in enumerate(zip(first.steps, second.steps, strict=True)) if i != axis]
    if any(a != b for a, b in others):
        return None
    if first_size != 1:
        slope = first.steps[axis]
        if second_size != 1 and second.steps[axis] != slope:
            return None
    else:
        slope = second.steps[axis] if second_size != 1 else second.base - first.base
    if second.base != first.base + slope * first_size:
        return None
    return Ramp(first.base, (*first.steps[:axis], slope, *first.steps[axis + 1 :]))


def identity(source: Hashable, shape: Sequence[Coord]) -> Read:
    """Returns the read of a whole source of the given shape."""
    return Read(source, tuple(Axis(0, None if size == 1 else out) for out, size in enumerate(shape)))
