"""Operators written for tensors that have their axes in another order.

Before: a node. After: the same operator with the axes it names renumbered. Requires what `layout_nodes.py` does.
Preserves every value bit by bit, but for the order in which a reduction adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from s2deploy.rewrite.layout_nodes import (
    ALONG_ONE_AXIS,
    BROADCASTING,
    UNARY,
    constant_shape,
    is_constant,
    moving,
    named_axes,
    one_axis,
    touched_axes,
)
from s2deploy.rewrite.layout_writing import Perm, Writer, full_target

PermOf = Callable[[ir.Value], Perm]


def write(writer: Writer, node: ir.Node, versions: Mapping[ir.Value, ir.Value], perm_of: PermOf) -> Sequence[ir.Value]:
    """Writes a node with its tensors in another order and returns its outputs.

    Args:
        writer: Writes in front of the node.
        node: A node with a relation.
        versions: Its moving inputs in that order.
        perm_of: The order of a value.
    """
    op_type, out = node.op_type, node.outputs[0]
    perms = [perm_of(value) for value in node.outputs]
    inputs: list[ir.Value | None] = [versions.get(value, value) if value is not None else None for value in node.inputs]
    if op_type in BROADCASTING:
        inputs = [_aligned(writer, node, value, versions, perm_of) for value in node.inputs]
        return writer.copy(node, inputs, perms)
    if op_type in UNARY or op_type == "LayerNormalization":
        return writer.copy(node, inputs, perms)
    first = moving(node)[0]
    own = perm_of(first)
    if op_type in (*ALONG_ONE_AXIS, "Gather"):
        arranged = [
            writer.rearranged(value, perms[0])
            if op_type == "Concat" and value is not None and is_constant(value)
            else value
            for value in inputs
        ]
        return writer.copy(node, arranged, perms, {"axis": own.index(one_axis(node, len(own)))})
    if op_type == "Slice" or (op_type == "Pad" and len(node.inputs) > 3 and node.inputs[3] is not None):
        places = [own.index(axis) for axis in touched_axes(writer.facts, node)]
        return writer.copy(node, [*inputs[:3], writer.ints(places), *inputs[4:]], perms)
    if op_type == "Pad":
        pads = [int(str(width)) for width in writer.facts.integers(node.inputs[1])]
        turned = [pads[side * len(own) + axis] for side in (0, 1) for axis in own]
        return writer.copy(node, [inputs[0], writer.ints(turned), *inputs[2:]], perms)
    if op_type == "Reshape":
        before, after = writer.shape(first), writer.shape(out)
        target = full_target(writer.facts, [before[axis] for axis in own], [after[axis] for axis in perms[0]])
        assert target is not None
        kept = {"allowzero": 0} if "allowzero" in node.attributes else None
        return writer.copy(node, [inputs[0], writer.ints(target)], perms, kept)
    axes = named_axes(writer.facts, node)
    if axes is None:
        return writer.copy(node, inputs, perms)
    where = perms[0] if op_type == "Unsqueeze" else own
    places = sorted(where.index(axis % len(where)) for axis in axes)
    if len(node.inputs) > 1:
        return writer.copy(node, [inputs[0], writer.ints(places)], perms)
    return writer.copy(node, inputs, perms, {"axes": places})


def _aligned(
    writer: Writer, node: ir.Node, value: ir.Value | None, versions: Mapping[ir.Value, ir.Value], perm_of: PermOf
) -> ir.Value | None:
    """Returns an operand so that it broadcasts in the order of the output."""
    if value is None:
        return None
    whole = perm_of(node.outputs[0])
    rank = len(writer.shape(value))
    if rank == 0:
        return value
    skipped = len(whole) - rank
    own = [axis - skipped for axis in whole if axis >= skipped]
    leading = next((t for t, axis in enumerate(whole) if axis >= skipped), 0)
    missing = [t - leading for t, axis in enumerate(whole) if axis < skipped and t > leading]
    sizes = constant_shape(value)
    if sizes is not None:
        shape = [sizes[axis] for axis in own]
        for place in missing:
            shape.insert(place, 1)
        return writer.rearranged(value, own, shape)
    version = versions[value]
    if not missing:
        return version
    full = [writer.shape(value)[axis] for axis in own]
    for place in missing:
        full.insert(place, 1)
    if writer.facts.opset < 13:
        return writer.add("Unsqueeze", [version], node, like=value, shape=tuple(full), attributes={"axes": missing})
    return writer.add("Unsqueeze", [version, writer.ints(missing)], node, like=value, shape=tuple(full))
