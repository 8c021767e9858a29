"""Indexed reads and writes that are data movement: Gather, ScatterND, ScatterElements, and Where on a known mask.

Before: an operator with an index tensor. After: slices, or a box written into the destination.
Requires: the index is a ramp along each axis, inside the tensor, and the reduction is none.
Refuses: indices computed at run time, steps `strides.py` refuses, positions the ranges do not place, reductions.
Source: the ONNX operator specifications; duplicate indices have no defined order there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import onnx_ir as ir

from s2deploy.rewrite.contents import Ramp, Read, Shape
from s2deploy.rewrite.coordinates import Coord
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.regions import Tiling, concat
from s2deploy.rewrite.rules_elementwise import constant_parts
from s2deploy.rewrite.rules_merged import unflattened
from s2deploy.rewrite.rules_movement import broadcast, int_attribute
from s2deploy.rewrite.strides import Interleaved, StrideError, assign
from s2deploy.rewrite.tree import count_boxes

Movement: TypeAlias = "Tiling | Interleaved"
Place: TypeAlias = "tuple[Shape, Shape, list[Ramp]]"
Write: TypeAlias = "tuple[list[Coord], list[int], Movement]"
Writes: TypeAlias = "Callable[[Movement], Sequence[Write]]"

_MOST_WRITES = 8192
_MOST_MASK_BOXES = 64
_MOST_SLICES = 64


def gather(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Gather(data, indices, axis)`` with a known index."""
    indices = facts.tiling(node.inputs[1])
    if not isinstance(next(iter(indices.boxes()))[2], Ramp):
        raise NotMovementError("the index of a Gather is computed at run time")
    data = facts.tiling(node.inputs[0])
    axis = int_attribute(node, "axis", 0) % data.rank
    # More slices than that never cost less than the Gather; numbers are no slices.
    boxes = few_boxes(indices, _MOST_WRITES if _is_known(data) else _MOST_SLICES)
    if indices.rank > 1 and len(boxes) > 1:
        raise NotMovementError("the index of a Gather has several parts in several axes")
    parts: list[Tiling] = []
    for origin, shape, content in boxes:
        try:
            parts.append(_gathered(facts, data, axis, known_ramp(content), shape))
        except NotMovementError:
            # Indices such as [1, -1] look like a ramp that leaves the tensor; one by one they do not.
            if len(shape) != 1:
                raise
            rows = constant_parts(origin, shape, known_ramp(content))
            parts += [_gathered(facts, data, axis, Ramp(base, (0,)), size) for _, size, base in rows]
    return [parts[0] if len(parts) == 1 else concat(axis, parts)]


def _is_known(data: Tiling) -> bool:
    return all(isinstance(content, Ramp) for _, _, content in data.boxes())


def _gathered(facts: Interpretation, data: Tiling, axis: int, ramp: Ramp, shape: Shape) -> Tiling:
    """Returns the elements that one ramp of indices picks; the ramp's axes replace the gathered one."""
    varying = [t for t, step in enumerate(ramp.steps) if step]
    if len(varying) > 1:
        raise NotMovementError("the index of a Gather varies along several axes")
    size: Coord = shape[varying[0]] if varying else 1
    step = ramp.steps[varying[0]] if varying else 1
    start = inside(facts, ramp.base, data.shape[axis])
    if not isinstance(step, int):
        raise NotMovementError("the step of a Gather is computed at run time")
    last = start + (size - 1) * step
    if not (facts.bounds.require_at_most(0, last) and facts.bounds.require_at_most(last, data.shape[axis] - 1)):
        raise NotMovementError("the index of a Gather lies outside the tensor")
    picked = data.slice(facts.bounds, axis, start, size, step)
    if not varying:
        picked = picked.drop_axes([axis])
    new = [axis + t for t in range(len(shape)) if t not in varying]
    result = (*data.shape[:axis], *shape, *data.shape[axis + 1 :])
    return picked.insert_axes(new).expand(result)


def scatter_nd(facts: Interpretation, node: ir.Node) -> Sequence[Movement]:
    """``ScatterND(data, indices, updates)`` whose indices enumerate boxes."""
    require_plain(node)
    return [_assigned(facts, node, *_writes_nd(facts, node))]


def _writes_nd(facts: Interpretation, node: ir.Node) -> tuple[Writes, Tiling | None]:
    """Returns what a ScatterND writes where, and what it writes if that had to be taken apart."""
    indices = facts.tiling(node.inputs[1])
    flattened = facts.merged(node.inputs[1])
    apart: Tiling | None = None
    if flattened is not None and flattened.counts[-1] == 1:
        rest = facts.shape(node.inputs[2])[flattened.rank - 1 :]
        indices = flattened.tiling
        apart = unflattened(facts, node.inputs[2], (*indices.shape[:-1], *rest))
        facts.absorb(node.inputs[1], node)
    if 0 in indices.shape[:-1]:
        return (lambda _: []), apart
    depth = indices.shape[-1]
    if not isinstance(depth, int):
        raise NotMovementError("the depth of the indices is not known")
    components = [
        indices.slice(facts.bounds, indices.rank - 1, j, 1).drop_axes([indices.rank - 1]) for j in range(depth)
    ]
    shape = facts.shape(node.inputs[0])
    boxes = _rows_apart(refined(facts, components), shape)

    def writes(updates: Movement) -> list[Write]:
        rest = updates.shape[indices.rank - 1 :]
        starts = (0,) * len(rest)
        return [
            _write(facts, shape, ramps, size, updates.box(facts.bounds, (*origin, *starts), (*size, *rest)))
            for origin, size, ramps in boxes
        ]

    return writes, apart


def refined(facts: Interpretation, components: Sequence[Tiling]) -> list[Place]:
    """Returns the boxes within which every component of the indices is one ramp."""
    first, *others = components
    found: list[Place] = []
    for origin, shape, content in few_boxes(first):
        ramp = known_ramp(content)
        if not others:
            found.append((origin, shape, [ramp]))
            continue
        inner = [component.box(facts.bounds, origin, shape) for component in others]
        for offset, part, ramps in refined(facts, inner):
            base = ramp.base
            for step, start in zip(ramp.steps, offset, strict=True):
                base = base + step * start
            steps = tuple(0 if size == 1 else step for step, size in zip(ramp.steps, part, strict=True))
            place = tuple(a + b for a, b in zip(origin, offset, strict=True))
            found.append((place, part, [Ramp(base, steps), *ramps]))
    return found


def _rows_apart(boxes: Sequence[Place], data: Shape) -> list[Place]:
    """Returns the boxes with pairs of rows that no regular step leads to as two boxes.

    Any two numbers look like a ramp; a step that is one of several, or would take more of the axis, is none.
    """
    found: list[Place] = []
    for origin, size, ramps in boxes:
        axis = None
        for ramp, total in zip(ramps, data, strict=False):
            for t, step in enumerate(ramp.steps):
                if size[t] == 2 and step not in (-1, 0, 1) and (len(boxes) > 1 or total not in (2 * step, -2 * step)):
                    axis = t
        if axis is None:
            found.append((origin, size, ramps))
            continue
        one = (*size[:axis], 1, *size[axis + 1 :])
        for row in range(2):
            place = (*origin[:axis], origin[axis] + row, *origin[axis + 1 :])
            found += _rows_apart([(place, one, [_row(ramp, axis, row) for ramp in ramps])], data)
    return found


def _row(ramp: Ramp, axis: int, row: int) -> Ramp:
    steps = (*ramp.steps[:axis], 0, *ramp.steps[axis + 1 :])
    return Ramp(ramp.base + ramp.steps[axis] * row, steps)


def _write(facts: Interpretation, data: Shape, ramps: Sequence[Ramp], shape: Shape, update: Movement) -> Write:
    """Returns where, with which steps and what to assign for indices that are one ramp per leading axis of the data.

    The leading axes of the update have `shape`; the result has the data's rank.
    """
    used: list[int | None] = []
    starts: list[Coord] = []
    steps: list[int] = []
    for j, ramp in enumerate(ramps):
        varying = [t for t, step in enumerate(ramp.steps) if step]
        if len(varying) > 1:
            raise NotMovementError("an index varies along several axes at once")
        axis = varying[0] if varying else None
        start, step = inside(facts, ramp.base, data[j]), 1
        if axis is not None:
            start, step, update = _forward(facts, start, ramp.steps[axis], update, axis)
        require_inside(facts, start, 1 if axis is None else (shape[axis] - 1) * step + 1, data[j])
        used.append(axis)
        starts.append(start)
        steps.append(step)
    mapped = [axis for axis in used if axis is not None]
    single = [t for t in range(len(shape)) if t not in mapped]
    if len(set(mapped)) < len(mapped) or any(shape[t] != 1 for t in single):
        raise NotMovementError("the indices name positions twice or along a diagonal")
    rest = range(len(shape), update.rank)
    arranged = update.transpose([*mapped, *single, *rest])
    arranged = arranged.drop_axes([len(mapped) + i for i in range(len(single))])
    arranged = arranged.insert_axes([j for j, axis in enumerate(used) if axis is None])
    others = len(data) - len(starts)
    return [*starts, *([0] * others)], [*steps, *([1] * others)], arranged


def scatter_elements(facts: Interpretation, node: ir.Node) -> Sequence[Movement]:
    """``ScatterElements(data, indices, updates, axis)`` whose indices enumerate slices along the axis."""
    require_plain(node)
    return [_assigned(facts, node, _writes_elements(facts, node))]


def _writes_elements(facts: Interpretation, node: ir.Node) -> Writes:
    """Returns what a ScatterElements writes where."""
    data = facts.shape(node.inputs[0])
    indices = facts.tiling(node.inputs[1])
    axis = int_attribute(node, "axis", 0) % len(data)
    if 0 in indices.shape:
        return lambda _: []
    places: list[Place] = [(origin, shape, [known_ramp(content)]) for origin, shape, content in few_boxes(indices)]
    # Two positions alone are written with a step, which costs less than what lies between them.
    boxes = _rows_apart(places, (data[axis],)) if len(places) > 1 else places

    def writes(updates: Movement) -> list[Write]:
        found: list[Write] = []
        for origin, shape, (ramp,) in boxes:
            if any(other for t, other in enumerate(ramp.steps) if t != axis):
                raise NotMovementError("the indices vary along other axes than the one they index")
            if ramp.steps[axis] == 0 and shape[axis] != 1:
                raise NotMovementError("the indices name a position twice")
            update = updates.box(facts.bounds, origin, shape)
            start, step = inside(facts, ramp.base, data[axis]), 1
            if ramp.steps[axis]:
                start, step, update = _forward(facts, start, ramp.steps[axis], update, axis)
            require_inside(facts, start, (shape[axis] - 1) * step + 1, data[axis])
            steps = [step if t == axis else 1 for t in range(len(data))]
            found.append(([*origin[:axis], start, *origin[axis + 1 :]], steps, update))
        return found

    return writes


def scattered(facts: Interpretation, node: ir.Node) -> list[Write]:
    """Returns what a scatter writes where, in order, whether it reduces or not."""
    apart: Tiling | None = None
    if node.op_type == "ScatterND":
        writes, apart = _writes_nd(facts, node)
    else:
        writes = _writes_elements(facts, node)
    return list(writes(apart or facts.tiling(node.inputs[2])))


def _forward(
    facts: Interpretation, start: Coord, step: Coord, update: Movement, axis: int
) -> tuple[Coord, int, Movement]:
    """Returns an assignment with a positive step that equals the one given."""
    if not isinstance(step, int):
        raise NotMovementError("the step of an assignment is computed at run time")
    if step > 0:
        return start, step, update
    size = update.shape[axis]
    return start + (size - 1) * step, -step, update.slice(facts.bounds, axis, size - 1, size, -1)


def _assigned(
    facts: Interpretation,
    node: ir.Node,
    writes: Writes,
    apart: Tiling | None = None,
) -> Movement:
    """Returns the destination of a scatter after its assignments, in split form as far as steps split it already.

    What is assigned is given where its axes had to be taken apart.
    """
    data = facts.interleaved(node.inputs[0])
    update = None if apart is not None else facts.interleaved(node.inputs[2])
    choices = itertools.product((data, None) if data else (None,), (update, None) if update else (None,))
    refusal: StrideError | None = None
    for destination, source in choices:
        try:
            result: Movement = destination or facts.tiling(node.inputs[0])
            for starts, steps, part in writes(source or apart or facts.tiling(node.inputs[2])):
                result = assign(facts.bounds, result, starts, steps, part, lambda: facts.zero(node.inputs[0]))
        except StrideError as error:
            refusal = error
            continue
        if destination is not None:
            facts.absorb(node.inputs[0], node)
        if source is not None:
            facts.absorb(node.inputs[2], node)
        return result
    raise NotMovementError(str(refusal)) from refusal


def where(facts: Interpretation, node: ir.Node) -> Sequence[Tiling]:
    """``Where(condition, x, y)`` on a condition known box by box."""
    condition = facts.tiling(node.inputs[0])
    if count_boxes(condition.root, _MOST_MASK_BOXES) >= _MOST_MASK_BOXES:
        raise NotMovementError("the condition has too many parts")
    if not all(isinstance(content, Ramp) for _, _, content in condition.boxes()):
        raise NotMovementError("the condition is computed at run time")
    chosen, other = facts.tiling(node.inputs[1]), facts.tiling(node.inputs[2])
    shape = broadcast(facts.bounds, condition.shape, chosen.shape, other.shape)
    chosen, result = chosen.expand(shape), other.expand(shape)
    for outer, box, content in condition.expand(shape).boxes():
        for origin, size, flag in constant_parts(outer, box, known_ramp(content)):
            if flag not in (0, 1):
                raise NotMovementError("the condition is not known")
            if flag == 1:
                result = result.write(facts.bounds, origin, chosen.box(facts.bounds, origin, size))
    return [result]


def require_plain(node: ir.Node) -> None:
    """Refuses a scatter that reduces."""
    if "reduction" in node.attributes and node.attributes["reduction"].as_string() != "none":
        raise NotMovementError(f"it reduces with {node.attributes['reduction'].as_string()}")


def known_ramp(content: object) -> Ramp:
    """Returns a content that is known integers, or refuses."""
    source = content.source if isinstance(content, Read) else None
    if isinstance(source, ir.Value) and source.const_value is not None and not source.is_graph_input():
        raise NotMovementError("the indices follow no simple pattern")
    if not isinstance(content, Ramp):
        raise NotMovementError("the indices are computed at run time")
    return content


def few_boxes(tiling: Tiling, most: int = _MOST_WRITES) -> list[tuple[Shape, Shape, object]]:
    """Returns the boxes of an index, or refuses where it has thousands."""
    if count_boxes(tiling.root, most) >= most:
        raise NotMovementError("the indices follow no simple pattern")
    return list(tiling.boxes())


def inside(facts: Interpretation, position: Coord, total: Coord) -> Coord:
    """Returns an index counted from the front."""
    return position if facts.bounds.require_at_most(0, position) else position + total


def require_inside(facts: Interpretation, start: Coord, size: Coord, total: Coord) -> None:
    """Refuses positions that do not lie inside a tensor, or may not."""
    if not (facts.bounds.require_at_most(0, start) and facts.bounds.require_at_most(start + size, total)):
        raise NotMovementError("the indices lie outside the tensor")
