"""Bounds of clamp in the type of the tensor, in a decomposed program.

Before: clamp(x, 0, 0.5) of floats, for which torch's type promotion finds no overload
After:  clamp(x, 0.0, 0.5)

Requires: a floating-point tensor
Preserves: values, types and names; the program stays executable
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def make_bounds_floats(graph_module: torch.fx.GraphModule) -> None:
    """Makes the integer bounds of every clamp of floats floats, in place."""
    import torch

    for node in graph_module.graph.nodes:
        if node.target is torch.ops.aten.clamp.default and node.meta["val"].dtype.is_floating_point:
            node.args = (node.args[0], *(float(bound) if type(bound) is int else bound for bound in node.args[1:]))
            node.kwargs = {name: float(bound) if type(bound) is int else bound for name, bound in node.kwargs.items()}
