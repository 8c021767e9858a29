"""Positions at which a mask is true, in a decomposed program, as that mask.

Before: x[torch.where(mask)], x[mask.nonzero(as_tuple=True)], x[:, mask.nonzero().squeeze(1)]
After:  x[mask], x[:, mask]

Requires: all columns of one nonzero in order, and a mask that is as large as the axes it indexes
Refuses (returns the indices as they are): everything else, for example some of the positions
Preserves: values; positions come in the order of the elements both ways
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any


def as_mask(tensor: Any, indices: Sequence[Any]) -> list[Any]:
    """Returns the indices of a tensor with one mask for the positions at which it is true.

    Args:
        tensor: What is indexed, a node.
        indices: Nodes or None, an axis each; a mask stands for as many axes as it has.
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
    if tuple(tensor.meta["val"].shape[first : first + len(shape)]) != shape:
        return list(indices)
    return [*indices[:first], mask]


def _column(index: Any) -> tuple[Any, int]:
    """Returns which nonzero an index is a column of, and which column; None where it is none."""
    import torch

    aten = torch.ops.aten
    column = 0
    while True:
        target, args = index.target, index.args
        if target is aten.nonzero.default:
            return index, column
        if target in (aten.squeeze.dims, aten.squeeze.dim, aten.squeeze.default):
            if list(args[1:]) not in ([], [1], [-1], [[1]], [[-1]]):
                return None, 0
        elif target in (aten.select.int, aten.slice.Tensor) and args[1] in (1, -1) and _is_one_column(index):
            column = args[2]
        elif target is operator.getitem and args[0].target is aten.unbind.int and args[0].args[1:] in ((1,), (-1,)):
            index, column = args[0], args[1]
        else:
            return None, 0
        index = index.args[0]


def _is_one_column(node: Any) -> bool:
    shape = node.meta["val"].shape
    return len(shape) == 1 or (isinstance(shape[1], int) and shape[1] == 1)
