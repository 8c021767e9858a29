"""The ONNX operators that only move data, as operations on tilings.

Each rule gives the tilings of a node's outputs, or raises `NotMovementError` with the reason why it is none.
Source: the ONNX operator specifications, opset 11 on.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Ramp, Shape
from s2deploy.rewrite.coordinates import Coord, divide, floor_divide
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.merged import Movement
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.regions import Tiling, concat

# Exporters write 2**63 - 1, 2**31 - 1 or 10**9 for the end of an axis whose size they do not know.
_NO_SIZE = 10**9
_ENDS = ((1 << 31) - 1, (1 << 63) - 1)


def identity(facts: Interpretation, node: ir.Node) -> Sequence[Movement]:
    """``Identity(x)``."""
    return [facts.through(node, lambda data: data)]


def transpose(facts: Interpretation, node: ir.Node) -> Sequence[Movement]:
    """``Transpose(x, perm)``; without perm the axes are reversed."""
    perm = ints_attribute(node, "perm") or tuple(range(len(facts.shape(node.inputs[0]))))[::-1]
    return [facts.through(node, lambda data: data.transpose(perm))]


def slice_(facts: Interpretation, node: ir.Node) -> Sequence[Movement]:
    """``Slice(data, starts, ends, axes, steps)``; positions are clamped to the tensor first."""
    starts, ends = facts.integers(node.inputs[1]), facts.integers(node.inputs[2])
    axes = _optional_integers(facts, node, 3) or tuple(range(len(starts)))
    steps = _optional_integers(facts, node, 4) or (1,) * len(starts)

    def apply(data: Movement) -> Movement:
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            if not isinstance(axis, int) or not isinstance(step, int):
                raise NotMovementError("the axes or steps of a slice are computed at run time")
            t = axis % data.rank
            begin, size = window(facts.bounds, data.shape[t], start, end, step)
            data = data.slice(facts.bounds, t, begin, size, step)
        return data

    return [facts.through(node, apply)]


def window(bounds: Bounds, total: Coord, start: Coord, end: Coord, step: int) -> tuple[Coord, Coord]:
    """Returns where a Python-style slice of an axis begins and how many elements it has."""
    if step > 0:
        begin = _clamped(bounds, total, start, 0, total)
        stop = _clamped(bounds, total, end, 0, total)
        length = stop - begin
    else:
        if end in _ENDS:
            raise NotMovementError("a reversed slice to the largest integer, which runtimes read in two ways")
        if not bounds.require_at_most(1, total):
            return 0, 0
        begin = _clamped(bounds, total, start, 0, total - 1)
        stop = _clamped(bounds, total, end, -1, total - 1)
        length = begin - stop
    if begin == stop or not bounds.require_at_most(0, length):
        return 0, 0
    return begin, length if abs(step) == 1 else floor_divide(length + abs(step) - 1, abs(step))


def concat_(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Concat(inputs, axis)``."""
    tilings = [facts.tiling(value) for value in node.inputs]
    axis = int_attribute(node, "axis", 0) % tilings[0].rank
    others = {(*tiling.shape[:axis], *tiling.shape[axis + 1 :]) for tiling in tilings}
    if len(others) > 1:
        raise NotMovementError("whether the sizes of the joined tensors are equal is not known")
    return [concat(axis, tilings)]


def split(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Split(x, sizes)``, or into equal parts, the last of which may be smaller."""
    data = facts.tiling(node.inputs[0])
    axis = int_attribute(node, "axis", 0) % data.rank
    sizes: Sequence[Coord] | None = _optional_integers(facts, node, 1) or ints_attribute(node, "split")
    if sizes is None:
        count, total = len(node.outputs), data.shape[axis]
        if isinstance(total, int):
            chunk = -(-total // count)
            sizes = [min(chunk, max(total - chunk * i, 0)) for i in range(count)]
        else:
            part = divide(total, count)
            if part is None:
                raise NotMovementError(f"a size of {total} does not split into {count} equal parts in general")
            sizes = [part] * count
    return _parts(facts, data, axis, sizes)


def split_to_sequence(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``SplitToSequence(x, split)``: the sequence is no tensor, but `sequence_at` knows its parts."""
    facts.tiling(node.inputs[0])
    return []


def sequence_at(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``SequenceAt(SplitToSequence(x, split), position)``."""
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    if producer is None or producer.op_type != "SplitToSequence" or producer not in facts.moved:
        raise NotMovementError("an element of a sequence that no split made")
    (position,) = facts.integers(node.inputs[1])
    data = facts.tiling(producer.inputs[0])
    axis = int_attribute(producer, "axis", 0) % data.rank
    total = data.shape[axis]
    keep = len(producer.inputs) > 1 or int_attribute(producer, "keepdims", 1) == 1
    sizes: Sequence[Coord] | None = _optional_integers(facts, producer, 1)
    if sizes is None or facts.shape(producer.inputs[1]) == ():
        chunk = 1 if sizes is None else sizes[0]
        if not isinstance(total, int) or not isinstance(chunk, int) or chunk < 1:
            raise NotMovementError("into how many parts a tensor is split is not known")
        sizes = [min(chunk, total - start) for start in range(0, total, chunk)]
    if not isinstance(position, int):
        raise NotMovementError("the position in a sequence is computed at run time")
    part = _parts(facts, data, axis, sizes)[position]
    return [part if keep else part.drop_axes([axis])]


def _parts(facts: Interpretation, data: Tiling, axis: int, sizes: Sequence[Coord]) -> list[Tiling]:
    parts: list[Tiling] = []
    start: Coord = 0
    for size in sizes:
        parts.append(data.slice(facts.bounds, axis, start, size))
        start = start + size
    return parts


def unsqueeze(facts: Interpretation, node: ir.Node) -> Sequence[Movement]:
    """``Unsqueeze(x, axes)``; axes count in the result."""
    axes = _axes(facts, node)
    rank = len(facts.shape(node.inputs[0])) + len(axes)
    new = sorted(axis % rank for axis in axes)
    return [facts.through(node, lambda data: data.insert_axes(new))]


def squeeze(facts: Interpretation, node: ir.Node) -> Sequence[Movement]:
    """``Squeeze(x, axes)``; without axes every axis known to be 1."""
    shape = facts.shape(node.inputs[0])
    if "axes" not in node.attributes and (len(node.inputs) < 2 or node.inputs[1] is None):
        if not all(isinstance(size, int) for size in shape):
            raise NotMovementError("which axes are squeezed depends on the sizes")
        axes = [t for t, size in enumerate(shape) if size == 1]
    else:
        axes = [axis % len(shape) for axis in _axes(facts, node)]
    if any(shape[axis] != 1 for axis in axes):
        raise NotMovementError("a squeezed axis is not known to be 1")
    return [facts.through(node, lambda data: data.drop_axes(axes))]


def reshape(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Reshape(x, shape)`` that only adds or drops axes of size 1; any other is a source of known shape."""
    data = facts.tiling(node.inputs[0])
    allow_zero = int_attribute(node, "allowzero", 0) == 1
    shape = reshaped(data.shape, facts.integers(node.inputs[1]), allow_zero=allow_zero)
    kept = [size for size in data.shape if size != 1]
    if kept != [size for size in shape if size != 1]:
        facts.state_shape(node.outputs[0], shape)
        raise NotMovementError("the reshape merges or splits axes")
    dropped = data.drop_axes([t for t, size in enumerate(data.shape) if size == 1])
    return [dropped.insert_axes([t for t, size in enumerate(shape) if size == 1])]


def reshaped(shape: Shape, target: Sequence[Coord], *, allow_zero: bool) -> Shape:
    """Returns the shape a Reshape target stands for: 0 keeps a size, -1 takes what is left."""
    sizes = [shape[t] if size == 0 and not allow_zero else size for t, size in enumerate(target)]
    if -1 not in sizes:
        return tuple(sizes)
    left: Coord = 1
    for size in shape:
        left = left * size
    for size in sizes:
        if size != -1:
            quotient = divide(left, size) if left != 0 else None
            if quotient is None:
                raise NotMovementError("the size that Reshape infers has no closed form")
            left = quotient
    return tuple(left if size == -1 else size for size in sizes)


def expand(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Expand(x, shape)``; broadcasting goes both ways."""
    data = facts.tiling(node.inputs[0])
    return [data.expand(broadcast(facts.bounds, data.shape, facts.integers(node.inputs[1])))]


def broadcast(bounds: Bounds, *shapes: Shape) -> Shape:
    """Returns the shape that shapes broadcast to.

    Raises:
        NotMovementError: Whether two sizes are equal is not known.
    """
    rank = max(len(shape) for shape in shapes)
    result: list[Coord] = [1] * rank
    for shape in shapes:
        for t, size in enumerate(shape, rank - len(shape)):
            if size == 1 or bounds.equal(size, result[t]):
                continue
            if result[t] != 1:
                raise NotMovementError(f"whether {size} and {result[t]} are equal is not known")
            result[t] = size
    return tuple(result)


def pad(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Pad(x, pads, value, axes)`` in the modes constant, edge, reflect and wrap; negative pads cut off."""
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    data = facts.tiling(node.inputs[0])
    pads = _optional_integers(facts, node, 1)
    if pads is None:
        raise NotMovementError("the pads are missing")
    axes = _optional_integers(facts, node, 3) or tuple(range(data.rank))
    fill = _pad_value(facts, node) if mode == "constant" else None
    for position, axis in enumerate(axes):
        before, after = pads[position], pads[position + len(axes)]
        if not (isinstance(axis, int) and isinstance(before, int) and isinstance(after, int)):
            raise NotMovementError("the pads are computed at run time")
        data = _pad_axis(facts.bounds, data, axis % data.rank, before, after, mode, fill)
    return [data]


def _pad_axis(
    bounds: Bounds, data: Tiling, axis: int, before: int, after: int, mode: str, fill: Tiling | None
) -> Tiling:
    size = data.shape[axis]
    # A pad is relative to the tensor before any of it is cut off, which matters to edge, reflect and wrap.
    if mode != "constant" and (before < 0 or after < 0) and (mode != "edge"):
        raise NotMovementError(f"a negative pad in mode {mode}")

    def border(width: int, *, front: bool) -> Tiling:
        if mode == "edge":
            row = data.slice(bounds, axis, 0 if front else size - 1, 1)
            return row.expand((*data.shape[:axis], width, *data.shape[axis + 1 :]))
        if mode == "reflect":
            if not bounds.require_at_most(width + 1, size):
                raise NotMovementError("a border wider than what it reflects")
            return data.slice(bounds, axis, width if front else size - 2, width, -1)
        if mode == "wrap":
            if not bounds.require_at_most(width, size):
                raise NotMovementError("a border that wraps around more than once")
            return data.slice(bounds, axis, size - width if front else 0, width)
        assert fill is not None
        return fill.expand((*data.shape[:axis], width, *data.shape[axis + 1 :]))

    cut_front, cut_back = max(-before, 0), max(-after, 0)
    length = size - cut_front - cut_back
    if not bounds.require_at_most(0, length):
        raise NotMovementError("a negative pad cuts off more than there is")
    parts = [data.slice(bounds, axis, cut_front, length)]
    if before > 0:
        parts.insert(0, border(before, front=True))
    if after > 0:
        parts.append(border(after, front=False))
    return concat(axis, parts)


def _pad_value(facts: Interpretation, node: ir.Node) -> Tiling:
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        value = facts.tiling(node.inputs[2])
        return value.drop_axes(range(value.rank))
    return facts.zero(node.inputs[0])


def _clamped(bounds: Bounds, total: Coord, position: Coord, low: Coord, high: Coord) -> Coord:
    if isinstance(position, int):
        if position >= _NO_SIZE and not isinstance(total, int):
            return high
        if position <= -_NO_SIZE and not isinstance(total, int):
            return low
    if not bounds.require_at_most(0, position):
        position = position + total
    return bounds.larger(low, bounds.smaller(position, high))


def _axes(facts: Interpretation, node: ir.Node) -> list[int]:
    axes: Sequence[Coord] | None = ints_attribute(node, "axes") or _optional_integers(facts, node, 1)
    if axes is None or not all(isinstance(axis, int) for axis in axes):
        raise NotMovementError("the axes are not known")
    return [axis for axis in axes if isinstance(axis, int)]


def _optional_integers(facts: Interpretation, node: ir.Node, position: int) -> tuple[Coord, ...] | None:
    if len(node.inputs) <= position or node.inputs[position] is None:
        return None
    return facts.integers(node.inputs[position])


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """Returns an integer attribute of a node."""
    return node.attributes[name].as_int() if name in node.attributes else default


def ints_attribute(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """Returns a list-of-integers attribute of a node, None where it has none."""
    return tuple(node.attributes[name].as_ints()) if name in node.attributes else None


def constant_ramp(tiling: Tiling) -> Coord | None:
    """Returns the one integer every element of a tiling is, or None."""
    root = tiling.root
    return root.base if isinstance(root, Ramp) and root.is_constant else None
