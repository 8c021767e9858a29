"""Reshape targets without arithmetic.

Before: ``Reshape(x, Concat(Shape(x)[0], 3, h, w))``. After: ``Reshape(x, [0, 3, h, -1])``, a constant where possible.
A target size that is a number is written as such, one equal to the size of x on the same axis as 0, and one of the
others as -1, a product if there is one; only what is left is computed. Refuses where a size may be 0, for which 0 and
-1 mean something else.
Preserves shape, dtype, names and values. Source: the ONNX specification of Reshape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.bounds import Bounds
from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.coordinates import Coord, Interval, UndecidedError, names
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.initializers import add_initializer
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.rules_movement import int_attribute, reshaped
from s2deploy.rewrite.views import trimmed

_SAME_SIZE = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze"})


def fix_reshape_targets(
    graph: ir.Graph, ranges: Mapping[str, Interval], allow: Callable[[str], bool] = lambda name: True
) -> int:
    """Makes computed Reshape targets constant in place and returns how many; asks with each Reshape's output before."""
    computed = [node for node in graph if node.op_type == "Reshape" and node.domain == "" and _is_computed(node)]
    if not computed:
        return 0
    facts = Interpretation(graph, ranges, RULES)
    changed = 0
    for node in computed:
        target = node.inputs[1]
        try:
            shape = facts.shape(node.inputs[0])
            allow_zero = int_attribute(node, "allowzero", 0) == 1
            sizes = reshaped(shape, facts.integers(target), allow_zero=allow_zero)
        except (NotMovementError, UndecidedError, IndexError):
            continue
        wanted = short_target(facts.bounds, shape, sizes)
        if wanted is None:
            continue
        value = _target(facts, node, wanted)
        if value is not None and allow(node.outputs[0].name or ""):
            node.replace_input_with(1, value)
            node.attributes.pop("allowzero", None)
            changed += 1
    return changed


def _target(facts: Interpretation, node: ir.Node, wanted: Sequence[int | None]) -> ir.Value | None:
    """Returns a target with the wanted numbers and the rest computed as before, None where that is what there is."""
    name = f"{node.outputs[0].name}_target"
    numbers = [number for number in wanted if number is not None]
    if len(numbers) == len(wanted):
        return add_initializer(facts.graph, name, np.array(numbers, np.int64))
    joined = node.inputs[1].producer() if node.inputs[1] is not None else None
    if joined is None or joined.op_type != "Concat" or len(joined.inputs) != len(wanted):
        return None
    parts: list[ir.Value | None] = []
    for part, number in zip(joined.inputs, _inferred_where_it_was(joined, wanted), strict=True):
        if part is None or facts.known_shape(part) != (1,):
            return None
        is_that = part.const_value is not None and part.const_value.numpy().tolist() == [number]
        parts.append(
            _as_measured(facts, part)
            if number is None or is_that
            else add_initializer(facts.graph, f"{name}_{len(parts)}", np.array([number], np.int64))
        )
    if all(new is old for new, old in zip(parts, joined.inputs, strict=True)):
        return None
    concat = ir.node("Concat", parts, {"axis": 0}, metadata_props=dict(node.metadata_props))
    concat.outputs[0].type, concat.outputs[0].shape = ir.TensorType(ir.DataType.INT64), ir.Shape([len(parts)])
    facts.graph.insert_before(node, concat)
    return concat.outputs[0]


def _as_measured(facts: Interpretation, part: ir.Value) -> ir.Value:
    """Returns the vector that a vector of one size was before it was made a number and a vector again."""
    found = value = part
    while (node := value.producer()) is not None and node.op_type in _SAME_SIZE and node.domain == "":
        if node.inputs[0] is None:
            break
        value = node.inputs[0]
        found = value if facts.known_shape(value) == (1,) else found
    return found


def _inferred_where_it_was(joined: ir.Node, wanted: Sequence[int | None]) -> list[int | None]:
    """Returns the wanted numbers with the -1 where the parts of a target have one already, whose size they do not tell.

    Only one size can be inferred; the one that was to be is computed as before.
    """
    for axis, part in enumerate(joined.inputs):
        if wanted[axis] is None and part is not None and part.const_value is not None:
            return [-1 if t == axis else None if number == -1 else number for t, number in enumerate(wanted)]
    return list(wanted)


def _is_computed(node: ir.Node) -> bool:
    return len(node.inputs) == 2 and node.inputs[1] is not None and node.inputs[1].const_value is None


def short_target(bounds: Bounds, shape: Shape, sizes: Sequence[Coord]) -> list[int | None] | None:
    """Returns a target of numbers, 0 for a kept size and one -1, with None for what must be computed."""
    if any(bounds.at_most(1, size) is not True for size in (*shape, *sizes)):
        return None
    target: list[int | None] = []
    for axis, size in enumerate(sizes):
        kept = axis < len(shape) and shape[axis] == size
        target.append(size if isinstance(size, int) else 0 if kept else None)
    left = [axis for axis, number in enumerate(target) if number is None]
    if left:
        # A product would have to be computed; a single size is measured.
        target[max(left, key=lambda axis: (len(names(sizes[axis])), axis))] = -1
    return target


def is_plain(bounds: Bounds, shape: Shape, sizes: Shape) -> bool:
    """Whether a view of a shape in another one needs no arithmetic on sizes."""
    if trimmed(shape) == trimmed(sizes) and len(shape) != len(sizes):
        return True
    target = short_target(bounds, shape, sizes)
    return target is not None and None not in target
