"""Index tables that a Reshape flattens: the operators through which they reach a scatter, on axes taken apart.

Before: Range, Expand, Reshape to a vector, Concat of such columns, Add of an offset, Reshape to ``(n, k)``.
After: the table as a tiling of ramps with its axes taken apart (`merged.py`), so that ``n`` may depend on a size.
What is assigned has been flattened as well; `unflattened` finds the tensor it was, or reads it through a Reshape.
Refuses: a Reshape that takes apart what the tiling has not got apart; it stays, and its shape is known.
Preserves the value exactly. Source: the ONNX operator specifications.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from s2deploy.rewrite import rules_movement as movement
from s2deploy.rewrite.contents import Ramp, Read, Scalar, Shape
from s2deploy.rewrite.facts import Interpretation, Rule
from s2deploy.rewrite.merged import Movement, Table, joined_along, regrouped
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.regions import Tiling
from s2deploy.rewrite.strides import StrideError


def merging(plain: Rule, apart: Callable[[Interpretation, ir.Node], Sequence[Table]]) -> Rule:
    """Returns the rule of an operator that goes on with axes taken apart where an input of it has such."""

    def rule(facts: Interpretation, node: ir.Node) -> Sequence[Movement]:
        if all(facts.merged(value) is None for value in node.inputs):
            return plain(facts, node)
        try:
            return apart(facts, node)
        except StrideError as error:
            raise NotMovementError(str(error)) from error

    return rule


def table(facts: Interpretation, value: ir.Value | None) -> Table:
    """Returns a value with its axes taken apart where a Reshape merged them, else as it is."""
    return facts.merged(value) or facts.tiling(value)


def reshape(facts: Interpretation, node: ir.Node) -> Sequence[Movement]:
    """``Reshape(x, shape)``: of axes of size 1, of one constant, back to a shape before, or of an index table."""
    data = node.inputs[0]
    if facts.merged(data) is None:
        try:
            return movement.reshape(facts, node)
        except NotMovementError:
            earlier = _unreshaped(facts, facts.tiling(data), _target(facts, node))
            if earlier is not None:
                return [earlier]
            # Only numbers go on with merged axes: tensors are reshaped everywhere, and nothing is gained by it.
            if data is None or not (facts.is_arithmetic(data) or facts.is_constant(data)):
                raise
    try:
        return [_regrouped(table(facts, data), _target(facts, node))]
    except StrideError as error:
        raise NotMovementError(str(error)) from error


def expand(facts: Interpretation, node: ir.Node) -> Sequence[Table]:
    """``Expand(x, shape)``."""
    data = table(facts, node.inputs[0])
    return [data.expand(movement.broadcast(facts.bounds, data.shape, facts.integers(node.inputs[1])))]


def concat(facts: Interpretation, node: ir.Node) -> Sequence[Table]:
    """``Concat(inputs, axis)`` of the columns of a table."""
    parts = [table(facts, value) for value in node.inputs]
    axis = movement.int_attribute(node, "axis", 0) % parts[0].rank
    return [joined_along(axis, parts)]


def gather(facts: Interpretation, node: ir.Node) -> Sequence[Table]:
    """``Gather(table, indices, axis)`` of columns, one or several."""
    data = table(facts, node.inputs[0])
    axis = movement.int_attribute(node, "axis", 0) % data.rank
    total = data.shape[axis]
    index = facts.tiling(node.inputs[1])
    if index.root == Ramp(0, (1,)) and index.shape == (total,):
        return [data]
    columns = facts.integers(node.inputs[1])
    parts: list[Table] = []
    for column in columns:
        place = column if facts.bounds.require_at_most(0, column) else column + total
        if not facts.bounds.require_at_most(place + 1, total):
            raise NotMovementError("the index of a Gather lies outside the tensor")
        parts.append(data.slice(facts.bounds, axis, place, 1))
    if not parts:
        raise NotMovementError("a Gather of nothing")
    picked = joined_along(axis, parts)
    return [picked if facts.shape(node.inputs[1]) else picked.drop_axes([axis])]


def where(facts: Interpretation, node: ir.Node) -> Sequence[Table]:
    """``Where(condition, x, y)`` on a condition that is the same everywhere."""
    condition, chosen, other = (table(facts, value) for value in node.inputs)
    flag = movement.constant_ramp(condition.tiling if not isinstance(condition, Tiling) else condition)
    if flag not in (0, 1):
        raise NotMovementError("the condition is not known")
    shape = movement.broadcast(facts.bounds, condition.shape, chosen.shape, other.shape)
    return [(chosen if flag == 1 else other).expand(shape)]


def unflattened(facts: Interpretation, value: ir.Value | None, shape: Shape) -> Tiling:
    """Returns a tensor as the Reshape of it to a shape in which its axes are taken apart."""
    assert value is not None
    data = table(facts, value)
    try:
        apart = _regrouped(data, shape)
    except StrideError:
        earlier = _unreshaped(facts, data, shape) if isinstance(data, Tiling) else None
        apart = Tiling.whole(facts.view(value, shape), shape) if earlier is None else earlier
    assert isinstance(apart, Tiling)
    return apart


def _regrouped(data: Table, shape: Shape) -> Table:
    root = data.root if isinstance(data, Tiling) else None
    if isinstance(root, Scalar):
        return Tiling.of(root, shape)
    if isinstance(root, Ramp) and root.is_constant:
        return Tiling.of(Ramp(root.base, (0,) * len(shape)), shape)
    return regrouped(data, shape)


def _unreshaped(facts: Interpretation, data: Table, shape: Shape) -> Tiling | None:
    """Returns the tensor that was reshaped to become this one if it had the given shape, axes of size 1 aside."""
    earlier = data
    while isinstance(earlier, Tiling) and isinstance(content := earlier.straight().root, Read):
        source = content.source
        producer = source.producer() if isinstance(source, ir.Value) else None
        if producer is None or producer.op_type != "Reshape" or producer.domain != "":
            return None
        if not _is_whole(content, earlier.shape, facts.source_shape(source)):
            return None
        earlier = facts.tiling(producer.inputs[0])
        if [size for size in earlier.shape if size != 1] == [size for size in shape if size != 1]:
            dropped = earlier.drop_axes([t for t, size in enumerate(earlier.shape) if size == 1])
            return dropped.insert_axes([t for t, size in enumerate(shape) if size == 1])
    return None


def _is_whole(content: Read, shape: Shape, source: Shape) -> bool:
    """Whether a read takes every element of its source in its order."""
    mapped = [axis.out for axis in content.axes if axis.out is not None]
    if mapped != sorted(mapped) or any(size != 1 and t not in mapped for t, size in enumerate(shape)):
        return False
    for axis, size in zip(content.axes, source, strict=True):
        if axis.start != 0 or axis.step != 1 or size != (1 if axis.out is None else shape[axis.out]):
            return False
    return True


def _target(facts: Interpretation, node: ir.Node) -> Shape:
    data = table(facts, node.inputs[0])
    allow_zero = movement.int_attribute(node, "allowzero", 0) == 1
    return movement.reshaped(data.shape, facts.integers(node.inputs[1]), allow_zero=allow_zero)
