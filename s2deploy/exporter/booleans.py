"""Operators on booleans that onnxruntime has for numbers only, in a decomposed program.

Before: max(x, dim), min(x, dim), sort(x) of booleans
After:  the same of x as 0 and 1, its values cast back to booleans

Before: x + y, x + True and x + False of booleans
After:  logical_or(x, y), full_like(x, True) and clone(x); y counts as False where it is added 0 times

Requires: nothing
Preserves: values, types and names; the program stays executable
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from s2deploy.exporter.calls import call

if TYPE_CHECKING:
    import torch
    from torch.fx import Node


def count_booleans(graph_module: torch.fx.GraphModule) -> None:
    """Rewrites these operators, in place."""
    import torch

    aten = torch.ops.aten
    ordering = (aten.max.dim, aten.min.dim, aten.sort.default, aten.sort.stable)
    for node in list(graph_module.graph.nodes):
        if node.target is aten.add.Tensor and node.meta["val"].dtype == torch.bool:
            _join(node)
        elif node.target in ordering and node.args[0].meta["val"].dtype == torch.bool:
            node.args = (call(node, aten._to_copy.default, node.args[0], dtype=torch.int32), *node.args[1:])
            _cast_back(node)


def _join(node: Node) -> None:
    """Makes a sum of booleans what it is."""
    import torch

    aten = torch.ops.aten
    one, other = node.args
    counts = bool(node.kwargs.get("alpha", 1))
    if isinstance(other, bool) and other and counts:
        node.target, node.args = aten.full_like.default, (one, True)
    elif isinstance(other, bool):
        node.target, node.args = aten.clone.default, (one,)
    else:
        node.target = aten.logical_or.default
        node.args = node.args if counts else (one, call(node, aten.full_like.default, other, False))
    node.kwargs = {}


def _cast_back(node: Node) -> None:
    """Makes the values that an operator returns booleans again; the indices beside them are none."""
    import torch

    values, indices = node.meta["val"]
    node.meta["val"] = (values.to(torch.int32), indices)
    for part in [user for user in node.users if user.target is operator.getitem and user.args[1] == 0]:
        numbers = call(part, operator.getitem, node, 0)
        # The node itself becomes the cast: a program knows its outputs by name.
        part.target, part.args = torch.ops.aten._to_copy.default, (numbers,)
        part.kwargs = {"dtype": torch.bool}
