"""Positions at which a mask is true, in a decomposed program, as that mask.

Before: x[torch.where(mask)], x[mask.nonzero(as_tuple=True)], x[:, mask.nonzero().squeeze(1)]
After:  x[mask], x[:, mask]

Requires: all columns of one nonzero in order, all with or all without an axis of size 1 behind; a mask that is as large
    as the axes it indexes
Refuses (returns the indices as they are): everything else, for example some of the positions, and columns with an axis
    of their own where not one value goes to all positions: x[mask.nonzero()] has an axis more than x[mask]
Preserves: values; positions come in the order of the elements both ways
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any


def as_mask(tensor: Any, indices: Sequence[Any], *, one_value: bool = False) -> list[Any]:
    """Returns the indices of a tensor with one mask for the positions at which it is true.

    Args:
        tensor: What is indexed, a node.
        indices: Nodes or None, an axis each; a mask stands for as many axes as it has.
        one_value: Whether all positions are assigned the same number, so that their shape is of no matter.
    """
    import torch

    given = [(dim, *_column(index)) for dim, index in enumerate(indices) if index is not None]
    if not given or given[0][1] is None:
        return list(indices)
    first, source, _ = given[0]
    mask = source.args[0]
    shape = tuple(mask.meta["val"].shape)
    wanted = [(first + axis, source, axis) for axis in range(len(shape))]
    if given != wanted or mask.meta["val"].dtype != torch.bool:
        return list(indices)
    ranks = {index.meta["val"].dim() for index in indices if index is not None}
    if ranks != {1} and not (one_value and ranks == {2}):
        return list(indices)
    if tuple(tensor.meta["val"].shape[first : first + len(shape)]) != shape:
        return list(indices)
    return [*indices[:first], mask]


def _column(index: Any) -> tuple[Any, int]:
    """Returns which nonzero an index is a column of, and which column; None where it is none."""
    import torch

    aten = torch.ops.aten
    column = 0
    if not _is_one_column(index):
        return None, 0
    while index.target is not aten.nonzero.default:
        target, args = index.target, index.args
        if target in (aten.squeeze.dims, aten.squeeze.dim, aten.squeeze.default):
            index = args[0]
            continue
        place = args[2] if target in (aten.select.int, aten.slice.Tensor) else None
        if target is operator.getitem and args[0].target is aten.unbind.int:
            args, place = args[0].args, args[1]
        # A column on its own has its positions along the axis -1.
        if not isinstance(place, int) or args[1:2] not in ((1,), (-1,)) or args[0].meta["val"].dim() != 2:
            return None, 0
        if not _is_one_column(index):
            return None, 0
        index = args[0]
        column = range(index.meta["val"].shape[1])[place:][0]
    return index, column


def _is_one_column(node: Any) -> bool:
    shape = node.meta["val"].shape
    return len(shape) == 1 or (len(shape) == 2 and isinstance(shape[1], int) and shape[1] == 1)
