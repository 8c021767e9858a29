"""Assignments along the main diagonal of square matrices, under a mask.

Before: x[:, i, i] = v, with i = arange(n) for both axes of size n
After:  where(i[:, None] == i, v with an axis of size 1 behind its diagonal, x)

Before: x.diagonal(0, d1, d2).fill_(v), copy_, add_ and others in place, which torch's exporter cannot translate
After:  x.copy_(where(the same mask, fill(x.diagonal(0, d1, d2), v), x))

Requires: the main diagonal, two axes of one size
Refuses (leaves the write, which is named, or at known positions becomes a Gather): other diagonals, and parts of one
Preserves: values, names and aliasing; the program stays executable
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.calls import call

if TYPE_CHECKING:
    import torch
    from torch.fx import Node


def choose_along_diagonals(graph_module: torch.fx.GraphModule) -> None:
    """Turns assignments by index in a decomposed program into where, in place."""
    import torch

    aten = torch.ops.aten
    for node in list(graph_module.graph.nodes):
        if node.target is not aten.index_put.default or node.kwargs:
            continue
        tensor, indices, value, *accumulate = node.args
        axes = [axis for axis, index in enumerate(indices) if index is not None]
        if len(axes) != 2 or axes[1] != axes[0] + 1:
            continue
        first, second = (indices[axis] for axis in axes)
        if not (_counts(first, tensor, axes[0]) and _counts(second, tensor, axes[1])):
            continue
        behind = tensor.meta["val"].dim() - axes[1] - 1
        if value.meta["val"].dim() > behind:
            value = call(node, aten.unsqueeze.default, value, value.meta["val"].dim() - behind)
        if any(accumulate):
            value = call(node, aten.add.Tensor, tensor, value)
        mask = _mask(node, first, second, behind)
        node.target, node.args = aten.where.self, (mask, value, tensor)


def write_diagonals_under_masks(graph_module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Returns a graph module without writes into main diagonals; the one given where there is none in it."""
    if not any(map(is_write_into_diagonal, graph_module.graph.nodes)):
        return graph_module
    import torch

    aten = torch.ops.aten
    changed = copy.deepcopy(graph_module)
    for node in list(changed.graph.nodes):
        if not is_write_into_diagonal(node):
            continue
        view = node.args[0]
        tensor, axes = view.args[0], _axes(view)
        name, overload = node.target.__name__.split(".")
        functional = getattr(getattr(aten, name.removesuffix("_")), overload)
        value = call(node, functional, *node.args, **node.kwargs)
        rank = tensor.meta["val"].dim()
        order = [axis for axis in range(rank) if axis != axes[1]]
        value = call(node, aten.permute.default, value, [[*_others(rank, axes), axes[0]].index(axis) for axis in order])
        value = call(node, aten.unsqueeze.default, value, axes[1])
        size = call(node, aten.sym_size.int, tensor, axes[0])
        count = call(node, aten.arange.default, size, device=tensor.meta["val"].device)
        low, high = sorted(axes)
        mask = _mask(node, count, count, 0)
        for axis in [*range(low + 1, high), *range(high + 1, rank)]:
            mask = call(node, aten.unsqueeze.default, mask, axis - low)
        chosen = call(node, aten.where.self, mask, value, tensor)
        node.target, node.args, node.kwargs = aten.copy_.default, (tensor, chosen), {}
        node.meta["val"] = tensor.meta["val"]
        node.replace_all_uses_with(view)
    changed.recompile()
    return changed


def is_write_into_diagonal(node: Node) -> bool:
    """Tells whether a node of a captured program writes into the main diagonal of square matrices, as a whole."""
    import torch

    if not _is_in_place(node):
        return False
    view: Any = node.args[0]
    while _is_in_place(view):
        view = view.args[0]
    if view.target is not torch.ops.aten.diagonal.default:
        return False
    offset = view.args[1] if len(view.args) > 1 else view.kwargs.get("offset", 0)
    shape = view.args[0].meta["val"].shape
    first, second = (str(shape[axis]) for axis in _axes(view))
    return bool(offset == 0) and first == second


def _is_in_place(node: Node) -> bool:
    import torch

    named = isinstance(node.target, torch._ops.OpOverload) and node.target.__name__.partition(".")[0].endswith("_")
    return named and bool(node.args)


def _axes(view: Any) -> tuple[int, int]:
    """Returns the axes of the matrices whose diagonals a view is."""
    rank = view.args[0].meta["val"].dim()
    given = [view.args[k + 2] if len(view.args) > k + 2 else view.kwargs.get(f"dim{k + 1}", k) for k in range(2)]
    first, second = (axis % rank for axis in given)
    return first, second


def _others(rank: int, axes: tuple[int, int]) -> list[int]:
    return [axis for axis in range(rank) if axis not in axes]


def _counts(index: Any, tensor: Node, axis: int) -> bool:
    """Tells whether an index is every position along an axis, in order."""
    import torch

    aten = torch.ops.aten
    size = tensor.meta["val"].shape[axis]
    if index.target is aten.arange.default:
        start, end, step = 0, index.args[0], 1
    elif index.target in (aten.arange.start, aten.arange.start_step):
        start, end, step = (*index.args, 1)[:3]
    else:
        return False
    count = end.meta["val"] if isinstance(end, torch.fx.Node) else end
    return bool(start == 0 and step == 1) and str(count) == str(size)


def _mask(node: Node, rows: Node, columns: Node, behind: int) -> Node:
    """Returns where the row is the column, with axes of size 1 for those behind."""
    import torch

    aten = torch.ops.aten
    mask = call(node, aten.eq.Tensor, call(node, aten.unsqueeze.default, rows, 1), columns)
    for _ in range(behind):
        mask = call(node, aten.unsqueeze.default, mask, -1)
    return mask
