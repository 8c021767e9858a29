"""Values that a mask picks, computed at every position instead, in a decomposed program.

Before: index_put(x, [mask], f(index(z, [mask]), n)), whose number of values only a run decides
After:  where(mask, f(z, n), x), once `masks` is given f(z, n) for the values

What f gives at positions that the mask leaves out is computed and not taken.

Requires: f is elementwise; the masks of all reads and of the assignment are the same computation, in front of the same
    axes; what else f takes is broadcast along the picked positions
Refuses (leaves the index): everything else, such as a sum over the picked values or values picked by another mask
Preserves: values, shapes and names; the program stays executable
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.positions import as_mask

if TYPE_CHECKING:
    from torch.fx import Node

_DEEPEST = 8
"""Masks that are computed twice are compared so many operators deep."""


def everywhere(write: Node, indices: Sequence[Node | None], values: Node) -> Node | None:
    """Returns values for all positions, of which the assignment takes those that its mask picks.

    Args:
        write: The assignment; new nodes are inserted where its graph inserts.
        indices: What it is indexed with: Nones, then the mask.
        values: What it assigns, picked positions along the axis of the mask.

    Returns:
        A node that computes them; None where the values are none that the same mask has picked.
    """
    cone = _cone(write.args[0], indices, values)
    if cone is None:
        return None
    import torch

    full: dict[Node, Any] = {}
    for node in [node for node in write.graph.nodes if node in cone]:
        if _is_read(node, indices):
            full[node] = node.args[0]
            continue
        args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda argument: full.get(argument, argument))
        created = write.graph.call_function(node.target, args, kwargs)
        known = torch.fx.map_arg((args, kwargs), lambda argument: argument.meta["val"])
        created.meta = {**node.meta, "val": node.target(*known[0], **known[1])}
        full[node] = created
    computed: Node = full[values]
    return computed


def _cone(written: Any, indices: Sequence[Node | None], values: Node) -> set[Node] | None:
    """Returns the reads by the mask and what is computed from them; None where one is not elementwise."""
    import torch

    rank, behind = values.meta["val"].dim(), values.meta["val"].dim() - len(indices)
    found: set[Node] = set()
    pending = [values]
    while pending:
        node = pending.pop()
        if node in found:
            continue
        found.add(node)
        if node.meta["val"].dim() != rank:
            return None
        if _is_read(node, indices):
            source: Any = node.args[0]
            if source.meta["val"].dim() != written.meta["val"].dim():
                return None
            continue
        if not _is_elementwise(node.target):
            return None
        for source in node.all_input_nodes:
            value = source.meta.get("val")
            if not isinstance(value, torch.Tensor):
                return None
            if value.dim() > behind:
                pending.append(source)
    return found


def _is_read(node: Any, indices: Sequence[Node | None]) -> bool:
    """Whether a node picks values by the same mask from the same axes."""
    import torch

    if node.target is not torch.ops.aten.index.Tensor:
        return False
    tensor, given = node.args
    return _is_same(as_mask(tensor, given), indices, _DEEPEST)


def _is_same(one: Any, other: Any, depth: int) -> bool:
    """Whether two arguments are the same computation; a decomposed program has no side effects."""
    import torch

    if one is other:
        return True
    if isinstance(one, torch.fx.Node) and isinstance(other, torch.fx.Node):
        alike = one.op == other.op == "call_function" and one.target is other.target and not _is_random(one.target)
        return alike and depth > 0 and _is_same((one.args, one.kwargs), (other.args, other.kwargs), depth - 1)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_is_same(a, b, depth) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key], depth) for key in one)
    return type(one) is type(other) and bool(one == other)


def _is_elementwise(target: Any) -> bool:
    import torch

    aten = torch.ops.aten
    if getattr(target, "overloadpacket", None) in (aten._to_copy, aten.where, aten.full_like):  # not tagged as such
        return True
    return torch.Tag.pointwise in getattr(target, "tags", ()) and not _is_random(target)


def _is_random(target: Any) -> bool:
    import torch

    return torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())
