"""Assignments of one value under a mask, in a decomposed program, without an index.

Before: index_put(x, [None, mask], value), where torch's translation finds the mask's positions and scatters to them
After:  where(mask, value, x), the mask with axes of size 1 for the axes of x behind it

Requires: one boolean index, a value of rank 0, no accumulation
Preserves: values, shapes and names; the program stays executable
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose_by_masks(graph_module: torch.fx.GraphModule) -> None:
    """Turns every assignment of one value under one mask into where, in place."""
    import torch

    aten = torch.ops.aten
    for node in list(graph_module.graph.nodes):
        if node.target is not aten.index_put.default:
            continue
        tensor, indices, value, *accumulate = node.args
        given = [(dim, index) for dim, index in enumerate(indices) if index is not None]
        if len(given) != 1 or any(accumulate) or node.kwargs or value.meta["val"].dim():
            continue
        dim, mask = given[0]
        if mask.meta["val"].dtype != torch.bool:
            continue
        behind = tensor.meta["val"].dim() - dim - mask.meta["val"].dim()
        with graph_module.graph.inserting_before(node):
            for _ in range(behind):
                longer = node.graph.call_function(aten.unsqueeze.default, (mask, -1))
                longer.meta = {**node.meta, "val": mask.meta["val"].unsqueeze(-1)}
                mask = longer
        node.target, node.args = aten.where.self, (mask, value, tensor)
