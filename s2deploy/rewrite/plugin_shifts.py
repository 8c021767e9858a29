"""Grouped spatial shifts as one node each.

Before: a tensor that amounts to groups of channels of another, each read at an offset (`shift_matching.py`), however
many Slices, Concats, Pads and Transposes that takes. After: ``s2deploy::SpatialShift``, a Transpose where the axes
are in another order than in the source, and Reshapes around it where a clip of pictures is seen as a feature map.
Requires: opset 13, float32, float16 or bfloat16, rank 4, or 5 with `shift_matching.VIEWS`; a border that is the nearest
position, zero or left as it is.
Refuses the shift of part of a tensor and shifts along other axes than height, width and time, with the reason.
Preserves: every value bit by bit; shape, dtype, names. What is one node already is no movement: a second run changes
nothing.
Source: ``ops.spatial_shift``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import onnx_ir as ir

from s2deploy.ops import SPATIAL_SHIFT
from s2deploy.rewrite.cones import cone_of
from s2deploy.rewrite.contents import Scalar, Shape
from s2deploy.rewrite.coordinates import Interval, UndecidedError
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.outputs import substitute
from s2deploy.rewrite.plugin_functions import DTYPES, OLDEST_OPSET, operator_node
from s2deploy.rewrite.plugin_writing import Writer, reshape_target
from s2deploy.rewrite.refusals import NotMovementError, Refusal
from s2deploy.rewrite.regions import Tiling
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.shift_matching import VIEWS, NotAShiftError, ShiftFound, aligned, shift_of

_MOVES = frozenset({"Slice", "Concat", "Pad"})


def fuse_shifts(
    model: ir.Model, ranges: Mapping[str, Interval], allow: Callable[[str], bool] = lambda name: True
) -> tuple[list[Rewrite], list[Refusal]]:
    """Replaces shifts in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        model: The model, its graph in topological order.
        ranges: Smallest and largest size of named dimensions.
        allow: Asked with a tensor's name right before it is replaced.
    """
    if model.graph.opset_imports.get("", 0) < OLDEST_OPSET:
        return [], [Refusal("", "SpatialShift", f"plugin operators need opset {OLDEST_OPSET}")]
    facts = Interpretation(model.graph, ranges, RULES)
    done: list[Rewrite] = []
    refusals: list[Refusal] = []
    for node in list(model.graph):
        for value in node.outputs if node in facts.moved else ():
            tensor = facts.understood(value)
            if not isinstance(tensor, Tiling) or facts.is_arithmetic(value) or not facts.is_read(value):
                continue
            cone = cone_of(facts, node)
            moves = [one for one in cone if one.op_type in _MOVES]
            if tensor.rank not in VIEWS or "Concat" not in {one.op_type for one in moves}:
                continue  # a Slice, Pad or Transpose is no cheaper as a plugin
            try:
                found, order = find_shift(facts, tensor, value)
                shape = tuple(tensor.shape[axis] for axis in order)
                map_shape = _map_shape(found, shape)
            except NotAShiftError as refusal:
                refusals.append(Refusal.of(node, f"no SpatialShift: {refusal}"))
                continue
            if allow(value.name or ""):
                assert value.dtype is not None
                writer, name = Writer(model.graph, node), value.name or ""
                feature_map = writer.viewed(found.source, value.dtype, shape, map_shape)
                channels = _channels(found, map_shape)
                shifted = operator_node(model, SPATIAL_SHIFT, found.configuration, channels, [feature_map])
                new = writer.viewed(writer.place(shifted, value.dtype, map_shape), value.dtype, map_shape, shape)
                back = [order.index(axis) for axis in range(tensor.rank)]
                new = writer.transposed(new, value.dtype, shape, back)
                before = Counter(one.op_type for one in cone)
                source = node.metadata_props.get("s2deploy.source")
                done.append(Rewrite(name, dict(before), writer.added, source))
                substitute(model.graph, value, new, node)
    return done, refusals


def find_shift(facts: Interpretation, tensor: Tiling, value: ir.Value) -> tuple[ShiftFound, tuple[int, ...]]:
    """Returns the shift that a tensor of a rank in `VIEWS` is, and which axis of it each axis of the shift is.

    Args:
        facts: What is known of the graph.
        tensor: The tensor as movement.
        value: A value of its element type.

    Raises:
        NotAShiftError: It is none that an operator computes; the message says why.
    """
    if value.dtype not in DTYPES:
        raise NotAShiftError(f"the operators take no {value.dtype.name.lower() if value.dtype else 'unknown type'}")
    tiling, order = aligned(tensor)
    try:
        zero = facts.zero(value).root
        assert isinstance(zero, Scalar)
        found = shift_of(tiling, facts.bounds, zero)
        shape = facts.shape(found.source)
    except (UndecidedError, NotMovementError) as error:
        raise NotAShiftError(str(error)) from error
    if shape != tiling.shape:
        raise NotAShiftError(f"{found.source.name} has another shape, so that only a part of it is shifted")
    if found.source.dtype != value.dtype:
        raise NotAShiftError(f"{found.source.name} has another type")
    return found, order


def _map_shape(found: ShiftFound, shape: Shape) -> Shape:
    """Returns the shape of the feature map that a tensor of the given shape is seen as.

    Raises:
        NotAShiftError: The number of channels is not known, or no Reshape leads there and back for all sizes.
    """
    seen = found.view.shape(shape)
    if not isinstance(seen[3 if found.configuration.channels_last else 1], int):
        raise NotAShiftError("the number of channels is not known")
    if seen != shape and not (_reshapes(shape, seen) and _reshapes(seen, shape)):
        raise NotAShiftError("several sizes are not known, so that no Reshape makes it a feature map")
    return seen


def _reshapes(shape: Shape, target: Shape) -> bool:
    """Whether a Reshape leads from one shape to the other; a size is not found where one that is copied may be 0."""
    sizes = reshape_target(shape, target)
    return sizes is not None and not (0 in sizes and -1 in sizes)


def _channels(found: ShiftFound, shape: Shape) -> int:
    size = shape[3 if found.configuration.channels_last else 1]
    assert isinstance(size, int)
    return size
