"""Assignments with a step: an axis of size k*m seen as m rows of k phases.

Before: ``z[s::k] = u``, a scatter with the indices ``s, s + k, ...``. After: the axis split into ``(m, k)``, where the
assignment is the box ``[s // k :, s % k]``, and one Reshape back. Further assignments with the same steps go on in the
split tensor, so that ``z[0::2] = a; z[1::2] = b`` is one Concat and one Reshape.
Requires: k divides the size; a short assignment on any other axis is written row by row. Refuses otherwise.
Preserves the value exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Bounds, Coord, divide
from s2deploy.rewrite.regions import Tiling, concat

_MOST_ROWS = 64


class StrideError(Exception):
    """An assignment with a step that has no such form; the message says why."""


@dataclass(frozen=True, eq=False)
class Interleaved:
    """A tensor by a tiling in which some axes are split into rows and phases.

    Attributes:
        tiling: The split tensor; an axis with a factor above 1 is two axes there, rows first.
        factors: The number of phases of each axis of the tensor, 1 where it is not split.
        shape: The tensor's shape.
    """

    tiling: Tiling
    factors: tuple[int, ...]
    shape: Shape


def assign(
    bounds: Bounds, data: Tiling | Interleaved, starts: Sequence[Coord], steps: Sequence[int], update: Tiling
) -> Tiling | Interleaved:
    """Returns the tensor with ``data[start::step, ...]`` replaced by the update, which has the tensor's rank.

    Raises:
        StrideError: The assignment has no form without a scatter.
    """
    steps = [1 if size == 1 else step for step, size in zip(steps, update.shape, strict=True)]
    if isinstance(data, Tiling):
        if all(step == 1 for step in steps):
            return data.write(bounds, starts, update)
        for axis, step in enumerate(steps):
            if step != 1 and divide(data.shape[axis], step) is None:
                return _row_by_row(bounds, data, starts, steps, update, axis)
        data = interleave(bounds, data, tuple(steps))
    return _write_phases(bounds, data, starts, steps, update)


def interleave(bounds: Bounds, data: Tiling, factors: tuple[int, ...]) -> Interleaved:
    """Returns a tensor with its axes split into rows and phases; each factor must divide its axis."""
    split = data
    for axis in reversed(range(data.rank)):
        count = factors[axis]
        if count == 1:
            continue
        rows = divide(data.shape[axis], count)
        if rows is None:
            raise StrideError(f"a step of {count} does not divide the size {data.shape[axis]}")
        phases = [split.slice(bounds, axis, phase, rows, count).insert_axes([axis + 1]) for phase in range(count)]
        split = concat(axis + 1, phases)
    return Interleaved(split, factors, data.shape)


def _write_phases(
    bounds: Bounds, data: Interleaved, starts: Sequence[Coord], steps: Sequence[int], update: Tiling
) -> Interleaved:
    whole = [start == 0 and size == full for start, size, full in zip(starts, update.shape, data.shape, strict=True)]
    factors = tuple(
        k if step == 1 and all_of_it else 1 for k, step, all_of_it in zip(data.factors, steps, whole, strict=True)
    )
    split = interleave(bounds, update, factors)
    places: list[Coord] = []
    phase_axes: list[int] = []
    for axis, (start, step, count) in enumerate(zip(starts, steps, data.factors, strict=True)):
        if count == 1:
            places.append(start)
        elif factors[axis] != 1:
            places += [0, 0]
        elif step in (1, count) and (step == count or update.shape[axis] == 1) and isinstance(start, int):
            phase_axes.append(len(places) + 1)
            places += [start // count, start % count]
        else:
            raise StrideError(f"assignments with the steps {count} and {step} along one axis")
        if count == 1 and step != 1:
            raise StrideError(f"assignments with the steps 1 and {step} along one axis")
    return Interleaved(
        data.tiling.write(bounds, places, split.tiling.insert_axes(phase_axes)), data.factors, data.shape
    )


def _row_by_row(
    bounds: Bounds, data: Tiling, starts: Sequence[Coord], steps: Sequence[int], update: Tiling, axis: int
) -> Tiling | Interleaved:
    rows = update.shape[axis]
    if not isinstance(rows, int) or rows > _MOST_ROWS:
        raise StrideError(f"an assignment with step {steps[axis]}, which does not divide the size {data.shape[axis]}")
    result: Tiling | Interleaved = data
    for row in range(rows):
        place = [*starts[:axis], starts[axis] + row * steps[axis], *starts[axis + 1 :]]
        result = assign(bounds, result, place, steps, update.slice(bounds, axis, row, 1))
    return result
