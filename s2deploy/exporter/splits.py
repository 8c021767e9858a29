"""Splits and gathers of a decomposed program in the operators that ONNX knows best.

Before: getitem(split(x, size, dim), i), getitem(split_with_sizes(x, sizes, dim), i)
After:  slice(x, dim, start, end), where torch's translation makes an ONNX sequence that few runtimes take

Before: index(x, [None, i]) with one index of rank 1
After:  index_select(x, 1, i), which is Gather, where torch's translation makes Transpose and GatherND

Requires: for the second, an integer index
Preserves: values, shapes and names; the program stays executable
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.calls import call
from s2deploy.exporter.slices import END

if TYPE_CHECKING:
    import torch
    from torch.fx import Node


def split_by_slices(graph_module: torch.fx.GraphModule) -> None:
    """Turns every part of a split into a slice, in place."""
    import torch

    aten = torch.ops.aten
    for node in list(graph_module.graph.nodes):
        if node.target not in (aten.split.Tensor, aten.split_with_sizes.default):
            continue
        tensor, sizes = node.args[:2]
        dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
        count = len(node.meta["val"])
        bounds = _bounds(node, list(sizes) if isinstance(sizes, list | tuple) else [sizes] * count)
        for part in list(node.users):
            index = part.args[1] % count
            part.target, part.args = aten.slice.Tensor, (tensor, dim, bounds[index], bounds[index + 1], 1)
        graph_module.graph.erase_node(node)


def gather_by_one_index(graph_module: torch.fx.GraphModule) -> None:
    """Turns every index with one integer tensor of rank 1 into index_select, in place."""
    import torch

    aten = torch.ops.aten
    for node in graph_module.graph.nodes:
        if node.target is not aten.index.Tensor:
            continue
        tensor, indices = node.args
        given = [(dim, index) for dim, index in enumerate(indices) if index is not None]
        if len(given) != 1:
            continue
        dim, index = given[0]
        value = index.meta["val"]
        if value.dim() == 1 and value.dtype in (torch.int32, torch.int64):
            node.target, node.args = aten.index_select.default, (tensor, dim, index)


def _bounds(node: Node, sizes: list[Any]) -> list[Any]:
    """Returns where each part starts, and the end: integers, or nodes that add up symbolic sizes."""
    bounds: list[Any] = [0]
    for size in sizes[:-1]:
        bounds.append(_add(node, bounds[-1], size))
    return [*bounds, END]


def _add(node: Node, left: Any, right: Any) -> Any:
    if isinstance(left, int) and (isinstance(right, int) or left == 0):
        return left + right if isinstance(right, int) else right
    return call(node, operator.add, left, right)
