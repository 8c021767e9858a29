"""Bounds of clamp that torch's type promotion has no overload for, in a decomposed program.

Before: clamp(x, 0, 0.5) of floats
After:  clamp(x, 0.0, 0.5)

Before: clamp(x, 0, w - 1) of floats, and hardtanh(x, 0, w - 1), where w is a size
After:  clamp_max(clamp_min(x, 0), w - 1), which is what clamp computes

Requires: a floating-point tensor
Preserves: values, types and names; the program stays executable
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2deploy.exporter.calls import call

if TYPE_CHECKING:
    import torch
    from torch.fx import Node


def make_bounds_floats(graph_module: torch.fx.GraphModule) -> None:
    """Makes the integer bounds of every clamp of floats floats, and applies those of sizes one by one, in place."""
    import torch

    aten = torch.ops.aten
    for node in list(graph_module.graph.nodes):
        if node.target not in (aten.clamp.default, aten.hardtanh.default):
            continue
        if not node.meta["val"].dtype.is_floating_point:
            continue
        if any(isinstance(bound, torch.fx.Node) for bound in (*node.args[1:], *node.kwargs.values())):
            _apply_one_by_one(node)
            continue
        node.args = (node.args[0], *(float(bound) if type(bound) is int else bound for bound in node.args[1:]))
        node.kwargs = {name: float(bound) if type(bound) is int else bound for name, bound in node.kwargs.items()}


def _apply_one_by_one(node: Node) -> None:
    """Makes the node itself the second step: a program knows its outputs by name."""
    import torch

    aten = torch.ops.aten
    bounds = {"min": None, "max": None} if node.target is aten.clamp.default else {"min_val": -1, "max_val": 1}
    low, high = {**bounds, **dict(zip(bounds, node.args[1:], strict=False)), **node.kwargs}.values()
    tensor = node.args[0]
    if low is not None and high is not None:
        tensor = call(node, aten.clamp_min.default, tensor, low)
    node.target = aten.clamp_min.default if high is None else aten.clamp_max.default
    node.args, node.kwargs = (tensor, low if high is None else high), {}
