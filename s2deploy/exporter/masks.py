"""Assignments under a mask, in a decomposed program, without an index.

Before: index_put(x, [None, mask], value), where torch's translation finds the mask's positions and scatters to them, or
        fails because of the axes in front of the mask
After:  where(mask, value, x), the mask with axes of size 1 for the axes of x behind it; the same for the positions at
        which it is true (see `positions`)

Several values, one for each position that is true, are computed at all positions where the same mask has picked what
they are computed from (see `picked`). Else they are first brought to where they go: the k-th true position takes the
value that the number of true ones up to it, minus one, selects.

Requires: one boolean index and no accumulation; two masks at once, whose positions pair up, are refused. Other
    values for a mask without axes in front stay an index
Preserves: values, shapes and names; the program stays executable
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2deploy.errors import ExportError
from s2deploy.exporter.calls import call
from s2deploy.exporter.picked import everywhere
from s2deploy.exporter.positions import as_mask
from s2deploy.exporter.provenance import beginning

if TYPE_CHECKING:
    import torch
    from torch.fx import Node


def choose_by_masks(graph_module: torch.fx.GraphModule) -> None:
    """Turns every assignment under one mask into where, in place.

    Raises:
        ExportError: A tensor is indexed by two masks at once, or by one of several axes behind others.
    """
    import torch

    aten = torch.ops.aten
    for node in list(graph_module.graph.nodes):
        if node.target is not aten.index_put.default:
            continue
        tensor, positions, value, *accumulate = node.args
        indices = as_mask(tensor, positions, one_value=value.meta["val"].dim() == 0)
        given = [(dim, index) for dim, index in enumerate(indices) if index is not None]
        masks = [(dim, index) for dim, index in given if index.meta["val"].dtype == torch.bool]
        if len(masks) > 1:
            raise ExportError(
                f"{beginning(node)}a tensor is indexed by two masks at once, which pairs up their positions",
                hint="for all cells where both are true make one mask of them: x[rows[:, None] & columns] = value",
            )
        if len(given) != 1 or not masks or any(accumulate) or node.kwargs:
            continue
        dim, mask = masks[0]
        behind = tensor.meta["val"].dim() - dim - mask.meta["val"].dim()
        # The axis of the values along which the positions are counted; without it they are the same at all.
        axis = value.meta["val"].dim() - 1 - behind
        with graph_module.graph.inserting_before(node):
            picked = None if axis < 0 else everywhere(node, indices, value)
            if axis >= 0 and picked is None and dim == 0:
                continue
            if axis >= 0:
                value = picked or _brought(node, mask, value, axis)
            for _ in range(behind):
                mask = call(node, aten.unsqueeze.default, mask, -1)
        node.target, node.args = aten.where.self, (mask, value, tensor)


def _brought(node: Node, mask: Node, value: Node, axis: int) -> Node:
    """Returns values that lie where a mask is true, given one after the other along an axis."""
    import torch

    if mask.meta["val"].dim() > 1:
        raise ExportError(
            f"{beginning(node)}assigns values under a mask of several axes behind other axes",
            hint="make the values a tensor as large as the masked one and use torch.where(mask, values, x)",
        )
    aten = torch.ops.aten
    count = value.meta["val"].shape[axis]
    if isinstance(count, int) and count == 1:
        return value
    if not isinstance(count, int):  # where nothing is true there may be no value, and one is selected all the same
        behind = value.meta["val"].dim() - 1 - axis
        value = call(node, aten.constant_pad_nd.default, value, [0, 0] * behind + [0, 1])
    number = call(node, aten.cumsum.default, call(node, aten._to_copy.default, mask, dtype=torch.int64), 0)
    position = call(node, aten.clamp.default, call(node, aten.sub.Tensor, number, 1), 0)
    return call(node, aten.index_select.default, value, axis, position)
