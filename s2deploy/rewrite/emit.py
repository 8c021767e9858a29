"""From a tiling to the expression that computes it.

Before: a tree of boxes. After: slices of the sources, joined by Concat, or by Pad where a box has a constant
border. What all boxes of a tree have in common is done once, around the join: a transpose, new axes, a broadcast.

Requires the sources' shapes. Preserves the value exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from s2deploy.rewrite.arrange import arranged
from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Content, Ramp, Read, Scalar, Shape
from s2deploy.rewrite.coordinates import Coord
from s2deploy.rewrite.expressions import (
    Concat,
    DepthToSpace,
    Expand,
    Expression,
    Fill,
    Pad,
    Reshape,
    Slice,
    Source,
    Squeeze,
    Transpose,
    Unsqueeze,
    Window,
)
from s2deploy.rewrite.merged import Merged, Movement, View
from s2deploy.rewrite.regions import Tiling, concat
from s2deploy.rewrite.strides import Interleaved
from s2deploy.rewrite.tree import Cut, Node, boxes, count_boxes, renamed

ShapeOf = Callable[[Hashable], Shape]

_MANY_BOXES = 1 << 12


@dataclass(frozen=True)
class _Frame:
    """How the tensor is made from the join of its boxes.

    Attributes:
        order: The tensor's axes in the order in which the join has them.
        grown: Axes of size 1 in the join that are broadcast afterwards; an axis not in `order` is new.
    """

    order: tuple[int, ...]
    grown: frozenset[int]


def emit(bounds: Bounds, tiling: Movement, shape_of: ShapeOf) -> Expression:
    """Returns an expression of a tensor's value.

    Args:
        bounds: What is known of the named dimensions.
        tiling: The tensor.
        shape_of: Gives the shape of each source the tiling reads.
    """
    if isinstance(tiling, Interleaved):
        return _interleaved(bounds, tiling, shape_of)
    if isinstance(tiling, Merged):
        return Reshape(emit(bounds, tiling.tiling, shape_of), tiling.shape)
    straight = tiling.straight()
    root = arranged(bounds, straight.root, straight.shape)
    return _emit(root, straight.shape, shape_of)


def _interleaved(bounds: Bounds, tensor: Interleaved, shape_of: ShapeOf) -> Expression:
    """Returns a Reshape of the split tensor, or a DepthToSpace of its phases; what was filled up is cut off."""
    full = tensor.filled_shape
    phases = _image_phases(bounds, tensor)
    whole: Expression
    if phases is not None and _boxes_of(phases) <= _boxes_of(tensor.tiling):
        whole = DepthToSpace(emit(bounds, phases, shape_of), tensor.factors[2], full)
    else:
        whole = Reshape(emit(bounds, tensor.tiling, shape_of), full)
    windows = tuple(Window(t, 0, n, 1) for t, (n, m) in enumerate(zip(tensor.shape, full, strict=True)) if n != m)
    return Slice(whole, windows, tensor.shape) if windows else whole


def _image_phases(bounds: Bounds, tensor: Interleaved) -> Tiling | None:
    """Returns the phases of images, N x C x H x W in equal steps along H and W, one after the other along C."""
    if tensor.rank != 4 or tensor.factors[:2] != (1, 1) or tensor.factors[2] != tensor.factors[3]:
        return None
    count = range(tensor.factors[2])
    rows = [tensor.tiling.slice(bounds, 3, phase, 1).drop_axes([3]) for phase in count]
    return concat(1, [row.slice(bounds, 4, phase, 1).drop_axes([4]) for row in rows for phase in count])


def _boxes_of(tiling: Tiling) -> int:
    return count_boxes(tiling.root, _MANY_BOXES)


def _emit(node: Node, shape: Shape, shape_of: ShapeOf) -> Expression:
    contents = [content for _, _, content in boxes(node, (0,) * len(shape), shape)]
    if not isinstance(node, Cut) and not isinstance(node, Read):
        return Fill(node, shape)
    frame = _common_frame(node, shape, contents)
    new_axis = {old: new for new, old in enumerate(frame.order)}
    inner_shape = tuple(1 if t in frame.grown else shape[t] for t in frame.order)
    inner = renamed(node, new_axis, len(frame.order))
    if isinstance(inner, Cut):
        joined: Expression = _join(inner, inner_shape, shape_of)
    else:
        joined = _read(inner, inner_shape, shape_of)
    return _framed(joined, frame, shape)


def _join(node: Cut, shape: Shape, shape_of: ShapeOf) -> Expression:
    axis = node.axis
    parts: list[Expression] = []
    for _, size, child in node.pieces(shape[axis]):
        parts.append(_emit(child, (*shape[:axis], size, *shape[axis + 1 :]), shape_of))
    padded = _padded(axis, parts, shape)
    return padded if padded is not None else Concat(axis, tuple(parts), shape)


def _read(content: Content, shape: Shape, shape_of: ShapeOf) -> Expression:
    """Slices a source whose axes come in the order of the box's axes; the rest of its axes are dropped."""
    if not isinstance(content, Read):
        return Fill(content, shape)
    source_shape = shape_of(content.source)
    windows: list[Window] = []
    sliced: list[Coord] = []
    for axis, (index, full) in enumerate(zip(content.axes, source_shape, strict=True)):
        size = 1 if index.out is None else shape[index.out]
        sliced.append(size)
        if not (index.start == 0 and index.step == 1 and size == full):
            windows.append(Window(axis, index.start, size, index.step))
    result: Expression
    if isinstance(content.source, View):
        result = Reshape(Source(content.source.value, shape_of(content.source.value)), source_shape)
    else:
        result = Source(content.source, source_shape)
    if windows:
        result = Slice(result, tuple(windows), tuple(sliced))
    labels = _labels(content, len(shape))
    dropped = tuple(axis for axis, label in enumerate(labels) if label is None)
    return Squeeze(result, dropped, shape) if dropped else result


def _framed(joined: Expression, frame: _Frame, shape: Shape) -> Expression:
    result = joined
    present = sorted(frame.order)
    if tuple(present) != frame.order:
        perm = tuple(frame.order.index(t) for t in present)
        result = Transpose(result, perm, tuple(result.shape[p] for p in perm))
    new = tuple(t for t in range(len(shape)) if t not in frame.order)
    if new:
        unsqueezed = tuple(1 if t in frame.grown or t in new else size for t, size in enumerate(shape))
        result = Unsqueeze(result, new, unsqueezed)
    return result if result.shape == shape else Expand(result, shape)


def _common_frame(node: Node, shape: Shape, contents: Sequence[Content]) -> _Frame:
    cuts = _cut_axes(node)
    used = {a.out for c in contents if isinstance(c, Read) for a in c.axes if a.out is not None}
    used |= {t for c in contents if isinstance(c, Ramp) for t, step in enumerate(c.steps) if step}
    free = {t for t in range(len(shape)) if t not in used | cuts}
    votes = Counter(_order(c, len(shape), free) for c in contents if isinstance(c, Read))
    if not votes:
        return _Frame(tuple(range(len(shape))), frozenset())
    order = votes.most_common(1)[0][0]
    return _Frame(order, frozenset(t for t in free if shape[t] != 1))


def _order(content: Read, rank: int, free: set[int]) -> tuple[int, ...]:
    """Returns the box axes in the source's order; axes the source has not got come last unless free to be new."""
    labelled = [label for label in _labels(content, rank) if label is not None]
    missing = [t for t in range(rank) if t not in labelled and t not in free]
    for axis in missing:
        position = sum(1 for label in labelled if label < axis) if labelled == sorted(labelled) else len(labelled)
        labelled.insert(position, axis)
    return tuple(labelled)


def _labels(content: Read, rank: int) -> list[int | None]:
    """Returns the box axis each source axis becomes, pairing fixed source axes with unmapped box axes."""
    labels: list[int | None] = [axis.out for axis in content.axes]
    unmapped = [t for t in range(rank) if t not in labels]
    for position, label in enumerate(labels):
        if label is None:
            before = max((x for x in labels[:position] if x is not None), default=-1)
            after = next((x for x in labels[position + 1 :] if x is not None), rank)
            fitting = [t for t in unmapped if before < t < after]
            if fitting:
                labels[position] = fitting[0]
                unmapped.remove(fitting[0])
    for position, label in enumerate(labels):
        if label is None and unmapped:
            labels[position] = unmapped.pop(0)
    return labels


def _cut_axes(node: Node) -> set[int]:
    if not isinstance(node, Cut):
        return set()
    return {node.axis}.union(*(_cut_axes(child) for child in node.children))


def _padded(axis: int, parts: Sequence[Expression], shape: Shape) -> Expression | None:
    """Returns the Pad that a core between constant borders of fixed width amounts to, or None."""
    cores = [index for index, part in enumerate(parts) if not isinstance(part, Fill)]
    if len(cores) != 1 or len(parts) > 3:
        return None
    fills = [part for part in parts if isinstance(part, Fill)]
    widths = [part.shape[axis] for part in fills]
    fill = fills[0].content
    constant = isinstance(fill, Scalar) or (fill.is_constant and isinstance(fill.base, int))
    if not constant or any(part.content != fill for part in fills) or not all(isinstance(w, int) for w in widths):
        return None
    core = parts[cores[0]]
    before = [0] * len(shape)
    after = [0] * len(shape)
    for index, part in enumerate(parts):
        if index != cores[0]:
            side = before if index < cores[0] else after
            width = part.shape[axis]
            assert isinstance(width, int)
            side[axis] += width
    if isinstance(core, Pad) and core.fill == fill:
        before = [a + b for a, b in zip(before, core.before, strict=True)]
        after = [a + b for a, b in zip(after, core.after, strict=True)]
        core = core.of
    return Pad(core, tuple(before), tuple(after), fill, shape)
