"""Tilings that are a grouped spatial shift of one tensor, whatever operators made them.

A box of a tiling says which box of the source it reads. It agrees with a shift by ``(dy, dx)`` if every row and column
of it is read where the shift reads it: at ``i + dy``, or at the nearest row inside (replicate), or where that lies
outside and the box is zero (zero) or reads the position itself (keep). The boxes cover the tensor, so a tiling all of
whose boxes agree is that shift, and not only for the sizes at hand: every comparison follows from the declared ranges.

Requires: a tiling of rank 4 in the order of axes of its source, with the source's shape, and channels cut at known
positions; or one of rank 5, such as a clip of pictures, that is one of rank 4 with axes merged (`VIEWS`): a shift in
time of ``N x T x C x H x W`` is one of the rows of ``N x T x 1 x CHW``. Refuses (raises `NotAShiftError` with the
reason) any other.
Source: ``ops.spatial_shift`` defines what a shift reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise, product
from operator import mul

import onnx_ir as ir

from s2deploy.errors import RewriteError
from s2deploy.ops import Border, Configuration, Shift
from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Axis, Content, Read, Scalar, Shape
from s2deploy.rewrite.coordinates import Coord
from s2deploy.rewrite.regions import Tiling

_MOST_BOXES = 1024


@dataclass(frozen=True)
class View:
    """A tensor seen as a feature map of rank 4.

    Attributes:
        axes: The consecutive axes of the tensor that each of the four is; none for one of size 1.
        channel: The axis of the tensor whose groups are shifted.
        spatial: The axes that they are shifted along: rows, and columns where these are shifted as well.
        channels_last: Whether the channels are the last of the four axes, and not the second.
    """

    axes: tuple[tuple[int, ...], ...]
    channel: int
    spatial: tuple[int, ...]
    channels_last: bool

    def shape(self, shape: Shape) -> Shape:
        """Returns the four sizes of a tensor of the given shape."""
        return tuple(reduce(mul, (shape[axis] for axis in merged), 1) for merged in self.axes)

    def unit(self, shape: Shape) -> Coord:
        """Returns how many channels of the feature map one of the tensor is."""
        behind = [axis for axis in self.axes[3 if self.channels_last else 1] if axis > self.channel]
        return reduce(mul, (shape[axis] for axis in behind), 1)


_PLAIN = ((0,), (1,), (2,), (3,))
_CLIPS = ((0, 1), (2,), (3,), (4,))
VIEWS = {
    4: (View(_PLAIN, 1, (2, 3), False), View(_PLAIN, 3, (1, 2), True)),
    5: (
        View(((0,), (1,), (), (2, 3, 4)), 2, (1,), True),  # N T C H W, in time
        View(((0,), (1,), (2, 3), (4,)), 4, (1,), True),  # N T H W C, in time
        View(((0,), (1,), (2,), (3, 4)), 1, (2,), False),  # N C T H W, in time
        View(_CLIPS, 2, (3, 4), False),  # N T C H W, in space
        View(_CLIPS, 4, (2, 3), True),  # N T H W C, in space
    ),
}
"""The feature maps that tensors of a rank may be, the first one that is a shift counts."""
_BORDERS = (Border.REPLICATE, Border.ZERO, Border.KEEP)


class NotAShiftError(Exception):
    """A tensor is no shift that an operator could compute; the message says why."""


@dataclass(frozen=True)
class ShiftFound:
    """A tensor that is a shift.

    Attributes:
        source: What is shifted.
        configuration: How; `branches` is 1.
        view: What feature map it is seen as.
    """

    source: ir.Value
    configuration: Configuration
    view: View


@dataclass(frozen=True)
class _Box:
    """A box in the order of axes of the source: where it begins, its sizes, and what it holds."""

    origin: Shape
    shape: Shape
    content: Content


def shift_of(tiling: Tiling, bounds: Bounds, zero: Scalar) -> ShiftFound:
    """Returns the shift that a tiling is.

    Args:
        tiling: The tiling, of a rank in `VIEWS`.
        bounds: What is known of the sizes.
        zero: The content that is 0.0 of the tensor's type.

    Raises:
        NotAShiftError: It is none.
    """
    boxes: list[_Box] = []
    for origin, shape, content in tiling.boxes():
        boxes.append(_Box(origin, shape, content))
        if len(boxes) > _MOST_BOXES:
            raise NotAShiftError(f"it has more than {_MOST_BOXES} boxes")
    sources = {box.content.source for box in boxes if isinstance(box.content, Read)}
    if len(sources) != 1 or not isinstance(source := next(iter(sources)), ir.Value):
        raise NotAShiftError("it is movement of more than one tensor")
    if any(isinstance(box.content, Read) and len(box.content.axes) != tiling.rank for box in boxes):
        raise NotAShiftError(f"{source.name} has another number of axes")
    reasons = []
    for view in VIEWS[tiling.rank]:
        try:
            return ShiftFound(source, _configuration(tiling.shape, boxes, bounds, zero, view), view)
        except NotAShiftError as error:
            reasons.append(str(error))
        except RewriteError as error:
            raise NotAShiftError(error.message) from error
    if len(reasons) > 2:
        raise NotAShiftError(f"in time or space: {', or '.join(dict.fromkeys(reasons))}")
    raise NotAShiftError(reasons[0] if reasons[0] == reasons[1] else f"{reasons[0]}; with channels last, {reasons[1]}")


def _configuration(shape: Shape, boxes: Sequence[_Box], bounds: Bounds, zero: Scalar, view: View) -> Configuration:
    """Returns the groups of channels and their offsets, the same border for all."""
    channel, unit = view.channel, view.unit(shape)
    if not isinstance(unit, int):
        raise NotAShiftError("the sizes of a picture are not known")
    cuts = {position for box in boxes for position in (box.origin[channel], box.origin[channel] + box.shape[channel])}
    if not all(isinstance(position, int) for position in cuts):
        raise NotAShiftError("the channels are cut where their number decides")
    for box in boxes:
        if isinstance(box.content, Read):
            for axis in range(len(shape)):
                if axis not in view.spatial and not _reads_at(box, axis, 0):
                    raise NotAShiftError("other samples or channels are read than those that are written")
    groups = []
    for begin, end in pairwise(sorted(int(str(position)) for position in cuts)):
        inside = [box for box in boxes if box.origin[channel] <= begin < box.origin[channel] + box.shape[channel]]  # type: ignore[operator]  # all are ints
        groups.append((begin, end, _options(inside, shape, bounds, zero, view.spatial)))
    for border in _BORDERS:
        if all(border in options for _, _, options in groups):
            shifts: list[Shift] = []
            for begin, end, options in groups:
                dy, dx = (*options[border], 0)[:2]
                begin, end = begin * unit, end * unit
                last = shifts[-1] if shifts else None
                if last is not None and (last.end, last.dy, last.dx) == (begin, dy, dx):
                    shifts[-1] = Shift(last.begin, end, dy, dx)
                elif (dy, dx) != (0, 0):
                    shifts.append(Shift(begin, end, dy, dx))
            if not shifts:
                raise NotAShiftError("nothing is shifted")
            return Configuration(tuple(shifts), view.channels_last, border)
    raise NotAShiftError("a group of channels is not shifted as a whole, or the borders differ")


def _options(
    boxes: Sequence[_Box], shape: Shape, bounds: Bounds, zero: Scalar, spatial: tuple[int, ...]
) -> dict[Border, tuple[int, ...]]:
    """Returns the offset for each border with which all boxes of a group agree."""
    offsets = [sorted(set(_offsets(boxes, axis)), key=lambda d: (abs(d), d)) for axis in spatial]
    found: dict[Border, tuple[int, ...]] = {}
    for offset in sorted(product(*offsets), key=lambda d: sum(map(abs, d))):
        for border in _BORDERS:
            if border not in found and all(_agrees(box, shape, bounds, zero, spatial, offset, border) for box in boxes):
                found[border] = offset
    return found


def _offsets(boxes: Sequence[_Box], axis: int) -> Iterator[int]:
    """Yields the distances along an axis between where boxes read and where they lie, as far as they are known."""
    for box in boxes:
        if isinstance(box.content, Read):
            distance = box.content.axes[axis].start - box.origin[axis]
            if isinstance(distance, int):
                yield distance


def _agrees(
    box: _Box,
    shape: Shape,
    bounds: Bounds,
    zero: Scalar,
    spatial: tuple[int, ...],
    offset: tuple[int, ...],
    border: Border,
) -> bool:
    """Whether a box is what the shift reads there."""
    pairs = list(zip(spatial, offset, strict=True))
    if isinstance(box.content, Read) and all(_reads_at(box, axis, distance) for axis, distance in pairs):
        return True
    if border is Border.REPLICATE:
        return isinstance(box.content, Read) and all(
            _reads_at(box, axis, distance) or _reads_nearest(box, shape, bounds, axis, distance)
            for axis, distance in pairs
        )
    outside = any(_lies_outside(box, shape, bounds, axis, distance) for axis, distance in pairs)
    if border is Border.ZERO:
        return outside and box.content == zero
    return outside and isinstance(box.content, Read) and all(_reads_at(box, axis, 0) for axis in spatial)


def _reads_at(box: _Box, axis: int, distance: int) -> bool:
    """Whether element ``i`` along an axis reads ``i + distance``; what is read lies inside."""
    read = _axis(box, axis)
    mapped = (read.out == axis and read.step == 1) or (read.out is None and box.shape[axis] == 1)
    return mapped and read.start == box.origin[axis] + distance


def _reads_nearest(box: _Box, shape: Shape, bounds: Bounds, axis: int, distance: int) -> bool:
    """Whether all of a box reads the first position where the shift reads in front of it, or the last."""
    read, first = _axis(box, axis), box.origin[axis] + distance
    if read.out is not None:
        return False
    if read.start == 0 and bounds.at_most(first + box.shape[axis] - 1, 0):
        return True
    return read.start == shape[axis] - 1 and bool(bounds.at_most(shape[axis] - 1, first))


def _lies_outside(box: _Box, shape: Shape, bounds: Bounds, axis: int, distance: int) -> bool:
    """Whether the shift reads outside for all of a box."""
    first = box.origin[axis] + distance
    return bool(bounds.at_most(first + box.shape[axis], 0) or bounds.at_most(shape[axis], first))


def _axis(box: _Box, axis: int) -> Axis:
    assert isinstance(box.content, Read)
    return box.content.axes[axis]


def aligned(tiling: Tiling) -> tuple[Tiling, tuple[int, ...]]:
    """Returns a tiling with its axes in the order of its source's, and the axis each of them was.

    Where no box tells, because some axis is read at one position everywhere, the order stays.
    """
    for _, _, content in tiling.boxes():
        if isinstance(content, Read):
            order = tuple(axis.out for axis in content.axes if axis.out is not None)
            if len(order) == len(content.axes) == tiling.rank:
                return tiling.transpose(order), order
    return tiling, tuple(range(tiling.rank))
