"""Assignments to cells in no order or along diagonals, as one Gather.

Before: ``ScatterND(x, cells, v)`` with known cells that slices cannot name, such as a bird's eye view filled at the
cells that rays of a camera meet, or a band or a triangle of a matrix. After: ``Gather(Concat(x, v), order)`` over the
cells in a row, with a constant that tells for each cell which row of both it is; an x that is one number everywhere is
one row.
Requires: known sizes along the axes that the cells name, at most 65536 cells of them, and each assigned at most once.
Refuses (leaves the scatter) otherwise; `movement.py` takes it where slices cost more or there are none.
Preserves the value bit by bit. Source: the ONNX specifications of ScatterND and Gather.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.constants import Array, constant_array
from s2deploy.rewrite.contents import Ramp, Scalar, Shape
from s2deploy.rewrite.expressions import Concat, Expression, Gather, Pad, Reshape, Source
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.rules_indexing import require_plain

_MOST_CELLS = 1 << 16


def gathered(facts: Interpretation, node: ir.Node) -> Expression:
    """Returns the Gather that a scatter amounts to.

    Raises:
        NotMovementError: The cells are not known, not inside, or not distinct, or the scatter reduces.
    """
    if node.op_type != "ScatterND" or node.domain != "":
        raise NotMovementError("no assignment to cells")
    require_plain(node)
    data, updates = node.inputs[0], node.inputs[2]
    assert data is not None
    assert updates is not None
    shape, cells = facts.shape(data), _cells(facts, node)
    if cells.dtype.kind not in "iu":
        raise NotMovementError("the indices are no integers")
    named = cells.shape[-1]
    grid = [size for size in shape[:named] if isinstance(size, int)]
    rest, total, count = shape[named:], math.prod(grid), math.prod(cells.shape[:-1])
    if len(grid) < named or not 0 < total <= _MOST_CELLS or not count:
        raise NotMovementError("the cells lie on axes of unknown or very large size")
    rows = cells.reshape(count, named)
    rows = np.where(rows < 0, rows + np.array(grid), rows)
    if (rows < 0).any() or (rows >= np.array(grid)).any():
        raise NotMovementError("the indices lie outside the tensor")
    places = np.ravel_multi_index(tuple(rows.T), grid)
    if len(np.unique(places)) < count:
        raise NotMovementError("the indices name a position twice")
    row = _reshaped(Source(updates, facts.shape(updates)), (count, *rest))
    fill = facts.tiling(data).root
    constant = isinstance(fill, Scalar) or (isinstance(fill, Ramp) and fill.is_constant and isinstance(fill.base, int))
    both: Expression
    if count == total:
        both, order = row, np.empty(total, np.int64)
    elif constant and isinstance(fill, (Scalar, Ramp)):
        zeros = (0,) * len(rest)
        both = Pad(row, (0, *zeros), (1, *zeros), fill, (count + 1, *rest))
        order = np.full(total, count, np.int64)
    else:
        both = Concat(0, (row, _reshaped(Source(data, shape), (total, *rest))), (count + total, *rest))
        order = np.arange(count, count + total)
    order[places] = np.arange(count)
    return _reshaped(Gather(both, 0, tuple(order.tolist()), (total, *rest)), shape)


def _cells(facts: Interpretation, node: ir.Node) -> Array:
    """Returns the indices of a scatter, one cell a row."""
    value = node.inputs[1]
    if value is None or 0 in facts.shape(value):
        raise NotMovementError("nothing is assigned")
    if value.const_value is not None and value.producer() is None and not value.is_graph_input():
        return value.const_value.numpy()
    known = facts.understood(value)
    array = None if known is None else constant_array(known, ir.DataType.INT64)
    if array is None:
        raise NotMovementError("the indices are computed at run time")
    return array


def _reshaped(expression: Expression, shape: Shape) -> Expression:
    return expression if expression.shape == shape else Reshape(expression, shape)
