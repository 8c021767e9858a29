"""Operators on booleans that onnxruntime has for numbers only, in a decomposed program.

Before: max(x, dim), min(x, dim), sort(x) of booleans
After:  the same of x as 0 and 1, its values cast back to booleans

Before: x + y of booleans
After:  logical_or(x, y)

Requires: nothing
Preserves: values, types and names; the program stays executable
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

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
            node.target, node.kwargs = aten.logical_or.default, {}
        elif node.target in ordering and node.args[0].meta["val"].dtype == torch.bool:
            with graph_module.graph.inserting_before(node):
                node.args = (_numbers(node, node.args[0]), *node.args[1:])
            _cast_back(node)


def _cast_back(node: Node) -> None:
    """Makes the values that an operator returns booleans again; the indices beside them are none."""
    import torch

    values, indices = node.meta["val"]
    node.meta["val"] = (values.to(torch.int32), indices)
    for part in [user for user in node.users if user.target is operator.getitem and user.args[1] == 0]:
        with node.graph.inserting_before(part):
            numbers = node.graph.call_function(operator.getitem, (node, 0))
            numbers.meta = {**part.meta, "val": node.meta["val"][0]}
        # The node itself becomes the cast: a program knows its outputs by name.
        part.target, part.args = torch.ops.aten._to_copy.default, (numbers,)
        part.kwargs = {"dtype": torch.bool}


def _numbers(node: Node, tensor: Node) -> Node:
    import torch

    created = node.graph.call_function(torch.ops.aten._to_copy.default, (tensor,), {"dtype": torch.int32})
    created.meta = {**node.meta, "val": tensor.meta["val"].to(torch.int32)}
    return created
