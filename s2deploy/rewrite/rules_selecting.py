"""Reads by lists of positions: GatherND, GatherElements, Compress; Tile and CenterCropPad.

Before: an operator with a known index, mask, or count. After: slices, joined where there are several.
Requires: the index is a ramp along each axis, inside the tensor; masks and counts of known, few runs.
Refuses: indices computed at run time, diagonals, batch dimensions.
Preserves the value exactly. Source: the ONNX operator specifications.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from s2deploy.rewrite.contents import Ramp, Shape
from s2deploy.rewrite.coordinates import Coord, divide
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.regions import Tiling, concat
from s2deploy.rewrite.rules_elementwise import constant_parts
from s2deploy.rewrite.rules_indexing import few_boxes, inside, known_ramp, refined, require_inside
from s2deploy.rewrite.rules_movement import int_attribute, ints_attribute

_MOST_COPIES = 64


def gather_nd(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``GatherND(data, indices)`` whose indices enumerate boxes."""
    if int_attribute(node, "batch_dims", 0) != 0:
        raise NotMovementError("a GatherND with batch dimensions")
    data, indices = facts.tiling(node.inputs[0]), facts.tiling(node.inputs[1])
    depth = indices.shape[-1]
    if not isinstance(depth, int) or 0 in indices.shape:
        raise NotMovementError("the depth of the indices is not known")
    last = indices.rank - 1
    components = [indices.slice(facts.bounds, last, j, 1).drop_axes([last]) for j in range(depth)]
    rest = data.shape[depth:]
    parts = [
        ((*origin, *[0] * len(rest)), _picked(facts, data, ramps, box))
        for origin, box, ramps in refined(facts, components)
    ]
    return [_assembled(facts, (*indices.shape[:last], *rest), parts)]


def _picked(facts: Interpretation, data: Tiling, ramps: Sequence[Ramp], box: Shape) -> Tiling:
    """Returns what one ramp per leading axis of the data picks: the box, then the other axes of the data."""
    taken: list[int] = []
    fixed: list[int] = []
    for axis, ramp in enumerate(ramps):
        varying = [t for t, step in enumerate(ramp.steps) if step]
        if len(varying) > 1 or set(varying) & set(taken):
            raise NotMovementError("the indices lie along a diagonal")
        size: Coord = box[varying[0]] if varying else 1
        step = ramp.steps[varying[0]] if varying else 1
        if not isinstance(step, int):
            raise NotMovementError("the step of an index is computed at run time")
        start = inside(facts, ramp.base, data.shape[axis])
        first = start if step > 0 else start + (size - 1) * step
        require_inside(facts, first, (size - 1) * abs(step) + 1, data.shape[axis])
        data = data.slice(facts.bounds, axis, start, size, step)
        taken += varying
        fixed += [] if varying else [axis]
    rest = data.shape[len(ramps) :]
    picked = data.drop_axes(fixed)
    order = sorted(range(len(taken)), key=lambda position: taken[position])
    picked = picked.transpose([*order, *range(len(taken), picked.rank)])
    new = [t for t in range(len(box)) if t not in taken]
    return picked.insert_axes(new).expand((*box, *rest))


def gather_elements(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``GatherElements(data, indices, axis)`` whose indices enumerate slices along the axis."""
    data, indices = facts.tiling(node.inputs[0]), facts.tiling(node.inputs[1])
    axis = int_attribute(node, "axis", 0) % data.rank
    if 0 in indices.shape:
        raise NotMovementError("a GatherElements of nothing")
    parts = []
    for origin, box, content in few_boxes(indices):
        ramp = known_ramp(content)
        if any(step for t, step in enumerate(ramp.steps) if t != axis):
            raise NotMovementError("the indices vary along other axes than the one they index")
        step = ramp.steps[axis]
        size: Coord = box[axis] if step else 1
        if not isinstance(step, int):
            raise NotMovementError("the step of an index is computed at run time")
        start = inside(facts, ramp.base, data.shape[axis])
        first = start if step >= 0 else start + (size - 1) * step
        require_inside(facts, first, (size - 1) * abs(step) + 1, data.shape[axis])
        part = data.box(
            facts.bounds, (*origin[:axis], 0, *origin[axis + 1 :]), (*box[:axis], data.shape[axis], *box[axis + 1 :])
        )
        parts.append((origin, part.slice(facts.bounds, axis, start, size, step or 1).expand(box)))
    return [_assembled(facts, indices.shape, parts)]


def compress(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Compress(data, condition, axis)`` on a known condition."""
    data, condition = facts.tiling(node.inputs[0]), facts.tiling(node.inputs[1])
    if "axis" not in node.attributes and data.rank != 1:
        raise NotMovementError("a Compress of merged axes")
    axis = int_attribute(node, "axis", 0) % data.rank
    parts = [data.slice(facts.bounds, axis, 0, 0)]
    for origin, box, content in few_boxes(condition):
        for place, size, flag in constant_parts(origin, box, known_ramp(content)):
            if flag not in (0, 1):
                raise NotMovementError("the condition is not known")
            if flag == 1:
                require_inside(facts, place[0], size[0], data.shape[axis])
                parts.append(data.slice(facts.bounds, axis, place[0], size[0]))
    return [concat(axis, parts)]


def tile(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Tile(x, repeats)``: an axis of size 1 grows, any other is repeated a few times."""
    data = facts.tiling(node.inputs[0])
    copies = 1
    for axis, count in enumerate(facts.integers(node.inputs[1])):
        if data.shape[axis] == 1:
            data = data.expand((*data.shape[:axis], count, *data.shape[axis + 1 :]))
        elif count != 1:
            if not isinstance(count, int) or not 0 < count * copies <= _MOST_COPIES:
                raise NotMovementError(f"a tensor repeated {count} times")
            copies *= count
            data = concat(axis, [data] * count)
    return [data]


def center_crop_pad(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``CenterCropPad(x, shape, axes)``; the odd row is cut off, or added, at the end."""
    data = facts.tiling(node.inputs[0])
    target = facts.integers(node.inputs[1])
    axes = ints_attribute(node, "axes") or tuple(range(data.rank))
    fill = facts.zero(node.inputs[0])
    for axis, size in zip((axis % data.rank for axis in axes), target, strict=True):
        total = data.shape[axis]
        if total == size:
            continue
        if facts.bounds.require_at_most(size, total):
            data = data.slice(facts.bounds, axis, _half(total - size), size)
            continue
        before = _half(size - total)
        shape = (*data.shape[:axis], size, *data.shape[axis + 1 :])
        place = [before if t == axis else 0 for t in range(data.rank)]
        data = fill.expand(shape).write(facts.bounds, place, data)
    return [data]


def _half(size: Coord) -> Coord:
    half = size // 2 if isinstance(size, int) else divide(size, 2)
    if half is None:
        raise NotMovementError(f"whether {size} is even is not known")
    return half


def _assembled(facts: Interpretation, shape: Shape, parts: Sequence[tuple[Sequence[Coord], Tiling]]) -> Tiling:
    """Returns the tensor of a shape that boxes make, which cover it."""
    if len(parts) == 1:
        return parts[0][1]
    result = Tiling.of(Ramp(0, (0,) * len(shape)), shape)
    for origin, part in parts:
        result = result.write(facts.bounds, origin, part)
    return result
