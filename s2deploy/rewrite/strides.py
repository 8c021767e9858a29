"""Assignments with a step: an axis of size n seen as rows of k phases.

Before: ``z[s::k] = u``, a scatter with the indices ``s, s + k, ...``. After: the axis split into ``(rows, k)``,
where it is the box ``[s // k :, s % k]``, and one Reshape back. What goes on with the same steps goes on in the
split tensor, assignments and slices alike, so that ``z[0::2] = a; z[1::2] = b`` is one Concat and one Reshape.
Where k does not divide n, the last row is filled up and cut off again after the Reshape.
Requires: starts whose phase is known. Refuses otherwise. Preserves the value exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Coord, divide
from s2deploy.rewrite.regions import Tiling, concat

Filler = Callable[[], Tiling]
"""Gives the scalar that fills up rows which a step does not divide."""

_MOST_PHASES = 64


class StrideError(Exception):
    """A movement that has no form in a split tensor; the message says why."""


@dataclass(frozen=True, eq=False)
class Interleaved:
    """A tensor by a tiling in which some axes are split into rows and phases.

    Attributes:
        tiling: The split tensor; an axis with a factor above 1 is two axes there, rows first. Positions of the last
            row that lie beyond the axis hold anything.
        factors: The number of phases of each axis of the tensor, 1 where it is not split.
        shape: The tensor's shape.
    """

    tiling: Tiling
    factors: tuple[int, ...]
    shape: Shape

    @property
    def rank(self) -> int:
        """Number of axes of the tensor."""
        return len(self.shape)

    @property
    def filled_shape(self) -> Shape:
        """The tensor's shape with the last row of every split axis filled up."""
        rows = (self.tiling.shape[self._place(axis)] for axis in range(self.rank))
        return tuple(n if k == 1 else m * k for n, m, k in zip(self.shape, rows, self.factors, strict=True))

    def slice(self, bounds: Bounds, axis: int, start: Coord, size: Coord, step: int = 1) -> Interleaved | Tiling:
        """Returns ``size`` elements along an axis, the first at `start`, all of them inside the tensor.

        Raises:
            StrideError: They do not lie in whole rows or in one phase.
        """
        count, place = self.factors[axis], self._place(axis)
        if start == 0 and step == 1 and size == self.shape[axis]:
            return self
        shape = (*self.shape[:axis], size, *self.shape[axis + 1 :])
        if count == 1:
            return Interleaved(self.tiling.slice(bounds, place, start, size, step), self.factors, shape)
        row, phase = _row_and_phase(start, count)
        if step % count == 0 or size == 1:
            picked = self.tiling.slice(bounds, place + 1, phase, 1).drop_axes([place + 1])
            rows = picked.slice(bounds, place, row, size, 1 if size == 1 else step // count)
            return _unless_whole(rows, (*self.factors[:axis], 1, *self.factors[axis + 1 :]), shape)
        rows_taken = divide(size, count)
        if step != 1 or phase != 0 or rows_taken is None:
            raise StrideError(f"a slice with step {step} of an axis in steps of {count}")
        return Interleaved(self.tiling.slice(bounds, place, row, rows_taken), self.factors, shape)

    def box(self, bounds: Bounds, starts: Sequence[Coord], shape: Sequence[Coord]) -> Interleaved | Tiling:
        """Returns the box of the given shape at `starts`."""
        result: Interleaved | Tiling = self
        for axis, (start, size) in enumerate(zip(starts, shape, strict=True)):
            result = result.slice(bounds, axis, start, size)
        return result

    def transpose(self, perm: Sequence[int]) -> Interleaved:
        """Returns the tensor with axis ``t`` taken from axis ``perm[t]``."""
        inner: list[int] = []
        for axis in perm:
            place = self._place(axis)
            inner += [place] if self.factors[axis] == 1 else [place, place + 1]
        factors, shape = tuple(self.factors[p] for p in perm), tuple(self.shape[p] for p in perm)
        return Interleaved(self.tiling.transpose(inner), factors, shape)

    def insert_axes(self, axes: Sequence[int]) -> Interleaved:
        """Returns the tensor with new axes of size 1 at the given positions of the result."""
        factors, shape = list(self.factors), list(self.shape)
        for axis in sorted(axes):
            factors.insert(axis, 1)
            shape.insert(axis, 1)
        result = Interleaved(self.tiling, tuple(factors), tuple(shape))
        return Interleaved(
            self.tiling.insert_axes([result._place(axis) for axis in sorted(axes)]), tuple(factors), tuple(shape)
        )

    def drop_axes(self, axes: Sequence[int]) -> Interleaved:
        """Returns the tensor without the given axes, which must be of size 1."""
        if any(self.factors[axis] != 1 for axis in axes):
            raise StrideError("an axis in steps has no size of 1")
        kept = [axis for axis in range(self.rank) if axis not in axes]
        tiling = self.tiling.drop_axes([self._place(axis) for axis in axes])
        return Interleaved(tiling, tuple(self.factors[axis] for axis in kept), tuple(self.shape[axis] for axis in kept))

    def _place(self, axis: int) -> int:
        """Returns the axis of the split tensor where an axis, or its rows, lies."""
        return axis + sum(count != 1 for count in self.factors[:axis])


def assign(
    bounds: Bounds,
    data: Tiling | Interleaved,
    starts: Sequence[Coord],
    steps: Sequence[int],
    update: Tiling | Interleaved,
    filler: Filler,
) -> Tiling | Interleaved:
    """Returns the tensor with ``data[start::step, ...]`` replaced by the update, which has the tensor's rank.

    Raises:
        StrideError: The assignment has no form without a scatter.
    """
    steps = [1 if size == 1 else step for step, size in zip(steps, update.shape, strict=True)]
    factors = [
        math.lcm(own, step) if step != 1 or own != 1 else theirs
        for own, step, theirs in zip(_factors(data), steps, _factors(update), strict=True)
    ]
    if isinstance(data, Tiling) and isinstance(update, Tiling) and max(factors, default=1) == 1:
        return data.write(bounds, starts, update)
    for axis, (step, count) in enumerate(zip(steps, factors, strict=True)):
        if step not in (1, count):
            return _in_turns(bounds, data, starts, steps, update, filler, axis, count // step)
    return _write(bounds, split(bounds, data, factors, filler), starts, steps, update, filler)


def split(bounds: Bounds, data: Tiling | Interleaved, factors: Sequence[int], filler: Filler) -> Interleaved:
    """Returns a tensor with its axes split into rows and phases, finer than it is where a factor is a multiple.

    Raises:
        StrideError: An axis is split in another way already, or whether a factor divides it is not known.
    """
    result = data if isinstance(data, Interleaved) else Interleaved(data, (1,) * data.rank, data.shape)
    for axis, count in enumerate(factors):
        if count > _MOST_PHASES:
            raise StrideError(f"a step of {count}")
        if result.factors[axis] != count:
            result = _split_axis(bounds, result, axis, count, filler)
    return result


def _split_axis(bounds: Bounds, data: Interleaved, axis: int, count: int, filler: Filler) -> Interleaved:
    own, place = data.factors[axis], data._place(axis)
    factors = (*data.factors[:axis], count, *data.factors[axis + 1 :])
    if count % own:
        raise StrideError(f"steps of {own} and of {count} along one axis")
    total = data.tiling.shape[place]
    tiling, rows = data.tiling, divide(total, count // own)
    if rows is None:
        if not isinstance(total, int):
            raise StrideError(f"a step of {count} may not divide the size {data.shape[axis]}")
        rows = -(-total // (count // own))
        border = (*tiling.shape[:place], rows * (count // own) - total, *tiling.shape[place + 1 :])
        tiling = concat(place, [tiling, filler().expand(border)])
    phases = [tiling.slice(bounds, place, phase, rows, count // own) for phase in range(count // own)]
    if own == 1:
        phases = [phase.insert_axes([place + 1]) for phase in phases]
    return Interleaved(concat(place + 1, phases), factors, data.shape)


def _write(
    bounds: Bounds,
    data: Interleaved,
    starts: Sequence[Coord],
    steps: Sequence[int],
    update: Tiling | Interleaved,
    filler: Filler,
) -> Interleaved:
    places: list[Coord] = []
    phase_axes: list[int] = []
    factors: list[int] = []
    for axis, (start, step, count) in enumerate(zip(starts, steps, data.factors, strict=True)):
        size = update.shape[axis]
        factors.append(1)
        if count == 1:
            places.append(start)
            continue
        row, phase = _row_and_phase(start, count)
        if step == count or size == 1:
            phase_axes.append(len(places) + 1)
        elif phase == 0 and (divide(size, count) is not None or (row == 0 and size == data.shape[axis])):
            factors[-1] = count
        else:
            raise StrideError(f"assignments with the steps {count} and {step} along one axis")
        places += [row, phase]
    if isinstance(update, Interleaved) and any(f % own for f, own in zip(factors, update.factors, strict=True)):
        raise StrideError("what is assigned is in steps along another axis than its destination")
    inner = split(bounds, update, factors, filler).tiling.insert_axes(phase_axes)
    return Interleaved(data.tiling.write(bounds, places, inner), data.factors, data.shape)


def _in_turns(
    bounds: Bounds,
    data: Tiling | Interleaved,
    starts: Sequence[Coord],
    steps: Sequence[int],
    update: Tiling | Interleaved,
    filler: Filler,
    axis: int,
    turns: int,
) -> Tiling | Interleaved:
    """Assigns with a step that the split axis has already a multiple of: every so many elements at once."""
    size = update.shape[axis]
    wider = [*steps[:axis], steps[axis] * turns, *steps[axis + 1 :]]
    for turn in range(turns):
        rest = size - turn
        count = -(-rest // turns) if isinstance(rest, int) else divide(size, turns)
        if count is None:
            raise StrideError(f"whether {turns} divides the size {size} is not known")
        if isinstance(count, int) and count <= 0:
            break
        place = [*starts[:axis], starts[axis] + turn * steps[axis], *starts[axis + 1 :]]
        data = assign(bounds, data, place, wider, update.slice(bounds, axis, turn, count, turns), filler)
    return data


def _row_and_phase(position: Coord, count: int) -> tuple[Coord, int]:
    for phase in range(count):
        row = divide(position - phase, count)
        if row is not None:
            return row, phase
    raise StrideError(f"whether {count} divides {position} is not known")


def _factors(tensor: Tiling | Interleaved) -> tuple[int, ...]:
    return tensor.factors if isinstance(tensor, Interleaved) else (1,) * tensor.rank


def _unless_whole(tiling: Tiling, factors: tuple[int, ...], shape: Shape) -> Tiling | Interleaved:
    return tiling if max(factors) == 1 else Interleaved(tiling, factors, shape)
