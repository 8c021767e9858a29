"""Rolls of a decomposed program as two slices and a concatenation.

Before: roll(x, shift, dim)
After:  cat(x[-shift:], x[:-shift]) along dim; nothing for a shift by 0

Requires: the shift is no larger than the dimension for every size in range: an integer, or an expression of sizes of
    known sign; otherwise the roll stays, and torch's translation takes the shift modulo the size at run time
Preserves: values and shape; the program stays executable
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.calls import call
from s2deploy.exporter.slices import END

if TYPE_CHECKING:
    import torch
    from torch.fx import Node


def unroll(graph_module: torch.fx.GraphModule) -> None:
    """Replaces every roll it can, in place."""
    import torch

    aten = torch.ops.aten
    for node in list(graph_module.graph.nodes):
        if node.target is not aten.roll.default:
            continue
        tensor, shifts = node.args[:2]
        dims = node.args[2] if len(node.args) > 2 else node.kwargs.get("dims", [])
        shifts, dims = _as_list(shifts), _as_list(dims)
        points = [_turning_point(tensor, shift, dim) for shift, dim in zip(shifts, dims, strict=False)]
        if not points or None in points:
            continue
        for shift, dim, point in list(zip(shifts, dims, points, strict=True)):
            if isinstance(point, int) and point == 0:
                continue
            if not isinstance(point, int):
                point = call(node, operator.neg, shift)
            behind = call(node, aten.slice.Tensor, tensor, dim, point, END, 1)
            front = call(node, aten.slice.Tensor, tensor, dim, 0, point, 1)
            tensor = call(node, aten.cat.default, [behind, front], dim)
        if tensor is node.args[0]:
            tensor = call(node, aten.clone.default, tensor)
        # The node itself becomes the last concatenation: a program knows its outputs by name.
        node.target, node.args, node.kwargs = tensor.target, tensor.args, {}
        graph_module.graph.erase_node(tensor)


def _turning_point(tensor: Node, shift: Any, dim: int) -> Any:
    """Returns the position that a roll moves to the front, or None where no constant or expression is right."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    size = tensor.meta["val"].shape[dim]
    if isinstance(shift, int) and (shift == 0 or isinstance(size, int)):
        return -shift % size if shift and size else 0
    if isinstance(shift, int):
        return -shift if statically_known_true(size >= abs(shift)) else None
    value = shift.meta["val"]
    for distance in (value, -value):
        if statically_known_true(distance >= 1) and statically_known_true(distance <= size):
            return -value
    return None


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
